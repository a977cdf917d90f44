"""The promise rule: what makes at most one process hold at any instant, whoever leads and whatever clocks do.

Voter. One promise at a time: while one is running, every other process, its other incarnations, and every older grant
of the same process are refused, the voter itself included. It ends when it has run out on the voter's own clock, or
when the process itself released it. Promises are not on disk; a voter that starts gives none for as long as the longest
it may have given before.

Holder. A majority must have promised. The voter counts `seconds` from receipt; the holder counts seconds / 1.2 from
*before* it sent, so it is over here before it is over there although clocks may run at rates 8.3 % off on each side. An
answer names its round; the time of its receipt is never used.

Two majorities share a voter, and that voter is bound to one process at a time. Nothing else is needed for safety:
terms, votes, PreVote and CheckQuorum are about having a holder at all.
"""

from __future__ import annotations

import math

from attrs import frozen

from kubevip_election_raft._messages import Grant, Process, PromiseRequest, PromiseResponse
from kubevip_election_raft._timing import CLOCK_RATIO


@frozen(kw_only=True)
class Promise:
    """A promise that was given: nobody else before `until` on the voter's clock."""

    to: Process
    grant: Grant
    until: float


class Promises:
    """The promises of one voter."""

    def __init__(self, *, silent_until: float) -> None:
        self._silent_until = silent_until
        self._given: Promise | None = None

    def free_at(self, process: Process) -> float:
        """Return when `process` can get a promise; a time in the past if it can have one now."""
        if self._given is None or self._given.to == process:
            return self._silent_until
        return max(self._silent_until, self._given.until)

    def ask(self, process: Process, request: PromiseRequest, now: float) -> PromiseResponse:
        """Give or refuse the promise that `process` asked for; `now` is the time of receipt."""
        wait = max(self.free_at(process) - now, 0.0)
        running = self._given if self._given is not None and self._given.until > now else None
        is_given = wait == 0 and (running is None or request.grant >= running.grant)
        if is_given:
            until = now + request.seconds
            if running is not None:
                until = max(until, running.until)  # an earlier, longer promise to the same process still counts there
            self._given = Promise(to=process, grant=request.grant, until=until)
        return PromiseResponse(
            round=request.round,
            incarnation=process.incarnation,
            grant=request.grant,
            is_given=is_given,
            wait_seconds=wait,
        )

    def release(self, process: Process, grant: Grant) -> None:
        """Forget what was promised to `process` under `grant` or an older one; anybody else's stays."""
        if self._given is not None and self._given.to == process and self._given.grant <= grant:
            self._given = None


class Lease:
    """What the holder of one grant knows of the promises to it."""

    def __init__(self, *, process: Process, grant: Grant, quorum: int, promise_seconds: float) -> None:
        self.grant = grant
        self.promise_seconds = promise_seconds
        self._process, self._quorum = process, quorum
        self._asked: dict[int, float] = {}  # round -> time before it was sent
        self._promised: dict[str, float] = {}  # voter -> time before the newest round that it promised was sent

    @property
    def until(self) -> float:
        """The time before which nobody else can hold; minus infinity before a majority promised."""
        asked = sorted(self._promised.values(), reverse=True)
        if len(asked) < self._quorum:
            return -math.inf
        return asked[self._quorum - 1] + self.promise_seconds / CLOCK_RATIO

    @property
    def is_held(self) -> bool:
        """Whether a majority ever promised."""
        return len(self._promised) >= self._quorum

    @property
    def voters_bound_until(self) -> float:
        """When the promises behind `until` have run out at the voters as well, as far as clocks agree."""
        return self.until + self.promise_seconds - self.promise_seconds / CLOCK_RATIO

    def ask(self, round_: int, now: float) -> PromiseRequest:
        """Return the request of a new round; `now` was read before anything of it is sent."""
        expired = [number for number, asked_at in self._asked.items() if asked_at + self.promise_seconds < now]
        for number in expired:
            del self._asked[number]
        self._asked[round_] = now
        return PromiseRequest(round=round_, seconds=self.promise_seconds, grant=self.grant)

    def answer(self, voter: str, response: PromiseResponse) -> float | None:
        """Take an answer into account; return when its round was asked, or None if it is not an answer to this lease.

        A refusal takes nothing back: what was promised before still runs.
        """
        if response.grant != self.grant or response.incarnation != self._process.incarnation:
            return None
        asked_at = self._asked.get(response.round)
        if asked_at is not None and response.is_given:
            self._promised[voter] = max(asked_at, self._promised.get(voter, -math.inf))
        return asked_at
