"""Follows Leases, so that a release, a takeover or a deletion is noticed at once.

A list, then a watch from its version, for ever. It hides nothing: what it misses is noticed when a Lease is up, because
writes are compare-and-swap. It never waits longer than the retry period before it asks again: a follower that hears
nothing takes over late. (Copies of other objects can wait for half a minute; those are the reflector's.)

What it has not heard of since a list is known to be absent, until the watch breaks: events come in order. Leases that a
label selects are those that kubevip holds or has held; one of other electors without it may have been there.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from random import Random
from typing import cast

from anyio import sleep

from kubevip_election_k8s._clock import Clock
from kubevip_election_k8s._record import name_of, version_of
from kubevip_election_k8s._timing import Timing
from kubevip_k8s import LEASES, Api, ApiError, JsonObject, ServerError, TimedOut, error_of_event

logger = logging.getLogger("kubevip.lease")

FIRST_PAUSE_SECONDS = 0.05

#: How long the server keeps a watch open; stretched by up to two, so that not all of a cluster come back together.
WATCH_SECONDS = 300.0


#: What is called for each Lease, with its name, itself, its version, and since when there was none before it.
Told = Callable[[str, JsonObject | None, str, float], None]


class LeaseWatch:
    """Tells what becomes of the Leases of a namespace that a selector picks."""

    def __init__(
        self,
        api: Api,
        namespace: str,
        selector: Mapping[str, str],
        told: Told,
        listed: Callable[[frozenset[str], str], None],
        *,
        timing: Timing,
        clock: Clock,
        rng: Random,
    ) -> None:
        """Prepare; nothing happens before `run`.

        :param selector: the query's `fieldSelector` or `labelSelector`.
        :param told: called with the name, the Lease (None: deleted) and the version of each that was listed or changed,
            and since when there was none before this one (infinite: not known), on `clock`.
        :param listed: called after a list, with the names of all Leases there are, and the list's version.
        """
        self.problem = ""
        self._api, self._path, self._selector = api, LEASES.path(namespace), selector
        self._told, self._listed, self._timing, self._clock, self._rng = told, listed, timing, clock, rng
        self._listed_at = math.inf
        self._gone_at: dict[str, float] = {}  # since then; infinite: it is there

    def absent_since(self, name: str) -> float:
        """Return since when there has been no Lease of that name, as far as is known; infinite: there may be one."""
        return self._gone_at.get(name, self._listed_at)

    async def run(self) -> None:
        """Follow them until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                version = await self._list()
                self._note("")
                await self._follow(version)
                pause = FIRST_PAUSE_SECONDS
            except ApiError as error:
                self._note(str(error))
            self._listed_at = math.inf
            self._gone_at.clear()
            await sleep(pause * self._rng.uniform(0.5, 1.0))
            pause = min(2 * pause, self._timing.retry_seconds)

    async def _list(self) -> str:
        listing = await self._api.request(
            "GET", self._path, query=self._selector, timeout_seconds=self._timing.renew_seconds
        )
        version, found = version_of(listing), set[str]()
        items = listing.get("items")
        for item in cast("list[object]", items) if isinstance(items, list) else ():
            if isinstance(item, dict) and (name := name_of(lease := cast("JsonObject", item))):
                found.add(name)
                self._gone_at[name] = math.inf
                self._told(name, lease, version_of(lease), math.inf)
        self._listed_at = self._clock.now()
        self._listed(frozenset(found), version)
        return version

    async def _follow(self, version: str) -> None:
        query = {
            **self._selector,
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(int(WATCH_SECONDS * self._rng.uniform(1, 2))),
        }
        # A Lease that is held changes each retry period. More silence is a watch that is dead, or nobody holds any: a
        # list tells which, and is no trouble before it fails.
        async with self._api.watch(self._path, query=query, idle_seconds=2.0 * self._timing.lease_seconds) as events:
            try:
                async for event in events:
                    lease = event.get("object")
                    if not isinstance(lease, dict):
                        raise ServerError(500, "", "an event of the watch has no object")
                    self._take(str(event.get("type")), cast("JsonObject", lease))
            except TimedOut as error:
                logger.debug("%s: listing again: %s", self._path, error)

    def _take(self, kind: str, lease: JsonObject) -> None:
        if kind == "ERROR":
            raise error_of_event(lease)
        name, version = name_of(lease), version_of(lease)
        if kind in ("ADDED", "MODIFIED"):
            since, self._gone_at[name] = self.absent_since(name), math.inf
            self._told(name, lease, version, since)
        elif kind == "DELETED":
            self._gone_at[name] = self._clock.now()
            self._told(name, None, version, math.inf)

    def _note(self, problem: str) -> None:
        if problem != self.problem:
            if problem:
                logger.warning("the watch of leases is broken: %s", problem)
            else:
                logger.info("the watch of leases works again")
            self.problem = problem
