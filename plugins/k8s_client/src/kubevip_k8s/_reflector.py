"""Keeps a copy of a collection of objects up to date, whatever becomes of the connection."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Generic

from anyio import current_time, move_on_at, sleep
from anyio.lowlevel import checkpoint

from kubevip import Latest
from kubevip_k8s._errors import ApiError, Gone, ServerError, TimedOut, TooManyRequests, Unreachable
from kubevip_k8s._reachability import SupportsRecovery
from kubevip_k8s._reflection import Change, KeptT, Key, Reflection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from random import Random

    from kubevip_k8s._api import Api, JsonObject
    from kubevip_k8s._resources import Resource

log = logging.getLogger("kubevip.k8s")

PAGE_OBJECTS = 500
LIST_SECONDS = 30.0
#: The server sends a bookmark about once a minute, but none of a kind of which nothing has changed since it started. So
#: more silence than this may be a connection that is dead, or nothing: the watch is opened again, which tells.
IDLE_SECONDS = 75.0
#: A watch is asked to end after this time up to twice as long, so that watches of many nodes do not begin together.
WATCH_SECONDS = 300.0
#: The first and the longest pause after a failure, each jittered to between half of it and the whole.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 30.0
#: When a server answers again, whoever waits goes on within this time, each at another moment.
RECOVERY_SECONDS = 1.0
#: A watch that ended in good order before this time counts as a failure, or it would be opened hundreds of times a
#: second where something in between closes it at once.
SHORTEST_WATCH_SECONDS = 1.0
#: So many changes of a list are told in one go, about 2 ms of work for whoever is told; then others have their turn.
SLICE_CHANGES = 25


class Reflector(Generic[KeptT]):
    """A copy of the objects of `resource` in one namespace, or in all, that match the selectors.

    `objects` is the copy; `synced` becomes true when it was whole for the first time, and told; `problem` says why it
    may be old now, "" when it is followed. Objects are never changed, only replaced.

    :param keep: returns what is kept of an object; the rest, most of which nobody reads, is forgotten at once. Pure.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        *,
        keep: Callable[[JsonObject], KeptT],
        rng: Random,
        namespace: str | None = None,
        field_selector: str = "",
        label_selector: str = "",
    ) -> None:
        self.synced = Latest(False)
        self.problem = ""
        self.requests = 0
        """How many lists (pages) and watches were asked for."""
        self._api, self._rng = api, rng
        self._path = resource.path(namespace)
        selectors = {"fieldSelector": field_selector, "labelSelector": label_selector}
        self._selectors = {key: text for key, text in selectors.items() if text}
        self._reflection = Reflection(keep)
        self._pause = FIRST_PAUSE_SECONDS
        self._woken_at = -math.inf

    @property
    def objects(self) -> Mapping[Key, KeptT]:
        """The copy, by namespace and name."""
        return self._reflection.objects

    async def run(self, on_changes: Callable[[Sequence[Change[KeptT]]], None]) -> None:
        """Follow the collection until cancelled.

        `on_changes` is called with the difference that each list makes, a few changes at a time and at least once, and
        with each change that a watch tells; `objects` has it already.
        """
        while True:
            began, is_outage = current_time(), False
            try:
                if self._reflection.version is None:
                    await self._list(on_changes)
                await self._watch(on_changes)
            except Gone as error:
                log.info("%s: listing again: %s", self._path, error)
                self._reflection.begin_list()
                pause = self._next_pause()
            except ApiError as error:
                if not self.problem:
                    log.warning("%s cannot be followed: %s", self._path, error)
                self.problem, is_outage = str(error), isinstance(error, Unreachable | ServerError)
                pause = self._next_pause()
                if isinstance(error, TooManyRequests) and error.retry_after_seconds is not None:
                    pause = max(pause, error.retry_after_seconds)
            else:
                pause = 0.0 if current_time() - began >= SHORTEST_WATCH_SECONDS else self._next_pause()
            await self._wait(pause, is_outage=is_outage)

    async def _list(self, on_changes: Callable[[Sequence[Change[KeptT]]], None]) -> None:
        self._reflection.begin_list()
        query = {**self._selectors, "limit": str(PAGE_OBJECTS)}
        while True:
            self.requests += 1
            page = await self._api.request(
                "GET", self._path, query=query, timeout_seconds=LIST_SECONDS, each=self._reflection.take_item
            )
            token = self._reflection.end_page(page)
            if token is None:
                break
            query["continue"] = token
        changes = self._reflection.end_list()
        self._is_well()
        while len(changes) > SLICE_CHANGES:
            on_changes(changes[:SLICE_CHANGES])
            del changes[:SLICE_CHANGES]
            await checkpoint()
        self.synced.set(True)  # whoever is told now has been told all
        on_changes(changes)

    async def _watch(self, on_changes: Callable[[Sequence[Change[KeptT]]], None]) -> None:
        query = {
            **self._selectors,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._reflection.version or "",
            "timeoutSeconds": str(int(WATCH_SECONDS * self._rng.uniform(1, 2))),
        }
        self.requests += 1
        async with self._api.watch(self._path, query=query, idle_seconds=IDLE_SECONDS) as events:
            if self.problem:
                log.info("%s is followed again", self._path)
            self.problem = ""
            try:
                async for event in events:
                    change = self._reflection.take_event(event)
                    self._is_well()
                    if change is not None:
                        on_changes((change,))
                        await checkpoint()  # events that have come together need not be waited for
            except TimedOut as error:
                log.debug("%s: watching again: %s", self._path, error)

    async def _wait(self, seconds: float, *, is_outage: bool) -> None:
        """Wait that long; after an outage less, when the server answers others again.

        That happens once in the longest pause at most: it may be that this one alone is not answered.
        """
        if not is_outage or not isinstance(self._api, SupportsRecovery):
            await sleep(seconds)
            return
        end = current_time() + seconds
        with move_on_at(end):
            await sleep(max(0.0, self._woken_at + LONGEST_PAUSE_SECONDS - current_time()))
            await self._api.recovered()
            self._woken_at = current_time()
            await sleep(RECOVERY_SECONDS * self._rng.random())

    def _is_well(self) -> None:
        self.problem, self._pause = "", FIRST_PAUSE_SECONDS

    def _next_pause(self) -> float:
        pause, self._pause = self._pause, min(self._pause * 2, LONGEST_PAUSE_SECONDS)
        return pause * self._rng.uniform(0.5, 1.0)
