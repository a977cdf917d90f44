"""An Api straight over a fake cluster: no sockets, so it runs on virtual time."""

from __future__ import annotations

import copy
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from anyio import Event, current_time, fail_after, move_on_after, sleep, sleep_forever
from anyio.lowlevel import checkpoint

from kubevip_k8s._api import JSON, NO_QUERY
from kubevip_k8s._errors import BadAnswer, TimedOut, Unreachable, error_of_status
from kubevip_k8s.testing._document import Document
from kubevip_k8s.testing._faults import Delay, Drop, Fail, Fault, Raw, Stall
from kubevip_k8s.testing._requests import Request
from kubevip_k8s.testing._status import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

    from kubevip_k8s.testing._requests import Answer
    from kubevip_k8s.testing._watch import Watch


class Cluster(Protocol):
    """What of a fake cluster is needed here."""

    is_frozen: bool
    bookmark_seconds: float

    def fault_of(self, request: Request) -> Fault | None: ...
    def answer(self, request: Request) -> Answer: ...
    def open_watch(self, request: Request) -> Watch: ...
    def close_watch(self, watch: Watch) -> None: ...
    def on_wake(self, listener: Callable[[], None]) -> Callable[[], None]: ...


class Bell:
    """Rung by the cluster; whoever waits for it looks again."""

    def __init__(self, cluster: Cluster) -> None:
        self._event = Event()
        self.stop = cluster.on_wake(self._ring)

    def _ring(self) -> None:
        self._event.set()

    async def wait(self, seconds: float) -> bool:
        """Return True as soon as it rings, False after `seconds`."""
        with move_on_after(seconds):
            await self._event.wait()
        rang, self._event = self._event.is_set(), Event()
        return rang


async def thawed(cluster: Cluster) -> None:
    """Wait until a cluster is not frozen."""
    bell = Bell(cluster)
    try:
        while cluster.is_frozen:
            await bell.wait(float("inf"))
    finally:
        bell.stop()


class MemoryApi:
    """An `Api` with the rights of one token; change `token` to rotate it."""

    def __init__(self, cluster: Cluster, token: str | None) -> None:
        self._cluster, self.token = cluster, token

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: object = None,
        content_type: str = JSON,
        timeout_seconds: float,
        each: Callable[[object], None] | None = None,
    ) -> Document:
        """See Api."""
        request = self._request(method, path, query, body, content_type)
        try:
            with fail_after(timeout_seconds):
                await checkpoint()
                if (fault := self._cluster.fault_of(request)) is not None:
                    await self._suffer(fault, request)
                await thawed(self._cluster)
                answer = self._cluster.answer(request)
        except TimeoutError:
            raise TimedOut(f"no answer to {method} {path} within {timeout_seconds} s") from None
        if answer.status >= 400:
            raise error_of_status(answer.status, answer.body)
        found = _object(answer.body)
        if each is not None:
            for item in found.pop("items", None) or ():
                each(item)
        return found

    async def _suffer(self, fault: Fault, request: Request) -> None:
        match fault:
            case Delay(seconds=seconds):
                await sleep(seconds)
            case Stall(is_carried_out=is_carried_out):
                if is_carried_out:
                    self._cluster.answer(request)
                await sleep_forever()
            case Drop(is_carried_out=is_carried_out):
                if is_carried_out:
                    self._cluster.answer(request)
                raise Unreachable("the connection was reset")
            case Fail():
                refusal = Refusal(fault.status, fault.reason, fault.message)
                raise error_of_status(fault.status, refusal.document, fault.retry_after_seconds)
            case Raw(status=status) if status >= 400:
                raise error_of_status(status, fault.body.decode(errors="replace"))
            case Raw():
                raise BadAnswer(f"not JSON: {fault.body[:60]!r}")

    @asynccontextmanager
    async def watch(
        self, path: str, *, query: Mapping[str, str], idle_seconds: float
    ) -> AsyncGenerator[AsyncIterator[Document]]:
        """See Api."""
        request = self._request("GET", path, {**query, "watch": "true"}, None, JSON)
        try:
            with fail_after(idle_seconds):
                await checkpoint()
                if (fault := self._cluster.fault_of(request)) is not None:
                    await self._suffer(fault, request)
                await thawed(self._cluster)
                watch = self._cluster.open_watch(request)
        except TimeoutError:
            raise TimedOut(f"no answer to a watch of {path} within {idle_seconds} s") from None
        except Refusal as refusal:
            raise error_of_status(refusal.status, refusal.document) from None
        bell = Bell(self._cluster)
        try:
            yield _Events(self._cluster, watch, bell, idle_seconds)
        finally:
            bell.stop()
            self._cluster.close_watch(watch)

    def _request(self, method: str, path: str, query: Mapping[str, str], body: object, content_type: str) -> Request:
        body = json.loads(json.dumps(body))  # what is no JSON fails here, as it would on the wire
        return Request(
            method=method, path=path, query=dict(query), content_type=content_type, body=body, token=self.token
        )


class Stream:
    """The events of a watch as they come due: changes at once, bookmarks after a quiet time, then the end."""

    def __init__(self, cluster: Cluster, watch: Watch, bell: Bell) -> None:
        self._cluster, self._watch, self._bell = cluster, watch, bell
        self._ends_at = current_time() + watch.timeout_seconds
        self._said_at = current_time()

    async def next(self, until: float) -> tuple[Document, ...] | None:
        """Return the next events, () at the time `until`, None at the watch's end.

        :raises Unreachable: its connection was broken.
        """
        watch = self._watch
        while True:
            if not self._cluster.is_frozen and (events := watch.take()):
                self._said_at = current_time()
                return events
            if watch.is_cut:
                raise Unreachable("the connection was reset")
            if watch.is_over or current_time() >= self._ends_at:
                return None
            due = self._said_at + self._cluster.bookmark_seconds
            if watch.wants_bookmarks and not self._cluster.is_frozen and current_time() >= due:
                self._said_at = current_time()
                return (watch.bookmark(),)
            if current_time() >= until:
                return ()
            wakes_at = min(self._ends_at, until)
            if watch.wants_bookmarks and not self._cluster.is_frozen:
                wakes_at = min(wakes_at, due)
            await self._bell.wait(wakes_at - current_time())


class _Events:
    def __init__(self, cluster: Cluster, watch: Watch, bell: Bell, idle_seconds: float) -> None:
        self._stream, self._idle_seconds = Stream(cluster, watch, bell), idle_seconds
        self._ready: list[Document] = []

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Document:
        await checkpoint()
        if not self._ready:
            events = await self._stream.next(current_time() + self._idle_seconds)
            if events is None:
                raise StopAsyncIteration
            if not events:
                raise TimedOut(f"a watch said nothing for {self._idle_seconds} s")
            self._ready = list(events)
        return self._ready.pop(0)


def _object(body: Document | str) -> Document:
    if isinstance(body, str):
        raise BadAnswer(f"not JSON: {body[:60]!r}")
    return copy.deepcopy(body)
