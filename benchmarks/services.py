"""What 5,000 Services with 10 endpoints each cost the Kubernetes source: first sync, memory, CPU of one change.

`make bench-services`, or python benchmarks/services.py [--json FILE] [--rounds N] [--services N]. The API is a stand-in
that decodes each object from JSON when it is asked for and keeps none, so the memory is the source's. What the core
does with a snapshot is not in it. Needs nothing, touches nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
from report import Row, argument_parser, publish, row

from kubevip import Desired, Feed, Latest, Snapshot
from kubevip_source_k8s._config import Balance, K8sSourceConfig
from kubevip_source_k8s._services_source import ServicesSource

ENDPOINTS = 10
NO_QUERY: Mapping[str, str] = {}


def service(number: int) -> str:
    metadata = {"namespace": f"ns{number % 50}", "name": f"web{number}", "uid": f"u{number}", "resourceVersion": "1"}
    spec = {
        "type": "LoadBalancer",
        "loadBalancerIP": f"10.{number // 62500}.{number // 250 % 250}.{number % 250 + 1}",
        "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080, "nodePort": 30000}],
        "selector": {"app": f"web{number}"},
        "externalTrafficPolicy": "Cluster",
    }
    return json.dumps({"metadata": metadata, "spec": spec, "status": {"loadBalancer": {}}})


def endpoint_slice(number: int, *, shift: int = 0) -> str:
    endpoints = [
        {
            "addresses": [f"10.{200 + index}.{number // 250}.{(number + shift) % 250 + 1}"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "nodeName": f"n{index}",
            "targetRef": {
                "kind": "Pod",
                "namespace": f"ns{number % 50}",
                "name": f"web{number}-{index}",
                "uid": "x" * 36,
            },
        }
        for index in range(ENDPOINTS)
    ]
    metadata = {
        "namespace": f"ns{number % 50}",
        "name": f"web{number}-abcde",
        "labels": {"kubernetes.io/service-name": f"web{number}"},
        "resourceVersion": str(1 + shift),
    }
    ports = [{"name": "http", "port": 8080, "protocol": "TCP"}]
    return json.dumps({"metadata": metadata, "addressType": "IPv4", "endpoints": endpoints, "ports": ports})


class StandIn:
    """An Api with `count` Services; `change` tells of a slice that has become another."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._send, self._receive = anyio.create_memory_object_stream[str](10)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        each: Callable[[object], None] | None = None,
        **_: Any,
    ) -> Any:
        await anyio.lowlevel.checkpoint()
        if each is None:
            return {}
        make = endpoint_slice if "slices" in path else service
        first = int(query.get("continue", "0"))
        end = min(first + int(query["limit"]), self._count)
        metadata = {"resourceVersion": "1", "continue": str(end) if end < self._count else ""}
        for number in range(first, end):
            each(json.loads(make(number)))
        return {"metadata": metadata}

    @asynccontextmanager
    async def watch(self, path: str, **_: Any) -> AsyncGenerator[AsyncIterator[Any]]:
        yield self._events() if "slices" in path else self._silence()

    async def _events(self) -> AsyncIterator[Any]:
        async for text in self._receive:
            yield {"type": "MODIFIED", "object": json.loads(text)}

    async def _silence(self) -> AsyncIterator[Any]:
        await anyio.sleep_forever()
        yield {}

    def change(self, text: str) -> None:
        self._send.send_nowait(text)


def resident_megabytes() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 1e6


async def measure_source(count: int, rounds: int) -> list[Row]:
    published: Latest[tuple[int, Desired]] = Latest((0, Desired()))
    feed = Feed(
        publish=lambda desired: published.set((published.value[0] + 1, desired)),
        reject=lambda problems: None,
        status=Latest(Snapshot()),
        reload=Latest(0),
    )
    api = StandIn(count)
    memory, cpu = resident_megabytes(), time.process_time()
    source = ServicesSource(api, K8sSourceConfig(balance=Balance.KUBEVIP), node="n1", rng=Random(1))
    async with anyio.create_task_group() as tg:
        began = time.perf_counter()
        tg.start_soon(source.run, feed)
        await published.wait_until(lambda now: len(now[1].vips) == count)
        rows = [
            row(f"{count} Services x {ENDPOINTS}: first sync", [time.perf_counter() - began], "s"),
            row(f"{count} Services x {ENDPOINTS}: CPU of it", [time.process_time() - cpu], "s"),
            row(f"{count} Services x {ENDPOINTS}: memory of it", [resident_megabytes() - memory], "MB"),
        ]
        changes: list[float] = []
        for number in range(rounds):
            await anyio.sleep(0.1 + count * 0.001)  # until the source is not holding back
            seen, cpu = published.value[0], time.process_time()
            api.change(endpoint_slice(number, shift=1))
            await published.wait_until(lambda now: now[0] > seen)  # noqa: B023 -- awaited at once
            changes.append((time.process_time() - cpu) * 1000)
        rows.append(row(f"{count} Services x {ENDPOINTS}: CPU of one change", changes, "ms"))
        tg.cancel_scope.cancel()
    return rows


if __name__ == "__main__":
    parser = argument_parser(__doc__, rounds=5)
    parser.add_argument("--services", type=int, default=5000)
    options = parser.parse_args()
    found: list[Row] = []
    for size in (max(1, options.services // 10), options.services):
        found += anyio.run(measure_source, size, options.rounds)
    publish(found, options.json)
