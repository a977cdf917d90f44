"""What Services of Kubernetes cost, each with 10 endpoints: the first sync, memory, and one change.

`make bench-services`, or python benchmarks/services.py [--json FILE] [--rounds N] [--services N ...]. Twice: the source
alone; and a whole node with it, from what the API tells until the proxy has the new backends, where an election, an
announcer and a proxy that do nothing stand in. The API is a stand-in as well, which decodes each page from JSON
when it is asked for and keeps none. Each case runs in a process of its own. Needs nothing, touches nothing.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.lowlevel
from attrs import asdict, frozen
from report import Row, argument_parser, publish, row

from kubevip import Backend, Desired, Feed, Host, Instance, Kind, Latest, Provider, Section, Snapshot
from kubevip.testing import running_app
from kubevip_k8s._listing import Listing
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
        items: list[str] = []
        for number in range(first, end):
            items.append(make(number))
            await anyio.lowlevel.checkpoint()
        listing = Listing(path, f'{{"metadata":{json.dumps(metadata)},"items":[{",".join(items)}]}}'.encode())
        while listing.decode(each):
            await anyio.lowlevel.checkpoint()
        return listing.rest

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


CONFIG = K8sSourceConfig(balance=Balance.KUBEVIP, election="single", write_status=False, events=False)
PAUSE_SECONDS = 0.3  # until nobody is holding back


@frozen
class Nothing:
    """There is nothing to configure."""


class Arrivals:
    """What has arrived where it is to take effect: addresses, and changes of backends."""

    def __init__(self) -> None:
        self.addresses = Latest(0)
        self.changes = Latest(0)

    @asynccontextmanager
    async def announce(self, vip: object, tenure: object, report: object) -> AsyncGenerator[None]:
        self.addresses.set(self.addresses.value + 1)
        yield

    @asynccontextmanager
    async def serve(self, listener: object, report: object) -> AsyncGenerator[Arrivals]:
        yield self

    def set_backends(self, backends: Sequence[Backend]) -> None:
        self.changes.set(self.changes.value + 1)

    def set_drain(self, seconds: float) -> None:
        pass

    def publish(self, desired: Desired) -> None:
        """What a source alone says."""
        self.changes.set(self.changes.value + 1)
        self.addresses.set(len(desired.parts))


def providing(name: str, service: object, **more: Any) -> Provider[Nothing, Any]:
    @asynccontextmanager
    async def open_it(config: Nothing, host: Host) -> AsyncGenerator[Any]:
        yield service

    return Provider(name=name, summary=name, config=Nothing, open=open_it, **more)


@asynccontextmanager
async def source_alone(source: ServicesSource, arrivals: Arrivals) -> AsyncGenerator[None]:
    feed = Feed(publish=arrivals.publish, reject=lambda problems: None, status=Latest(Snapshot()), reload=Latest(0))
    async with anyio.create_task_group() as tg:
        tg.start_soon(source.run, feed)
        yield
        tg.cancel_scope.cancel()


@asynccontextmanager
async def whole_node(source: ServicesSource, arrivals: Arrivals) -> AsyncGenerator[None]:
    desired = Desired(instances=(Instance(kind=Kind.SOURCE, name="k8s", section=Section(provider="k8s")),))
    with tempfile.TemporaryDirectory() as place:
        async with running_app(
            desired,
            state_dir=Path(place),
            announcers=[providing("address", arrivals), providing("arp", Arrivals())],
            proxies=[providing("tcp", arrivals, protocols=("tcp",))],
            sources=[providing("k8s", source)],
        ):
            yield


class Turns:
    """The most CPU time that went by before a task that waits a millisecond had its turn again."""

    def __init__(self) -> None:
        self.longest_ms = 0.0

    async def run(self) -> None:
        while True:
            before = time.thread_time()
            await anyio.sleep(0.001)
            self.longest_ms = max(self.longest_ms, (time.thread_time() - before) * 1000)


PARTS = {"source": source_alone, "node": whole_node}


async def measure(part: str, count: int, rounds: int) -> list[Row]:
    api, arrivals, turns = StandIn(count), Arrivals(), Turns()
    source = ServicesSource(api, CONFIG, node="n1", rng=Random(1))
    gc.collect()
    memory, cpu, began = resident_megabytes(), time.process_time(), time.perf_counter()
    async with PARTS[part](source, arrivals):
        async with anyio.create_task_group() as tg:
            tg.start_soon(turns.run)
            await arrivals.addresses.wait_until(lambda addresses: addresses == count)
            took, used = time.perf_counter() - began, time.process_time() - cpu
            await anyio.sleep(PAUSE_SECONDS)
            tg.cancel_scope.cancel()
        gc.collect()
        gc.freeze()  # as a node does when it is ready
        memory = resident_megabytes() - memory
        changes: list[float] = []
        for number in range(rounds):
            await anyio.sleep(PAUSE_SECONDS)
            seen, cpu = arrivals.changes.value, time.process_time()
            api.change(endpoint_slice(number % count, shift=number + 1))
            await arrivals.changes.wait_until(lambda changes: changes > seen)  # noqa: B023 -- awaited at once
            await anyio.sleep(PAUSE_SECONDS)  # whatever is told of it afterwards counts, too
            changes.append((time.process_time() - cpu) * 1000)
    case = f"{count} Services, {part}"
    return [
        row(f"{case}: first sync", [took], "s"),
        row(f"{case}: CPU of it", [used], "s"),
        row(f"{case}: longest without a turn for others", [turns.longest_ms], "ms"),
        row(f"{case}: memory", [memory], "MB"),
        row(f"{case}: CPU of one change", changes, "ms"),
    ]


def measure_apart(part: str, count: int, rounds: int) -> list[Row]:
    """Measure in a process of its own, whose memory nothing else has used before."""
    command = [sys.executable, __file__, "--case", part, "--services", str(count), "--rounds", str(rounds)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return [Row(**each) for each in json.loads(done.stdout)]


if __name__ == "__main__":
    parser = argument_parser(__doc__, rounds=20)
    parser.add_argument("--services", type=int, nargs="+", default=[50, 500, 5000])
    parser.add_argument("--case", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        alone = partial(measure, options.case, options.services[0], options.rounds)
        print(json.dumps([asdict(each) for each in anyio.run(alone)]))
    else:
        cases = [(part, count) for part in PARTS for count in options.services]
        publish([each for part, count in cases for each in measure_apart(part, count, options.rounds)], options.json)
