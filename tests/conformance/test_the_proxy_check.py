"""The check of proxies passes a small relay and finds each way in which it can be broken."""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count

import pytest
from anyio import CancelScope, connect_tcp, create_task_group, move_on_after, sleep
from anyio.abc import SocketListener, SocketStream, TaskGroup
from attrs import evolve

from kubevip import Backend, Listener, ListenerHealth, Tenure
from kubevip.errors import ProxyError
from kubevip.testing import check_proxy
from kubevip.testing._exchange import GONE

pytestmark = pytest.mark.anyio

IP_FREEBIND = 15


class Relay:
    """A listener that relays in tasks; `broken` names what it does wrong."""

    def __init__(self, listener: Listener, listening: SocketListener, broken: str) -> None:
        self._listening, self._broken = listening, broken
        self._backends, self._turns = tuple(listener.backends), count()
        self._drain_seconds = 0.0 if listener.is_bound else listener.drain_seconds
        if broken == "never drains":
            self._drain_seconds = 0.0
        self._open: dict[CancelScope, Backend] = {}

    def set_backends(self, backends: Sequence[Backend]) -> None:
        if self._broken == "ignores backends":
            return
        if self._broken == "drops at once":
            for scope, backend in self._open.items():
                if backend not in backends:
                    scope.cancel()
        self._backends = tuple(backends)

    def set_drain(self, seconds: float) -> None:
        self._drain_seconds = 0.0 if self._broken == "ignores drain" else seconds

    async def run(self, tg: TaskGroup) -> None:
        with suppress(*GONE):
            await self._listening.serve(self._relay, tg)

    async def leave(self, tg: TaskGroup) -> None:
        if self._broken != "goes on listening":
            await self._listening.aclose()
        with CancelScope(shield=True), move_on_after(self._drain_seconds):
            while self._open:
                await _tick()
        if self._broken == "forgets connections":
            with CancelScope(shield=True), move_on_after(1.0):
                while self._open:
                    await _tick()
        tg.cancel_scope.cancel()

    async def _relay(self, client: SocketStream) -> None:
        async with client:
            if not self._backends:
                if self._broken == "hangs without backends":
                    await _tick(10.0)
                return
            backend = self._backends[next(self._turns) % len(self._backends)]
            with CancelScope() as scope:
                self._open[scope] = backend
                try:
                    async with await connect_tcp(backend.address, backend.port) as server:
                        async with create_task_group() as tg:
                            tg.start_soon(self._pump, client, server, tg)
                            tg.start_soon(self._pump, server, client, tg)
                finally:
                    del self._open[scope]

    async def _pump(self, source: SocketStream, target: SocketStream, tg: TaskGroup) -> None:
        with suppress(*GONE):
            async for part in source:
                await target.send(part)
        tg.cancel_scope.cancel()


async def _tick(seconds: float = 0.01) -> None:
    await sleep(seconds)


class RelayProxy:
    def __init__(self, broken: str) -> None:
        self._broken = broken

    @asynccontextmanager
    async def serve(self, listener: Listener, report: Callable[[ListenerHealth], None]) -> AsyncGenerator[Relay]:
        is_over = listener.tenure is not None and listener.tenure.remaining_seconds <= 0
        if is_over and self._broken != "asks no tenure":
            raise ProxyError("the tenure is over")
        host = "0.0.0.0" if listener.address is None else str(listener.address)
        sock = socket.socket()
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._broken != "no freebind":
                sock.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            sock.bind((host, listener.port))
            sock.listen()
        except OSError as error:
            sock.close()
            if self._broken == "raises what it gets":
                raise ProxyError("address in use") from error
            raise ProxyError(f"{host}:{listener.port}: {error.strerror}") from error
        relay = Relay(listener, await SocketListener.from_socket(sock), self._broken)
        try:
            async with create_task_group() as tg:
                tg.start_soon(relay.run, tg)
                try:
                    yield relay
                finally:
                    await relay.leave(tg)
            if self._broken == "goes on listening":
                await _tick(0.1)
        finally:
            sock.close()


