"""What a node tells its caller: what to persist, what to send, and what it is now."""

from __future__ import annotations

import enum

from attrs import frozen

from kubevip_election_raft._messages import HardState, Message


class Role(enum.Enum):
    """What a member is at the moment."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@frozen(kw_only=True)
class Rise:
    """How a leader came to lead, for people.

    `silent_since`: when the leader before was last heard or said goodbye; None if there was none. `stood_at`: when this
    member began to ask for votes.
    """

    why: str
    silent_since: float | None
    stood_at: float


@frozen(kw_only=True)
class SoftState:
    """What a member is and knows; nothing of it is kept on disk.

    `lease_until`: nobody else can hold before; minus infinity without a lease. `yielding_to`: the leader is to withdraw
    what it holds and call `release`, so that this member can take over. `rise` is set while leading.
    """

    role: Role
    term: int
    leader: str | None
    lease_until: float
    yielding_to: str | None = None
    rise: Rise | None = None


@frozen(kw_only=True)
class Outgoing:
    """A message and the name of the member that it is for."""

    to: str
    message: Message


@frozen(kw_only=True)
class Ready:
    """What the caller is to do: persist, then send."""

    hard_state: HardState | None = None
    messages: tuple[Outgoing, ...] = ()
