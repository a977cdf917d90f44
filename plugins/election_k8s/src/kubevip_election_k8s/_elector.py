"""Input and output of one candidate: requests, timers, reports to every group that the Lease elects a holder for.

What is decided is the candidate's. There is one elector for a Lease, however many groups name it, so a thousand groups
cost one renewal.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, MutableMapping
from random import Random

from anyio import CancelScope, fail_after, get_cancelled_exc_class, move_on_after
from attrs import evolve

from kubevip import Candidacy, Cause, Latest
from kubevip.errors import ElectionError
from kubevip_election_k8s._candidate import Candidate, Decision, Read, Wait, Write
from kubevip_election_k8s._clock import Clock, in_loop_time
from kubevip_election_k8s._lease_name import LeaseName
from kubevip_election_k8s._record import with_annotations, with_labels, write_record
from kubevip_election_k8s._stands import Stand, Stands
from kubevip_election_k8s._transfer import NOTHING, Transfer, Wish, wish_of
from kubevip_k8s import (
    LEASES,
    AlreadyExists,
    Api,
    ApiError,
    Conflict,
    Forbidden,
    JsonObject,
    NotFound,
    Refused,
    TooManyRequests,
    Unauthorized,
)

logger = logging.getLogger("kubevip.lease")

#: Candidates of a free Lease spread out over this, so that most of them see that it is taken before they ask.
SPREAD_SECONDS = 0.02

#: A node that cannot serve a single group of the Lease lets all others go first for so long: when nobody is fit,
#: somebody still holds. One that is less fit than it might be lets them go first for a part of the other.
UNFIT_SECONDS, LESS_FIT_SECONDS = 2.0, 0.2

#: Each node that a group would rather be on has so much of a start over the next.
PREFERENCE_SECONDS, FURTHEST_RANK = 0.05, 4

#: What the credentials have to permit.
RIGHTS = "get, list, watch, create, update and patch"


class Elector:
    """Stands for one Lease while anybody wants it to."""

    def __init__(
        self,
        lease: LeaseName,
        candidate: Candidate,
        api: Api,
        *,
        node: str,
        clock: Clock,
        rng: Random,
        labels: dict[str, str],
        last_terms: MutableMapping[str, int],
        bequeath: Callable[[LeaseName, int | None], None],
    ) -> None:
        """Prepare; nothing happens before `run`.

        :param labels: what a Lease is labelled with that is written here, whoever made it.
        :param last_terms: by group, the last term that this process has reported.
        :param bequeath: keeps the last will: at which count of transitions the Lease is ours, None if it is not.
        """
        self.lease, self.candidate, self.problem = lease, candidate, ""
        self._node = node
        self._api, self._clock, self._rng, self._labels, self._bequeath = api, clock, rng, labels, bequeath
        self._stands = Stands(candidate, node, clock, last_terms)
        self._transfer = Transfer(candidate.identity, node)
        self._count = Latest(0)
        self._news: Latest[object] = Latest(None)
        self._resting = Latest(True)
        self._standing: CancelScope | None = None
        self._cause: Cause | None = None
        self._before: str | None = None  # the node that held before
        self._drawn_for, self._spread_seconds = -math.inf, 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nobody wants anything of it, and nothing is held."""
        return not self._stands and self._resting.value

    @property
    def term(self) -> int:
        """The term that is reported here, or would be by a holder that reports it for the first time; 0 for none."""
        seen = self.candidate.seen
        return self._stands.term or (self.candidate.transitions + 1 if seen is not None and seen.record else 0)

    async def stand(self, candidacy: Candidacy) -> None:
        """Stand for a group until cancelled; whoever leaves last returns when the Lease is released, or in time."""
        mine = Stand(candidacy)
        cause = self._cause  # a group that comes later has not been without a holder since then
        self._stands.add(mine, Cause(why=cause.why) if cause is not None else None)
        self._resting.set(False)
        self._count.set(len(self._stands))
        fitness = candidacy.fitness.value
        try:
            while True:
                fitness = await candidacy.fitness.wait_for_change(fitness)
                self._news.set(object())
        finally:
            self._stands.remove(mine)
            self._count.set(len(self._stands))
            if not self._stands:
                if self._standing is None:
                    self._resting.set(True)
                else:
                    self._standing.cancel()
                with move_on_after(candidacy.grace_seconds, shield=True):
                    await self._resting.wait_until(lambda rests: rests or bool(self._stands))

    def told(self, lease: JsonObject | None, version: str, absent_since: float) -> None:
        """Take note of what a watch or a list said of the Lease, and since when it knew of none before."""
        now = self._clock.now()
        self.candidate.told(lease, version, now, absent_since)
        self._tell(now)
        self._news.set(object())

    async def run(self) -> None:
        """Stand whenever somebody wants it, until cancelled. Releases only when nobody wants it any more."""
        while True:
            await self._count.wait_until(bool)
            self._standing = CancelScope()
            with self._standing:
                await self._campaign()
            self.candidate.let_go()
            await self._release()  # a candidacy that comes meanwhile waits for its end
            self._standing = None
            if not self._stands:
                self._resting.set(True)

    async def move(self, to: str) -> None:
        """Have the Lease held by node `to`; return when it is.

        :raises ElectionError: it did not come forward, or somebody else was faster.
        """
        self._transfer.to = to
        self._news.set(object())
        try:
            with fail_after(self.candidate.timing.lease_seconds):
                while self.candidate.holder_node != to:
                    await self._news.wait_for_change(self._news.value)
        except TimeoutError:
            holder = self.candidate.holder_node
            raise ElectionError(
                f"Lease {self.lease}: {to} has not come forward, {holder or 'nobody'} holds it; "
                f"{to} does not run, is unfit, does not stand for it, or is no node of kubevip"
            ) from None
        finally:
            self._transfer.to = ""
            self._news.set(object())

    async def _campaign(self) -> None:
        while True:
            known, now = self._news.value, self._clock.now()
            self._tell(now)
            if self.candidate.holds(now) and self._transfer.is_due(self.candidate.seen):
                until = in_loop_time(self.candidate.valid_until, self._clock)
                self.candidate.let_go()  # first: what is told of it meanwhile must not bring it back
                await self._stands.withdraw(until)
                await self._release()
            else:
                await self._carry_out(self._decide(now), now, known)

    def _decide(self, now: float) -> Decision:
        candidate, transfer = self.candidate, self._transfer
        back = self._stands.fail_back_seconds(candidate.holder_node)
        changes = transfer.changes(
            candidate.seen,
            now,
            fitness=self._stands.fitness,
            fail_back_seconds=back,
            first_seconds=self._others_first_seconds,
        )
        if changes and (annotating := candidate.decide_annotating(now, changes)) is not None:
            return annotating
        decision = candidate.decide(now, self._delay_seconds(), self._clock.stamp())
        if isinstance(decision, Write) and decision.acquires and wish_of(candidate.seen) != Wish():
            return evolve(decision, annotations=NOTHING)
        if isinstance(decision, Wait) and (due := transfer.due(back)) > now:
            return Wait(until=min(decision.until, due))
        return decision

    async def _release(self) -> None:
        """Let go of the Lease, as long as nobody has to wait for it longer than for its end."""
        began = self._clock.now()
        while True:
            known, now = self._news.value, self._clock.now()
            decision = self.candidate.decide_release(now, self._clock.stamp())
            if decision is None or now - began > self.candidate.timing.renew_seconds:
                self._bequeath(self.lease, None)
                return
            await self._carry_out(decision, now, known)

    async def _carry_out(self, decision: Decision, now: float, known: object) -> None:
        match decision:
            case Wait(until=until):
                with move_on_after(until - now):
                    await self._news.wait_for_change(known)
            case Read():
                await self._request(decision)
            case Write():
                if decision.acquires:
                    self._note_cause(now)
                elif decision.holds and not self.candidate.holds(now):
                    self._note_return(now)
                if decision.holds:
                    self._bequeath(self.lease, decision.record.transitions)
                await self._request(decision)

    async def _request(self, decision: Read | Write) -> None:
        candidate, sent_at = self.candidate, self._clock.now()
        problem = ""
        try:
            lease = await self._send(decision)
        except get_cancelled_exc_class():
            candidate.cut()
            raise
        except (Conflict, AlreadyExists):
            candidate.conflicted(self._clock.now(), self._stretch())
        except NotFound as error:
            if isinstance(decision, Write) and decision.lease is None:
                problem = self._explain(error)  # not the Lease is missing, but its namespace
                candidate.failed(self._clock.now(), self._stretch(), is_uncertain=False)
            else:
                candidate.is_missing(self._clock.now())
        except ApiError as error:
            problem = self._explain(error)
            asked = error.retry_after_seconds if isinstance(error, TooManyRequests) else None
            is_certain = isinstance(error, Refused) and error.status < 500
            candidate.failed(
                self._clock.now(), self._stretch(), is_uncertain=not is_certain, at_least_seconds=asked or 0.0
            )
        else:
            if isinstance(decision, Read):
                candidate.has_read(lease, self._clock.now())
            else:
                candidate.has_written(lease, sent_at, self._clock.now())
        if problem != self.problem:
            logger.log(
                logging.WARNING if problem else logging.INFO, "lease=%s %s", self.lease, problem or "works again"
            )
            self.problem = problem

    async def _send(self, decision: Read | Write) -> JsonObject:
        namespace, name, seconds = self.lease.namespace, self.lease.name, decision.timeout_seconds
        if isinstance(decision, Read):
            return await self._api.request("GET", LEASES.path(namespace, name), timeout_seconds=seconds)
        if decision.lease is None:
            fresh = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": name, "namespace": namespace, "labels": self._labels},
            }
            body = write_record(fresh, decision.record)
            return await self._api.request("POST", LEASES.path(namespace), body=body, timeout_seconds=seconds)
        body = with_labels(write_record(decision.lease, decision.record), self._labels)
        if decision.annotations:
            body = with_annotations(body, decision.annotations)
        return await self._api.request("PUT", LEASES.path(namespace, name), body=body, timeout_seconds=seconds)

    def _explain(self, error: ApiError) -> str:
        if isinstance(error, Unauthorized):
            return f"{error}; the token or certificate has expired, or is for another cluster"
        if isinstance(error, Forbidden):
            return f"{error}; needed are {RIGHTS} of leases in namespace {self.lease.namespace}"
        return str(error)

    def _delay_seconds(self) -> float:
        """Return how long this node lets others go first."""
        seen = self.candidate.seen
        if seen is None or not self._stands or (is_heir := self._transfer.is_heir(seen)):
            return 0.0
        if seen.since != self._drawn_for:
            self._drawn_for, self._spread_seconds = seen.since, self._rng.uniform(0, SPREAD_SECONDS)
        others = self.candidate.timing.retry_seconds if is_heir is False else 0.0
        return self._spread_seconds + self._others_first_seconds + others

    @property
    def _others_first_seconds(self) -> float:
        """For how long those go first that are fitter, or preferred."""
        fitness, rank = self._stands.fitness, min(self._stands.rank, FURTHEST_RANK)
        unfit = UNFIT_SECONDS if fitness <= 0 else LESS_FIT_SECONDS * (100 - fitness) / 100
        return unfit + rank * PREFERENCE_SECONDS

    def _stretch(self) -> float:
        return self._rng.uniform(0.5, 1.0)

    def _note_cause(self, now: float) -> None:
        seen = self.candidate.seen
        if seen is None or seen.record is None or self._before is None:
            self._cause = Cause(why="first", stood_at=in_loop_time(now, self._clock))
            return
        if self._before == self._node:
            why = "restarted" if seen.holder else "nobody else took it"
        else:
            is_unfit = wish_of(seen).fitness is not None and not seen.holder
            what = "is silent" if seen.holder else "is unfit" if is_unfit else "let go"
            why = f"{self._before} {what}"
        self._cause = Cause(
            why=why, silent_since=in_loop_time(seen.since, self._clock), stood_at=in_loop_time(now, self._clock)
        )

    def _note_return(self, now: float) -> None:
        """Note why it leads again who could not renew its Lease in time, and whose it still is."""
        until = self.candidate.valid_until
        if math.isfinite(until):
            silent_since, stood_at = in_loop_time(until, self._clock), in_loop_time(now, self._clock)
            self._cause = Cause(why="its lease had run out", silent_since=silent_since, stood_at=stood_at)

    def _tell(self, now: float) -> None:
        self._before = self.candidate.holder_node or self._before
        self._stands.tell(now, self._cause)
