"""The promise rule, the holder's side: what this process holds or is to hold, and what was promised to it.

A majority of the voters must have promised. A voter counts the length of a promise from receipt; the holder counts
length / 1.2 from *before* it sent, so it is over here before it is over there although clocks may run at rates 8.3 %
off on each side. An answer names its round; the time of its receipt is never used.

One request a heartbeat goes to every voter, for all groups together. It does not matter who leads.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from attrs import define, evolve, field

from kubevip_election_raft._consensus.entries import LONGEST_PROMISE_SECONDS, Grant, Process
from kubevip_election_raft._consensus.messages import Claim, PromiseRequest, PromiseResponse
from kubevip_election_raft._consensus.ready import Holding, Rise
from kubevip_election_raft._consensus.timing import CLOCK_RATIO, Timing


@define(kw_only=True, eq=False)
class _Claimed:
    """A group that this process holds or asks for.

    `promised`: by voter, the time before the newest round that it promised was sent. `tenure` is 0 while not held.
    `was_held`: something may be up under it, until the owner says that nothing is.
    `is_leaving`: somebody else is to hold it; it is asked for no more, and what is up is to be withdrawn.
    `kept_until`: the end of the lease that was held when the voters became others.
    """

    claim: Claim
    rise: Rise
    is_committed: bool
    promised: dict[str, float] = field(factory=dict[str, float])
    tenure: int = 0
    was_held: bool = False
    is_leaving: bool = False
    kept_until: float = -math.inf


class Holder:
    """What one process holds."""

    def __init__(self, process: Process, timing: Timing) -> None:
        self._process, self._timing, self._least_seconds = process, timing, 0.0
        self._claimed: dict[str, _Claimed] = {}
        self._asked: dict[int, tuple[float, tuple[Claim, ...]]] = {}  # by round: time before it was sent, and for what
        self._round = self._tenures = 0
        self._released: dict[str, Grant] = {}
        self._quorum = 1
        self._voters: frozenset[str] = frozenset()
        self._members_index = 0  # of the entry that set the voters
        self.beat_at = math.inf
        self.holdings: Mapping[str, Holding] = {}
        self.leaving: Mapping[str, Holding] = {}

    # What is to be held

    def set_voters(self, voters: Collection[str], members_index: int) -> None:
        """Count the promises of these from now on; `members_index` is that of the entry that set them.

        What is held is held to the end of its lease. It was promised by a majority of the voters of before, and that
        shares one with every majority of now (Raft thesis 4.1); the voters do not change again before it is over.
        """
        for claimed in self._claimed.values():
            claimed.kept_until = self._until(claimed)
        self._voters, self._members_index = frozenset(voters), members_index
        self._quorum = len(self._voters) // 2 + 1

    def place(self, group: str, grant: Grant, rise: Rise, *, is_committed: bool, now: float) -> None:
        """Ask for `group` from now on. It is held only when the decision is committed, which may come later."""
        claimed = self._claimed.get(group)
        if self.is_spent(group, grant):
            return
        if claimed is not None and claimed.claim.grant == grant:
            claimed.is_committed |= is_committed
            self._look(now)
            return
        if claimed is not None and not is_committed:
            return  # what is held goes on until the new decision is certain
        new = _Claimed(claim=Claim(group=group, grant=grant), rise=rise, is_committed=is_committed)
        if claimed is not None and not claimed.is_leaving:  # to the same process again: it goes on
            new.promised, new.tenure, new.was_held = claimed.promised, claimed.tenure, claimed.was_held
            new.kept_until = claimed.kept_until
        elif claimed is not None:
            return  # what is up has to go first; the decision is looked at again then
        self._claimed[group] = new
        self.beat_at = now
        self._look(now)

    def withdraw(self, group: str, now: float) -> Claim | None:
        """Stop asking for `group`, as is agreed; return the claim if it is to be released at once: nothing is up.

        What this leader has decided since, and is not agreed yet, it goes on to ask for.
        """
        claimed = self._claimed.get(group)
        if claimed is None or not claimed.is_committed:
            return None
        if not claimed.was_held:
            return self._drop(group, now)
        if not claimed.is_leaving:
            claimed.is_leaving = True
            self._look(now)
        return None

    def release(self, group: str, now: float) -> Claim | None:
        """Return the claim to release, now that nothing is up under it."""
        return self._drop(group, now)

    def forget_uncommitted(self, now: float) -> None:
        """Ask no more for what was decided and may never be committed. It is not released: it may yet be committed."""
        for group in [group for group, claimed in self._claimed.items() if not claimed.is_committed]:
            del self._claimed[group]
            self._forget_asked(group)
        self._look(now)

    def ask_for_at_least(self, seconds: float, now: float) -> None:
        """Ask for promises of at least so many seconds; what was promised for less counts no more."""
        is_longer = seconds > self._promise_seconds
        self._least_seconds = min(seconds, LONGEST_PROMISE_SECONDS)
        if is_longer and self._claimed:
            self.end_all(now)
            self.beat_at = now

    def end_all(self, now: float) -> None:
        """Hold nothing from now on of what is held: what was up may have answered without being watched."""
        for claimed in self._claimed.values():
            claimed.promised.clear()
            claimed.tenure, claimed.kept_until = 0, -math.inf
        self._asked.clear()
        self._look(now)

    def is_spent(self, group: str, grant: Grant) -> bool:
        """Return whether `group` was given back under `grant`, or a newer one."""
        return group in self._released and grant <= self._released[group]

    def note_let_go(self, group: str, now: float) -> None:
        """Note that the holder before let go of `group` now; for people."""
        claimed = self._claimed.get(group)
        if claimed is not None and claimed.tenure == 0:
            claimed.rise = evolve(claimed.rise, silent_since=now)

    def grant_of(self, group: str) -> Grant | None:
        """Return the grant under which `group` is held or asked for."""
        claimed = self._claimed.get(group)
        return claimed.claim.grant if claimed is not None else None

    # Asking

    @property
    def claims(self) -> tuple[Claim, ...]:
        """What to ask for."""
        return tuple(claimed.claim for claimed in self._claimed.values() if not claimed.is_leaving)

    def ask(self, now: float) -> PromiseRequest | None:
        """Return the request of a new round; None without anything to ask for. Nothing of it was sent before `now`."""
        claims = self.claims
        if not claims:
            self.beat_at = math.inf
            return None
        due = max(min(self.beat_at, now), now - self._timing.heartbeat_seconds / 2)
        self.beat_at = due + self._timing.heartbeat_seconds
        expired = [round_ for round_, (asked_at, _) in self._asked.items() if asked_at + self._span <= now]
        for round_ in expired:
            del self._asked[round_]
        self._round += 1
        self._asked[self._round] = now, claims
        return PromiseRequest(round=self._round, seconds=self._promise_seconds, claims=claims)

    def answer(self, voter: str, response: PromiseResponse, now: float) -> float | None:
        """Take an answer into account; return when its round was asked, or None if it is not an answer to this process.

        A refusal takes nothing back: what was promised before still runs. An answer of a voter that knows newer members
        than this process does not count.
        """
        if response.incarnation != self._process.incarnation or response.round not in self._asked:
            return None
        if response.members_index > self._members_index:
            return None  # the voters are others by now, as the answer says: first this member has to learn them
        asked_at, claims = self._asked[response.round]
        refused = {refusal.group for refusal in response.refused}
        for claim in claims:
            if claim.group in refused:
                continue
            claimed = self._claimed.get(claim.group)
            if claimed is not None and claimed.claim.grant == claim.grant and voter in self._voters:
                claimed.promised[voter] = max(asked_at, claimed.promised.get(voter, -math.inf))
        self._look(now)
        return asked_at

    def notice(self, now: float) -> None:
        """Before anything else: what has run out is held no more, however long the process did not run."""
        if any(holding.until <= now for holding in self.holdings.values()):
            self._look(now)

    @property
    def _promise_seconds(self) -> float:
        return max(self._timing.promise_seconds, self._least_seconds)

    @property
    def _span(self) -> float:
        return self._promise_seconds / CLOCK_RATIO

    def _until(self, claimed: _Claimed) -> float:
        """Return when nobody else can hold before; minus infinity before a majority promised."""
        asked = sorted((at for voter, at in claimed.promised.items() if voter in self._voters), reverse=True)
        promised_until = asked[self._quorum - 1] + self._span if len(asked) >= self._quorum else -math.inf
        return max(promised_until, claimed.kept_until)

    def _look(self, now: float) -> None:
        """See anew what is held."""
        holdings: dict[str, Holding] = {}
        leaving: dict[str, Holding] = {}
        for group, claimed in self._claimed.items():
            until = self._until(claimed)
            if claimed.is_leaving:
                leaving[group] = self._holding(claimed, until)
                continue
            if until <= now or not claimed.is_committed:
                claimed.tenure = 0  # if it was held, it ran out, and what comes next is another tenure
                continue
            if claimed.tenure == 0:
                self._tenures += 1
                claimed.tenure, claimed.was_held = self._tenures, True
            holdings[group] = self._holding(claimed, until)
        if holdings != self.holdings:
            self.holdings = holdings
        if leaving != self.leaving:
            self.leaving = leaving

    @staticmethod
    def _holding(claimed: _Claimed, until: float) -> Holding:
        return Holding(grant=claimed.claim.grant, until=until, tenure=claimed.tenure, rise=claimed.rise)

    def _drop(self, group: str, now: float) -> Claim | None:
        claimed = self._claimed.pop(group, None)
        if claimed is None:
            return None
        self._released[group] = claimed.claim.grant
        self._forget_asked(group)
        self._look(now)
        return claimed.claim

    def _forget_asked(self, group: str) -> None:
        """Make sure that no answer to what was asked before counts for a later claim to `group`."""
        for round_, (asked_at, claims) in self._asked.items():
            self._asked[round_] = asked_at, tuple(claim for claim in claims if claim.group != group)
