"""The promise rule, the voter's side: what makes at most one process hold a group at any instant, whoever leads and
whatever clocks do.

A voter promises a group to one process at a time. While a promise runs, every other process, every other incarnation,
and every older grant is refused, the voter itself included. It ends when it has run out on the voter's own clock, or
when the process itself, or its keeper, said that nothing of it is up. Promises are not on disk; a voter that starts
gives none for as long as the longest it may have given before.

The holder's side is in `holder`. Two majorities share a voter, and that voter is bound to one process at a time.
Nothing else is needed for safety: terms, votes, and the log are about who should hold.

A request of which something was refused is parked, the newest of each process. When what stood in its way is over, it
is answered again without being asked: its promise counts from then, and the process counts from when it asked.
"""  # noqa: D205 -- the first sentence needs two lines

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from attrs import evolve, frozen

from kubevip_election_raft._consensus.entries import LONGEST_PROMISE_SECONDS, Grant, Placement, Process
from kubevip_election_raft._consensus.messages import Claim, PromiseRequest, PromiseResponse, Refusal

#: Promises that are over are forgotten when there are more records than this and twice what is asked for.
FEW_RECORDS = 64


@frozen(kw_only=True)
class Promise:
    """A promise that was given: nobody else before `until` on the voter's clock; minus infinity: it was released."""

    to: Process
    grant: Grant
    until: float


@frozen(kw_only=True)
class _Parked:
    """A request of which something was refused, and when something of it may be free."""

    process: Process
    request: PromiseRequest
    free_at: float


Answer = tuple[Process, PromiseResponse]


class Promises:
    """The promises of one voter."""

    def __init__(self, *, silent_until: float) -> None:
        self.silent_until = silent_until
        self.members_index = 0  # of the entry that set the members, as this voter knows them
        self._given: dict[str, Promise] = {}
        self._newest: dict[str, tuple[int, int]] = {}  # by member, incarnation and round of its newest request
        self._parked: dict[str, _Parked] = {}
        self._buried: dict[str, int] = {}  # by member, the incarnation that its keeper said goodbye for

    @property
    def free_at(self) -> float:
        """When `look` may have something to answer; infinity when nothing is parked."""
        if not self._parked:
            return math.inf
        return min(parked.free_at for parked in self._parked.values())

    def holder(self, group: str, now: float) -> Process | None:
        """Return to whom `group` is promised."""
        promise = self._given.get(group)
        return promise.to if promise is not None and promise.until > now else None

    def is_dead(self, process: Process) -> bool:
        """Return whether its keeper, or that of a later run of the member, said goodbye for it."""
        return process.incarnation <= self._buried.get(process.name, -1)

    def ask(
        self, process: Process, request: PromiseRequest, agreed: Mapping[str, Placement], now: float
    ) -> PromiseResponse | None:
        """Give or refuse what `process` asks for; `now` is the time of receipt, `agreed` what is known of the log.

        Returns None for a request that is older than one that was seen: an answer to it would be of no use.
        """
        place = (process.incarnation, request.round)
        if place < self._newest.get(process.name, (0, 0)) or self.is_dead(process):
            return None
        self._newest[process.name] = place
        if len(self._given) > max(FEW_RECORDS, 2 * len(request.claims)):
            self._forget_old(now)
        refused: list[Refusal] = []
        until, silence = now + request.seconds, self.silent_until - now
        for claim in request.claims:
            refusal = self._judge(process, claim, agreed.get(claim.group), until, silence, now)
            if refusal is not None:
                refused.append(refusal)
        self._parked.pop(process.name, None)
        waits = [refusal.wait_seconds for refusal in refused if refusal.wait_seconds > 0]
        if waits:
            self._parked[process.name] = _Parked(process=process, request=request, free_at=now + min(waits))
        return PromiseResponse(
            round=request.round,
            incarnation=process.incarnation,
            refused=tuple(refused),
            members_index=self.members_index,
        )

    def release(
        self, process: Process, claims: Collection[Claim], agreed: Mapping[str, Placement], now: float
    ) -> list[Answer]:
        """Forget what was promised to `process` under these grants or older ones, for good; anybody else's stays.

        Returns answers to parked requests that can be promised now.
        """
        is_any = False
        self._unpark(process, claims)
        for claim in claims:
            promise = self._given.get(claim.group)
            if promise is None or promise.until <= now:
                if promise is None or promise.to == process:
                    self._given[claim.group] = Promise(to=process, grant=claim.grant, until=-math.inf)
            elif promise.to == process and promise.grant <= claim.grant:
                self._given[claim.group] = Promise(to=process, grant=claim.grant, until=-math.inf)
                is_any = True
        return self._answer_parked(agreed, now) if is_any else []

    def bury(self, process: Process, agreed: Mapping[str, Placement], now: float) -> list[Answer]:
        """Forget what was promised to `process`, which is dead, and take nothing of it any more.

        Returns answers to parked requests that can be promised now.
        """
        self._buried[process.name] = max(process.incarnation, self._buried.get(process.name, -1))
        parked = self._parked.get(process.name)
        if parked is not None and self.is_dead(parked.process):
            del self._parked[process.name]
        for group in [group for group, promise in self._given.items() if promise.to == process]:
            self._given[group] = Promise(to=process, grant=self._given[group].grant, until=-math.inf)
        return self._answer_parked(agreed, now)

    def look(self, agreed: Mapping[str, Placement], now: float) -> list[Answer]:
        """Return answers to parked requests whose time has come."""
        return self._answer_parked(agreed, now) if self.free_at <= now else []

    def _judge(
        self, process: Process, claim: Claim, agreed: Placement | None, until: float, silence: float, now: float
    ) -> Refusal | None:
        """Promise one claim until `until`, or say why not."""
        if silence > 0:
            return Refusal(group=claim.group, wait_seconds=min(silence, LONGEST_PROMISE_SECONDS))
        if agreed is not None and claim.grant < agreed.grant:
            return Refusal(group=claim.group)
        promise = self._given.get(claim.group)
        if promise is not None:
            if promise.until > now:
                if promise.to != process:
                    return Refusal(group=claim.group, wait_seconds=min(promise.until - now, LONGEST_PROMISE_SECONDS))
                if claim.grant < promise.grant:
                    return Refusal(group=claim.group)
                until = max(until, promise.until)  # an earlier, longer promise to the same process counts there still
            elif promise.until == -math.inf and promise.to == process and claim.grant <= promise.grant:
                return Refusal(group=claim.group)
        self._given[claim.group] = Promise(to=process, grant=claim.grant, until=until)
        return None

    def _answer_parked(self, agreed: Mapping[str, Placement], now: float) -> list[Answer]:
        answers: list[Answer] = []
        for parked in tuple(self._parked.values()):
            response = self.ask(parked.process, parked.request, agreed, now)
            if response is not None and len(response.refused) < len(parked.request.claims):
                answers.append((parked.process, response))
        return answers

    def _unpark(self, process: Process, claims: Collection[Claim]) -> None:
        """Forget that `process` waits for `claims`."""
        parked = self._parked.get(process.name)
        if parked is not None and parked.process == process:
            left = tuple(claim for claim in parked.request.claims if claim not in claims)
            self._parked[process.name] = evolve(parked, request=evolve(parked.request, claims=left))

    def _forget_old(self, now: float) -> None:
        self._given = {group: promise for group, promise in self._given.items() if promise.until > now}
