"""An API with Leases in memory, and electors on it, each with a way to the API that can be spoilt. In virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any, cast

from anyio import Event, current_time, fail_after, sleep, sleep_forever
from attrs import define, field

from kubevip_election_k8s._record import micro_time
from kubevip_k8s import AlreadyExists, Conflict, JsonObject, NotFound, ServerError, TimedOut, Unreachable

COLLECTION = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases"
SOME_DAY = 1_700_000_000.0


class LoopClock:
    """The event loop's clock; `offset` is how long the machine slept, `skew` how wrong its wall clock is."""

    def __init__(self) -> None:
        self.offset, self.skew = 0.0, 0.0

    def now(self) -> float:
        return current_time() + self.offset

    def stamp(self) -> str:
        return micro_time(datetime.fromtimestamp(SOME_DAY + self.skew + current_time(), UTC))


class Leases:
    """What the API server keeps; `log` is every change: when, and what the Lease was then."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.version = 100
        self.events: list[tuple[int, str, dict[str, Any]]] = []
        self.writes: list[tuple[float, str, dict[str, Any]]] = []
        self.changed = Event()

    def put(self, name: str, lease: dict[str, Any], kind: str = "MODIFIED") -> dict[str, Any]:
        self.version += 1
        lease = deepcopy(lease)
        lease.setdefault("metadata", {}).update(name=name, resourceVersion=str(self.version))
        if kind == "DELETED":
            self.objects.pop(name, None)
        else:
            self.objects[name] = lease
        self.events.append((self.version, kind, lease))
        self.writes.append((current_time(), kind, lease))
        self.changed.set()
        self.changed = Event()
        return deepcopy(lease)

    def edit(self, name: str, **spec: object) -> None:
        """Change a Lease by hand."""
        lease = deepcopy(self.objects[name])
        lease["spec"].update(spec)
        self.put(name, lease)

    def delete(self, name: str) -> None:
        self.put(name, self.objects[name], "DELETED")

    def holder(self, name: str) -> str:
        return str(self.objects.get(name, {}).get("spec", {}).get("holderIdentity") or "")


@define(eq=False)
class Way:
    """One node's way to the API (`kubevip_k8s.Api`). `cut`: refused. `stalled`: no answers, and nothing arrives.

    `deaf`: requests arrive and are carried out, the answers do not come. `failing`: 500. `watch_is_deaf`: no events.
    """

    server: Leases
    latency: float = 0.001
    is_cut: bool = False
    is_deaf: bool = False
    is_failing: bool = False
    watch_is_deaf: bool = False
    requests: list[tuple[float, str, str]] = field(factory=list)
    stalled: Event | None = None

    def stall(self) -> None:
        self.stalled = Event()

    def flow(self) -> None:
        if self.stalled is not None:
            self.stalled.set()
        self.stalled = None

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = {},
        body: object = None,
        content_type: str = "application/json",
        timeout_seconds: float,
        each: object = None,
    ) -> JsonObject:
        self.requests.append((current_time(), method, path))
        try:
            with fail_after(timeout_seconds):
                await self._travel()
                if self.is_failing:
                    raise ServerError(500, "InternalError", "etcd is away")
                answer = self._carry_out(method, path, query, body)
                if self.is_deaf:
                    await sleep_forever()
                await self._travel()
                return answer
        except TimeoutError:
            raise TimedOut(f"{method} {path}: no answer") from None

    async def _travel(self) -> None:
        await sleep(self.latency)
        while self.stalled is not None:
            await self.stalled.wait()
        if self.is_cut:
            raise Unreachable("refused")

    def _carry_out(self, method: str, path: str, query: Mapping[str, str], body: object) -> dict[str, Any]:
        server, name = self.server, path.removeprefix(COLLECTION).strip("/")
        lease = cast("dict[str, Any]", body)
        if method == "POST":
            name = lease["metadata"]["name"]
            if name in server.objects:
                raise AlreadyExists(409, "AlreadyExists", name)
            return server.put(name, lease, "ADDED")
        if not name:
            picked = [deepcopy(found) for found in server.objects.values() if _is_picked(found, query)]
            return {"items": picked, "metadata": {"resourceVersion": str(server.version)}}
        if name not in server.objects:
            raise NotFound(404, "NotFound", name)
        found = server.objects[name]
        if method == "GET":
            return deepcopy(found)
        if method == "DELETE":
            wanted, metadata = lease["preconditions"], found["metadata"]
            if any(wanted[key] != metadata.get(key, "") for key in wanted):
                raise Conflict(409, "Conflict", name)
            server.put(name, found, "DELETED")
            return {}
        if lease["metadata"].get("resourceVersion") != found["metadata"]["resourceVersion"]:
            raise Conflict(409, "Conflict", name)
        return server.put(name, lease)

    @asynccontextmanager
    async def _watching(
        self, query: Mapping[str, str], idle_seconds: float
    ) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        await self._travel()
        yield self._events(int(query["resourceVersion"]), query, idle_seconds)

    def watch(self, path: str, *, query: Mapping[str, str], idle_seconds: float) -> Any:
        self.requests.append((current_time(), "WATCH", path))
        return self._watching(query, idle_seconds)

    def _events(self, version: int, query: Mapping[str, str], idle_seconds: float) -> AsyncIterator[dict[str, Any]]:
        return _Events(self, version, query, idle_seconds)


class _Events:
    def __init__(self, way: Way, version: int, query: Mapping[str, str], idle_seconds: float) -> None:
        self._way, self._version, self._query, self._idle = way, version, query, idle_seconds

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> dict[str, Any]:
        try:
            with fail_after(self._idle):
                while True:
                    changed = self._way.server.changed
                    if not self._way.watch_is_deaf and (event := self._next()) is not None:
                        await self._way._travel()
                        return event
                    await changed.wait()
        except TimeoutError:
            raise TimedOut("the watch is silent") from None

    def _next(self) -> dict[str, Any] | None:
        for version, kind, lease in self._way.server.events:
            if version > self._version and _is_picked(lease, self._query):
                self._version = version
                return {"type": kind, "object": deepcopy(lease)}
        return None


def _is_picked(lease: dict[str, Any], query: Mapping[str, str]) -> bool:
    if field_selector := query.get("fieldSelector"):
        return field_selector == f"metadata.name={lease['metadata']['name']}"
    key, _, value = query["labelSelector"].partition("=")
    return bool(lease["metadata"].get("labels", {}).get(key) == value)
