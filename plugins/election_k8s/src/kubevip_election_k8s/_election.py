"""The election as the core sees it: a candidacy for a group is one for the Lease that elects for the group."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, MutableMapping
from random import Random

from anyio import CancelScope, Event, create_task_group, sleep
from anyio.abc import TaskGroup

from kubevip import Candidacy
from kubevip.errors import ElectionError
from kubevip_election_k8s._candidate import Candidate
from kubevip_election_k8s._clock import Clock
from kubevip_election_k8s._config import Scope
from kubevip_election_k8s._elector import Elector
from kubevip_election_k8s._last_will import LastWill
from kubevip_election_k8s._lease_name import LeaseName, lease_of_group
from kubevip_election_k8s._leftovers import Leftovers
from kubevip_election_k8s._stranger import warning_about
from kubevip_election_k8s._timing import Timing
from kubevip_election_k8s._watching import LeaseWatch
from kubevip_k8s import LEASES, Api, ApiError, Conflict, Forbidden, JsonObject, NotFound

logger = logging.getLogger("kubevip.lease")

#: Leases of one election with `scope: service` bear it, with the name that theirs are derived from.
SCOPE_LABEL = "kubevip.io/election"

#: How often is looked for Leases of groups that are gone; stretched by up to two.
CLEAR_UP_SECONDS = 60.0


class LeaseElection:
    """Elects on one Lease, or on one for each group. Runs in a task group of its opener."""

    def __init__(
        self,
        lease: LeaseName,
        scope: Scope,
        api: Api,
        tasks: TaskGroup,
        *,
        identity: str,
        node: str,
        timing: Timing,
        clock: Clock,
        rng: Random,
        will: LastWill,
        last_terms: MutableMapping[str, int],
    ) -> None:
        """Prepare; nothing happens before `run`.

        :param identity: what this process is called in a Lease; nobody else's, ever.
        :param last_terms: by group, the last term that this process has reported.
        """
        self._lease, self._scope, self._api, self._identity, self._node = lease, scope, api, identity, node
        self._timing, self._clock, self._rng, self._will, self._last_terms = timing, clock, rng, will, last_terms
        self._electors: dict[str, Elector] = {}
        self._scopes: dict[str, CancelScope] = {}
        self._leftovers = Leftovers()
        self._tasks = tasks
        self._is_wanted = Event()
        is_shared = scope is Scope.LEASE
        selector = {"fieldSelector": f"metadata.name={lease.name}"} if is_shared else {"labelSelector": self._label}
        self._watch = LeaseWatch(
            api, lease.namespace, selector, self._told, self._listed, timing=timing, clock=clock, rng=rng
        )

    @property
    def _label(self) -> str:
        return f"{SCOPE_LABEL}={self._lease.name[:63].rstrip('-.')}"

    @property
    def follows_fitness(self) -> bool:
        """Always true: an unfit holder hands its Lease to whoever comes forward, and keeps it while nobody does."""
        return True

    async def run(self) -> None:
        """Follow the Leases from the first candidacy on, until cancelled."""
        await self._is_wanted.wait()
        async with create_task_group() as tg:
            tg.start_soon(self._watch.run)
            if self._scope is Scope.SERVICE:
                tg.start_soon(self._clear_up)

    async def _clear_up(self) -> None:
        """Delete the Leases of groups that are gone, one after the other; who may not says so and leaves them."""
        while True:
            await sleep(CLEAR_UP_SECONDS * self._rng.uniform(1, 2))  # not all nodes at once
            for found in tuple(self._leftovers.due(self._clock.now(), self._electors.keys())):
                path = LEASES.path(self._lease.namespace, found.name)
                seconds = self._timing.renew_seconds
                try:
                    await self._api.request("DELETE", path, body=found.delete_options(), timeout_seconds=seconds)
                except (Conflict, NotFound):
                    continue  # it is in use again, or another node was faster: the watch tells
                except ApiError as error:
                    logger.warning("lease=%s is of a group that is gone and stays: %s", found.name, error)
                    if isinstance(error, Forbidden):
                        return
                    break
                logger.info("lease=%s deleted: its group is gone", found.name)

    async def campaign(self, candidacy: Candidacy) -> None:
        """Stand until cancelled; returns with the Lease released, unless another group still needs it."""
        lease = self._lease if self._scope is Scope.LEASE else lease_of_group(self._lease, candidacy.group)
        elector = self._elector_of(lease)
        self._is_wanted.set()
        try:
            await elector.stand(candidacy)
        finally:
            if elector.is_idle and self._scope is Scope.SERVICE and self._electors.get(lease.name) is elector:
                del self._electors[lease.name]
                self._scopes.pop(lease.name).cancel()

    async def move(self, group: str, to: str) -> None:
        """Move the Lease that elects for `group`, with all groups that share it; return when `to` holds it.

        :raises ElectionError: it did not come forward, or somebody else was faster; nothing has changed if nobody was.
        """
        lease = self._lease if self._scope is Scope.LEASE else lease_of_group(self._lease, group)
        if (elector := self._electors.get(lease.name)) is None:
            raise ElectionError(f"group {group!r}: this node does not stand for Lease {lease}")
        await elector.move(to)

    def status(self) -> Mapping[str, object]:
        """Return leader, term (as reported, from the Lease's transitions) and what is wrong, JSON-compatible.

        With `scope: service` each group has its own leader, and only the number of Leases is told.
        """
        electors = tuple(self._electors.values())
        problems, now = {elector.problem: None for elector in electors if elector.problem}, self._clock.now()
        described: dict[str, object] = {
            "lease": str(self._lease),
            "identity": self._identity,
            "leases": len(electors),
            "warnings": [*problems, *filter(None, (self._watch.problem, *self._strangers()))],
        }
        if self._scope is Scope.LEASE and electors:
            elector = electors[0]
            candidate = elector.candidate
            holds = candidate.holds(now)
            described |= {
                "leader": self._node if holds else None if candidate.is_ours else candidate.shown_holder,
                "term": elector.term,
                "lease_seconds_left": round(candidate.valid_until - now, 3) if holds else None,
            }
        if found := [at for it in electors if (at := it.candidate.holds_from) is not None and at > now]:
            left = f"{min(found) - now:.1f} s"
            described["waiting"] = f"waiting {left}: nothing says who held the Lease before this node made it"
        if problems and not any(elector.candidate.holds(now) for elector in electors):
            described["waiting"] = f"waiting for the API: {next(iter(problems))}"
        return described

    def _strangers(self) -> Iterator[str]:
        for elector in self._electors.values():
            seen = elector.candidate.seen
            if seen is not None and not elector.candidate.is_ours:
                yield warning_about(elector.lease, seen.record)

    def _elector_of(self, lease: LeaseName) -> Elector:
        if (found := self._electors.get(lease.name)) is not None:
            return found
        elector = self._electors[lease.name] = Elector(
            lease,
            Candidate(self._identity, self._timing, self._watch.absent_since(lease.name)),
            self._api,
            node=self._node,
            clock=self._clock,
            rng=self._rng,
            labels=dict([self._label.split("=")]) if self._scope is Scope.SERVICE else {},
            last_terms=self._last_terms,
            bequeath=self._will.set,
        )
        self._scopes[lease.name] = scope = CancelScope()
        self._tasks.start_soon(_run_in, scope, elector)
        return elector

    def _told(self, name: str, lease: JsonObject | None, version: str, absent_since: float) -> None:
        self._leftovers.told(name, lease, self._clock.now())
        if (elector := self._electors.get(name)) is not None:
            elector.told(lease, version, absent_since)

    def _listed(self, names: frozenset[str], version: str) -> None:
        self._leftovers.listed(names)
        for name, elector in self._electors.items():
            if name not in names and self._scope is Scope.LEASE:  # others may be there without the label
                elector.told(None, version, math.inf)


async def _run_in(scope: CancelScope, elector: Elector) -> None:
    with scope:
        await elector.run()
