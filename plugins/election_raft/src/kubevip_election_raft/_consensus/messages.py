"""What members say to each other. Values only; nothing here decides anything.

The names are those of the Raft thesis (Ongaro 2014) where it has one. `Promise...` and `Release` are this project's
own: they carry who may hold an address, which is not the same as who leads.
"""

from __future__ import annotations

from attrs import field, frozen

from kubevip_election_raft._consensus.entries import (
    COUNT,
    LONGEST_PROMISE_SECONDS,
    SECONDS,
    Entry,
    Grant,
    HardState,
    MemberRecord,
    Process,
    Snapshot,
    within,
)

__all__ = ["LONGEST_PROMISE_SECONDS", "Entry", "Grant", "HardState", "Process", "Snapshot"]

#: Fitness of a member that has no candidate: it votes, and leads only when nobody else does.
NOT_STANDING = -1

_FITNESS = within(NOT_STANDING, 100)


# Meeting


@frozen(kw_only=True)
class Introduction:
    """What a member says of itself to each that it meets, before anything else.

    `has_state`: it was part of a group, so there is one. Then `members` are those that its log names last, and
    `members_index` is the newest entry that set them and is known to be agreed on; otherwise `members` are those that
    its configuration lists.
    """

    has_state: bool = True
    members: tuple[MemberRecord, ...] = ()
    members_index: int = field(default=0, validator=COUNT)


# Holding


@frozen(kw_only=True)
class Claim:
    """A group, and the grant that entitles whoever names it to hold it."""

    group: str
    grant: Grant


@frozen(kw_only=True)
class Refusal:
    """A group that is not promised; `wait_seconds` says for how long the voter is bound to somebody else.

    Without a wait the grant is not good any more: a newer one is known.
    """

    group: str
    wait_seconds: float = field(default=0.0, validator=SECONDS)


@frozen(kw_only=True)
class PromiseRequest:
    """Asks a voter to promise the sender that nobody else gets `claims` for `seconds` from receipt.

    It names everything that the sender holds or is to hold. `round` counts up within a process; an answer names it,
    because only the time of *sending* counts for the sender.
    """

    round: int = field(validator=COUNT)
    seconds: float = field(validator=SECONDS)
    claims: tuple[Claim, ...]


@frozen(kw_only=True)
class PromiseResponse:
    """Answers the request of `round` of the process with `incarnation`: all its claims are promised but `refused`.

    `members_index` is the index of the entry that set the members, as the voter knows them.
    """

    round: int = field(validator=COUNT)
    incarnation: int = field(validator=COUNT)
    refused: tuple[Refusal, ...] = ()
    members_index: int = field(default=0, validator=COUNT)


@frozen(kw_only=True)
class Release:
    """The sender holds nothing of `claims` any more and never will again under these grants or older ones."""

    claims: tuple[Claim, ...]


@frozen(kw_only=True)
class Goodbye:
    """The sending process is dead, and nothing is up of what it held.

    Only its keeper says this, in its name, after it made sure. It ends the promises to that one incarnation, and
    nothing that it sent before is taken any more. It is no vote, and has no term.
    """


# Standing for groups


@frozen(kw_only=True)
class Offer:
    """A group that a member would hold: how fit it is, 0 (unfit) to 100, and where the group would rather be.

    `prefer`: names of members, best first. `fail_back_seconds`: how long a preferred member must be there before the
    group returns to it; None for never. `weight`: how much of a load the group is, beside others. `spent`: it was
    placed here by this grant, which was given back since: only a new decision makes this process hold it.
    """

    group: str
    fitness: int = field(default=100, validator=within(0, 100))
    weight: int = field(default=1, validator=COUNT)
    prefer: tuple[str, ...] = ()
    fail_back_seconds: float | None = None
    spent: Grant | None = None


@frozen(kw_only=True)
class Offers:
    """Everything that the sending process stands for; `version` counts up as it changes.

    `is_leaving`: it holds on only to what nobody else takes. `request`, unless it is 0, is repeated by the answer.
    `promise_seconds`: it asks for promises of at least so long, whatever the timing of the group is.
    """

    version: int = field(validator=COUNT)
    offers: tuple[Offer, ...] = ()
    is_leaving: bool = False
    request: int = field(default=0, validator=COUNT)
    promise_seconds: float = field(default=0.0, validator=SECONDS)


@frozen(kw_only=True)
class OffersResponse:
    """Answers offers with a `request`: so many groups stay where they are, because nobody else takes them."""

    request: int = field(validator=COUNT)
    kept: int = field(validator=COUNT)


@frozen(kw_only=True)
class MoveRequest:
    """Asks the leader to place `group` on the member `to`; `request` is repeated by the answer."""

    request: int = field(validator=COUNT)
    group: str
    to: str


@frozen(kw_only=True)
class MoveResponse:
    """Answers a move request; `refusal` is empty when the leader has placed the group there."""

    request: int = field(validator=COUNT)
    refusal: str = ""


