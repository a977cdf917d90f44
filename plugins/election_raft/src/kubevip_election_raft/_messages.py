"""What members say to each other, and what a member keeps on disk. Values only; nothing here decides anything.

The names are those of the Raft thesis (Ongaro 2014); `Promise...` and `Release` are this project's own: they carry who
may hold an address, which is not the same as who leads.
"""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, le

#: Longest promise that anybody may ask for; a started voter keeps silent for the longest promise that it ever gave.
LONGEST_PROMISE_SECONDS = 60.0

#: Fitness of a member that has no candidate: it votes, and never leads.
NOT_STANDING = -1

_COUNT = (ge(0), le(2**53))
_SECONDS = (ge(0.0), le(LONGEST_PROMISE_SECONDS))


@frozen(kw_only=True)
class Process:
    """One run of one member: `incarnation` differs between any two runs of it."""

    name: str
    incarnation: int = field(validator=_COUNT)

    def __str__(self) -> str:
        """Show as "n1/17"."""
        return f"{self.name}/{self.incarnation}"


@frozen(kw_only=True, order=True)
class Grant:
    """What entitles a process to hold: the position in the log of the decision that it should.

    While there is no log, the decision is the election itself: (the leader's term, 0).
    """

    term: int = field(validator=_COUNT)
    index: int = field(default=0, validator=_COUNT)


@frozen(kw_only=True)
class HardState:
    """What must be on disk before a message that depends on it leaves: term and vote (Raft thesis 3.8).

    `promise_seconds` is the longest promise that this member may have given; for so long it keeps silent after a start.
    """

    term: int = field(default=0, validator=_COUNT)
    vote: str | None = None
    promise_seconds: float = field(default=0.0, validator=_SECONDS)


@frozen(kw_only=True)
class PromiseRequest:
    """Asks a voter to promise the sender that nobody else gets its promise for `seconds` from receipt.

    `round` counts up within a process; an answer names it, because only the time of *sending* counts for the sender.
    """

    round: int = field(validator=_COUNT)
    seconds: float = field(validator=_SECONDS)
    grant: Grant


@frozen(kw_only=True)
class PromiseResponse:
    """Answers the request of `round` of the process with `incarnation` for `grant`.

    `wait_seconds` of a refusal says for how long the voter is bound to somebody else.
    """

    round: int = field(validator=_COUNT)
    incarnation: int = field(validator=_COUNT)
    grant: Grant
    is_given: bool
    wait_seconds: float = field(default=0.0, validator=_SECONDS)


@frozen(kw_only=True)
class PreVoteRequest:
    """Asks whether a vote in `term` would be given; changes no term (Raft thesis 9.6).

    `fitness` and `rank` (place in the order of succession) decide between two that ask at the same time.
    """

    term: int = field(validator=_COUNT)
    fitness: int = field(validator=(ge(NOT_STANDING), le(100)))
    rank: int = field(validator=_COUNT)


@frozen(kw_only=True)
class PreVoteResponse:
    """Answers the pre-vote for `asked`; `term` is the voter's own.

    A refusal with `wait_seconds` above 0 is worth another question after that time.
    """

    term: int = field(validator=_COUNT)
    asked: int = field(validator=_COUNT)
    is_granted: bool
    wait_seconds: float = field(default=0.0, validator=_SECONDS)


@frozen(kw_only=True)
class VoteRequest:
    """Asks for a vote in `term`, and for the promise that goes with it, so that leadership starts with a lease."""

    term: int = field(validator=_COUNT)
    promise: PromiseRequest


@frozen(kw_only=True)
class VoteResponse:
    """Answers the vote for `asked`; `term` is the voter's own; `promise` is set when the vote is granted."""

    term: int = field(validator=_COUNT)
    asked: int = field(validator=_COUNT)
    is_granted: bool
    wait_seconds: float = field(default=0.0, validator=_SECONDS)
    promise: PromiseResponse | None = None


@frozen(kw_only=True)
class Heartbeat:
    """The leader of `term` lives, asks for the next promise, and names its heirs in order."""

    term: int = field(validator=_COUNT)
    promise: PromiseRequest
    heirs: tuple[str, ...] = ()


@frozen(kw_only=True)
class HeartbeatResponse:
    """Answers a heartbeat with the voter's own term, its fitness, and the promise (None: the heartbeat was stale)."""

    term: int = field(validator=_COUNT)
    fitness: int = field(validator=(ge(NOT_STANDING), le(100)))
    promise: PromiseResponse | None = None


@frozen(kw_only=True)
class Release:
    """The sender holds nothing under `grant` any more and never will again.

    From a leader it also ends its leadership; `heir` then stands at once (TimeoutNow, Raft thesis 3.10). `why` is a few
    words for people.
    """

    grant: Grant
    heir: str | None = None
    why: str = ""


@frozen(kw_only=True)
class TransferRequest:
    """Asks the leader to hand over to `to`; `request` is repeated by the answer."""

    request: int = field(validator=_COUNT)
    to: str


@frozen(kw_only=True)
class TransferResponse:
    """Answers a transfer request; `refusal` is empty when the leader has begun to hand over."""

    request: int = field(validator=_COUNT)
    refusal: str = ""


Message = (
    PreVoteRequest
    | PreVoteResponse
    | VoteRequest
    | VoteResponse
    | Heartbeat
    | HeartbeatResponse
    | Release
    | TransferRequest
    | TransferResponse
)
