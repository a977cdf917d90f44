"""What a node tells its caller: what to persist, what to send, and what it is now."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from attrs import frozen

from kubevip_election_raft._consensus.entries import Entry, Grant, GroupState, HardState, Snapshot
from kubevip_election_raft._consensus.messages import Message


class Role(enum.Enum):
    """What a member is at the moment."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


@frozen(kw_only=True)
class Rise:
    """How a process came to hold a group, for people.

    `silent_since`: when the holder before was last heard, or let go; None if there was none or it is not known.
    `stood_at`: when this member began to ask for the votes or promises that it needed.
    """

    why: str
    silent_since: float | None
    stood_at: float


@frozen(kw_only=True)
class Holding:
    """A group that this process may hold.

    Nobody else can before `until`. `tenure` counts up, within the process, each time that it holds anew.
    """

    grant: Grant
    until: float
    tenure: int
    rise: Rise


@frozen(kw_only=True)
class SoftState:
    """What a member is and knows; nothing of it is kept on disk.

    `holdings`: by group, what it holds; an entry may have run out. `leaving`: what it is to withdraw, until when nobody
    else can hold, and then to release, as somebody else is to hold it. `agreed`: who is to hold what, as far as it
    knows. The three are new objects when they change.
    """

    role: Role
    term: int
    leader: str | None
    holdings: Mapping[str, Holding]
    leaving: Mapping[str, Holding]
    agreed: GroupState


@frozen(kw_only=True)
class Outgoing:
    """A message and the name of the member that it is for."""

    to: str
    message: Message


@frozen(kw_only=True)
class Ready:
    """What the caller is to do: send `early`, persist, report it to the node, then send `messages`.

    `early` is what need not wait for this member's disk, because only others count on it (Raft thesis 10.2.1).
    `entries` replace what the log on disk has from the index of the first of them on; a `snapshot` replaces all of it.
    """

    early: tuple[Outgoing, ...] = ()
    hard_state: HardState | None = None
    snapshot: Snapshot | None = None
    entries: tuple[Entry, ...] = ()
    messages: tuple[Outgoing, ...] = ()

    @property
    def needs_disk(self) -> bool:
        """Whether there is anything to persist."""
        return self.hard_state is not None or self.snapshot is not None or bool(self.entries)