@frozen(kw_only=True)
class MembersRequest:
    """Asks the leader to add `member`, or to remove the one of its name; `request` is repeated by the answer."""

    request: int = field(validator=COUNT)
    member: MemberRecord
    is_removal: bool = False


@frozen(kw_only=True)
class MembersResponse:
    """Answers a members request; `refusal` is empty when the change is in the leader's log.

    `wait_seconds` of a refusal: it is worth another question after that time.
    """

    request: int = field(validator=COUNT)
    refusal: str = ""
    wait_seconds: float = field(default=0.0, validator=SECONDS)


# Electing


@frozen(kw_only=True)
class PreVoteRequest:
    """Asks whether a vote in `term` would be given; changes no term (Raft thesis 9.6).

    `last_index` and `last_term` are those of the sender's log. `fitness` and `rank` (place in the order of succession)
    decide between two that ask at the same time.
    """

    term: int = field(validator=COUNT)
    last_index: int = field(validator=COUNT)
    last_term: int = field(validator=COUNT)
    fitness: int = field(validator=_FITNESS)
    rank: int = field(validator=COUNT)


@frozen(kw_only=True)
class PreVoteResponse:
    """Answers the pre-vote for `asked`; `term` is the voter's own.

    A refusal with `wait_seconds` above 0 is worth another question after that time.
    """

    term: int = field(validator=COUNT)
    asked: int = field(validator=COUNT)
    is_granted: bool
    wait_seconds: float = field(default=0.0, validator=SECONDS)


@frozen(kw_only=True)
class VoteRequest:
    """Asks for a vote in `term`; `last_index` and `last_term` are those of the sender's log.

    `is_succession`: the leader is gone by its own word or its keeper's, so nobody needs to stick to it (4.2.3).
    """

    term: int = field(validator=COUNT)
    last_index: int = field(validator=COUNT)
    last_term: int = field(validator=COUNT)
    is_succession: bool = False


@frozen(kw_only=True)
class VoteResponse:
    """Answers the vote for `asked`; `term` is the voter's own.

    A granted one says what the voter stands for, so that a new leader knows at once where groups can go.
    """

    term: int = field(validator=COUNT)
    asked: int = field(validator=COUNT)
    is_granted: bool
    wait_seconds: float = field(default=0.0, validator=SECONDS)
    offers: Offers | None = None


@frozen(kw_only=True)
class TimeoutNow:
    """The leader of `term` leads no more; `heir` stands at once (Raft thesis 3.10), the others after it.

    It holds what it holds: leading is something else. `why` is a few words for people.
    """

    term: int = field(validator=COUNT)
    heir: str | None = None
    why: str = ""


# Replicating


@frozen(kw_only=True)
class AppendEntries:
    """The leader of `term` lives: appends `entries` after the one that it names, and says what is committed (3.5).

    It is the heartbeat as well. `round` counts up within a leadership and is repeated by the answer; for `seconds` from
    receipt the receiver votes for nobody else. `heirs` are named in order. `unknown` are the members whose offers the
    leader does not know.
    """

    term: int = field(validator=COUNT)
    round: int = field(validator=COUNT)
    previous_index: int = field(validator=COUNT)
    previous_term: int = field(validator=COUNT)
    commit: int = field(validator=COUNT)
    seconds: float = field(validator=SECONDS)
    entries: tuple[Entry, ...] = ()
    heirs: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


@frozen(kw_only=True)
class InstallSnapshot:
    """The leader of `term` lives, and its log does not reach back to where the receiver's ends: the state itself (5.3).

    `round`, `seconds` and `heirs` as in AppendEntries.
    """

    term: int = field(validator=COUNT)
    round: int = field(validator=COUNT)
    seconds: float = field(validator=SECONDS)
    snapshot: Snapshot
    heirs: tuple[str, ...] = ()


@frozen(kw_only=True)
class AppendResponse:
    """Answers entries or a snapshot with the sender's own term.

    `matched`: up to here its log is the leader's; None for a refusal, with the place to try next (`hint_index`,
    `hint_term`) unless the request was of an older term. `offers_version` is that of what the sender stands for.
    """

    term: int = field(validator=COUNT)
    round: int = field(validator=COUNT)
    matched: int | None = None
    hint_index: int = field(default=0, validator=COUNT)
    hint_term: int = field(default=0, validator=COUNT)
    offers_version: int = field(default=0, validator=COUNT)


Message = (
    PreVoteRequest
    | PreVoteResponse
    | VoteRequest
    | VoteResponse
    | TimeoutNow
    | AppendEntries
    | AppendResponse
    | InstallSnapshot
    | PromiseRequest
    | PromiseResponse
    | Release
    | Goodbye
    | Offers
    | OffersResponse
    | MoveRequest
    | MoveResponse
    | MembersRequest
    | MembersResponse
)