class StandbyRelay:
    """Stands by: the relay is made when it is to listen; `broken` names what it does wrong."""

    def __init__(self, listener: Listener, sock: socket.socket, broken: str, tg: TaskGroup) -> None:
        self._listener, self._sock, self._broken, self._tg = listener, sock, broken, tg
        self._relay: tuple[Relay, CancelScope] | None = None
        if broken == "listens too soon":
            sock.listen()

    def set_backends(self, backends: Sequence[Backend]) -> None: ...

    def set_drain(self, seconds: float) -> None: ...

    def listen(self, tenure: Tenure) -> None:
        if tenure.remaining_seconds <= 0 and self._broken != "listens in no tenure":
            raise ProxyError("the tenure is over")
        if self._broken != "does not listen":
            self._sock.listen()
        self._listener = evolve(self._listener, tenure=tenure)

    def relay(self) -> None:
        scope = CancelScope()
        self._tg.start_soon(self._serve, scope)

    async def _serve(self, scope: CancelScope) -> None:
        with self._sock.dup() as sock, scope:
            relay = Relay(self._listener, await SocketListener.from_socket(sock), "")
            self._relay = relay, scope
            async with create_task_group() as tg:
                await relay.run(tg)

    async def close(self) -> None:
        if self._relay is not None:
            self._relay[1].cancel()
            self._relay = None
        with CancelScope(shield=True):
            await _tick()
        if self._broken != "is not closed":
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_RDWR)


class StandbyProxy(RelayProxy):
    @asynccontextmanager
    async def stand_by(
        self, listener: Listener, report: Callable[[ListenerHealth], None]
    ) -> AsyncGenerator[StandbyRelay]:
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                if self._broken != "takes what is taken":
                    sock.bind((str(listener.address), listener.port))
            except OSError as error:
                raise ProxyError(f"{listener.address}:{listener.port}: {error.strerror}") from error
            async with create_task_group() as tg:
                standby = StandbyRelay(listener, sock, self._broken, tg)
                try:
                    yield standby
                finally:
                    await standby.close()
                    tg.cancel_scope.cancel()


async def run(broken: str, proxy: type[RelayProxy] = RelayProxy) -> None:
    @asynccontextmanager
    async def make() -> AsyncGenerator[RelayProxy]:
        yield proxy(broken)

    await check_proxy(make, obey_within_seconds=0.5)


async def test_a_good_proxy_passes() -> None:
    await run("")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("ignores backends", r"set_backends .* is answered by 'one' instead of 'two'"),
        ("drops at once", r"removed backends drain.* was answered by ''"),
        ("hangs without backends", r"without backends the answer is None"),
        ("forgets connections", r"duty 2 .* leaving a bound listener took"),
        ("never drains", r"duty 2 .* was answered by '', not drained"),
        ("ignores drain", r"duty 2 .* set_drain\(0.5\) with an open connection"),
        ("goes on listening", r"duty 2 .* still accepts connections"),
        ("no freebind", r"duty 1 .* 192.0.2.1, which is on no device yet"),
        ("raises what it gets", r"duty 3 .* does not name 127.0.0.1"),
        ("asks no tenure", r"duty 1 .* in a tenure that was over"),
    ],
)
async def test_a_broken_proxy_is_named(broken: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        await run(broken)


async def test_a_good_proxy_that_stands_by_passes() -> None:
    await run("", StandbyProxy)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("listens too soon", r"stand_by .* accepts connections before it is to listen"),
        ("does not listen", r"stand_by .* refuses connections although it listens"),
        ("listens in no tenure", r"stand_by .* in a tenure that was over"),
        ("is not closed", r"duty 2 .* still accepts connections"),
    ],
)
async def test_a_broken_standby_is_named(broken: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        await run(broken, StandbyProxy)
