"""Checks of a proxy with real sockets on loopback."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from anyio import Event, create_task_group, current_time, move_on_after, sleep
from attrs import frozen

from kubevip._contract import Listener
from kubevip.abc import SupportsStandby
from kubevip.errors import ProxyError
from kubevip.testing._duty import plain_failures, require
from kubevip.testing._exchange import ask, connected, echo_backend, slow_request
from kubevip.testing._tenures import make_tenure

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from contextlib import AbstractAsyncContextManager

    from anyio.abc import TaskStatus

    from kubevip._contract import ListenerHealth, Serving
    from kubevip._leadership import Tenure
    from kubevip._model import Backend, IPAddress
    from kubevip.abc import Proxy
    from kubevip.testing._exchange import Client, EchoBackend

ENTERED = "Proxy duty 1 (enters when the socket listens, also before its address is there)"
LEFT = "Proxy duty 2 (leaves when nothing listens and nothing is relayed; connections are reset, or drain)"
REFUSAL = "Proxy duty 3 (raises ProxyError naming address and port when the socket cannot be opened)"
STANDBY = "SupportsStandby.stand_by (listens when it is told to, in a tenure, and not before)"
BACKENDS = "Serving.set_backends (new connections go to the new backends)"
DRAINING = "Serving.set_backends (connections to removed backends drain)"

LOOPBACK = IPv4Address("127.0.0.1")

#: An address that is on no machine (TEST-NET-1, RFC 5737).
NOWHERE = IPv4Address("192.0.2.1")

#: A drain that is short enough to be waited for, and how often to look for what comes from other processes.
DRAIN_SECONDS, POLL_SECONDS = 0.5, 0.01
ANSWERS_IN_A_ROW = 6


@frozen(kw_only=True)
class _Rig:
    proxy: Proxy
    protocol: str
    options: object | None
    obey_within_seconds: float

    def listener(
        self,
        port: int,
        *backends: Backend,
        address: IPAddress | None = LOOPBACK,
        tenure: Tenure | None = None,
        drain_seconds: float = 10.0,
    ) -> Listener:
        return Listener(
            name="check",
            protocol=self.protocol,
            address=address,
            port=port,
            backends=backends,
            drain_seconds=drain_seconds,
            tenure=tenure,
            options=self.options,
        )

    async def answers(self, port: int, who: str, duty: str, host: str = "127.0.0.1") -> None:
        """Ask until `who` answers some times in a row.

        Every new connection must go there soon; not every worker of a proxy hears of it in the same moment.
        """
        said: str | None = ""
        in_a_row = 0
        with move_on_after(self.obey_within_seconds):
            while in_a_row < ANSWERS_IN_A_ROW:
                said = await ask(host, port, self.obey_within_seconds)
                in_a_row = in_a_row + 1 if said == who else 0
                if said != who:
                    await sleep(POLL_SECONDS)
        require(in_a_row == ANSWERS_IN_A_ROW, duty, f"{host}:{port} is answered by {said!r} instead of {who!r}")

    def slow_request(self, server: EchoBackend, port: int) -> AbstractAsyncContextManager[Client]:
        return slow_request(server, "127.0.0.1", port, self.obey_within_seconds)

    async def closed(self, port: int, *, soon: bool = False) -> None:
        """See that nobody listens: now, or `soon`, while the listener is being left."""
        with move_on_after(self.obey_within_seconds if soon else 0):
            while await _accepts(port):
                await sleep(POLL_SECONDS)
        require(not await _accepts(port), LEFT, f"127.0.0.1:{port} still accepts connections")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _accepts(port: int) -> bool:
    try:
        async with connected("127.0.0.1", port):
            return True
    except OSError:
        return False


def _ignore(health: ListenerHealth) -> None:
    """Reports are not looked at."""


async def check_proxy(
    make: Callable[[], AbstractAsyncContextManager[Proxy]],
    *,
    protocol: str = "tcp",
    options: object | None = None,
    obey_within_seconds: float = 2.0,
) -> None:
    """Check a proxy that relays TCP connections or HTTP requests, with backends and clients on 127.0.0.1.

    It waits for the proxy to let go, so give the test a timeout.

    :param make: opens an instance, once.
    :param protocol: one that the provider lists.
    :param options: the provider's options of an item; None: its defaults.
    :param obey_within_seconds: how long new backends, a reset or a refusal may take to show.
    :raises AssertionError: naming the duty of `kubevip.abc.Proxy` that is broken.
    """
    with plain_failures():
        async with make() as proxy, echo_backend("one") as one, echo_backend("two") as two:
            rig = _Rig(proxy=proxy, protocol=protocol, options=options, obey_within_seconds=obey_within_seconds)
            await _relay(rig, one, two)
            await _reset_bound(rig, one)
            await _drain_unbound(rig, one)
            await _cut_drain(rig, one)
            await _freebind(rig)
            await _refuse_taken(rig)
            await _refuse_ended(rig)
            if isinstance(proxy, SupportsStandby):
                await _stand_by(rig, proxy, one)
                await _refuse_standby(rig, proxy)


class _Service:
    """A listener that is served in a task of its own, so that it can be left while clients go on."""

    def __init__(self, rig: _Rig, listener: Listener) -> None:
        self._rig, self._listener = rig, listener
        self._leave, self._left = Event(), Event()

    async def run(self, *, task_status: TaskStatus[Serving]) -> None:
        try:
            async with self._rig.proxy.serve(self._listener, _ignore) as serving:
                task_status.started(serving)
                await self._leave.wait()
        finally:
            self._left.set()

    def start_leaving(self) -> None:
        """Leave, and do not wait."""
        self._leave.set()

    async def leave(self) -> float:
        """Leave; return how long that took, in seconds."""
        asked = current_time()
        self._leave.set()
        await self._left.wait()
        return current_time() - asked


@asynccontextmanager
async def _served(rig: _Rig, listener: Listener) -> AsyncGenerator[tuple[Serving, _Service]]:
    service = _Service(rig, listener)
    async with create_task_group() as tg:
        yield await tg.start(service.run), service
        service.start_leaving()


async def _relay(rig: _Rig, one: EchoBackend, two: EchoBackend) -> None:
    """Listen on every address, change backends under load, have none, have one again; then nobody listens."""
    port = _free_port()
    async with _served(rig, rig.listener(port, one.backend, address=None)) as (serving, _):
        await rig.answers(port, "one", ENTERED)
        async with rig.slow_request(one, port) as client:
            serving.set_backends((two.backend,))
            await rig.answers(port, "two", BACKENDS)
            one.go_on.set()
            said = await client.answer(rig.obey_within_seconds)
            require(said == "one", DRAINING, f"a request to the removed backend was answered by {said!r}")
        serving.set_backends(())
        with move_on_after(rig.obey_within_seconds):
            while await ask("127.0.0.1", port, rig.obey_within_seconds):
                await sleep(POLL_SECONDS)
        said = await ask("127.0.0.1", port, rig.obey_within_seconds)
        require(said == "", BACKENDS, f"without backends the answer is {said!r} instead of an end at once")
        serving.set_backends((one.backend,))
        await rig.answers(port, "one", BACKENDS)
    await rig.closed(port)
    async with _served(rig, rig.listener(port, one.backend)):  # the port is free again
        await rig.answers(port, "one", ENTERED)
    await rig.closed(port)


async def _reset_bound(rig: _Rig, one: EchoBackend) -> None:
    """A bound listener ends its connections when it is left: clients must hear that while the address is there."""
    port = _free_port()
    async with _served(rig, rig.listener(port, one.backend, tenure=make_tenure(seconds=3600))) as (_, service):
        await rig.answers(port, "one", ENTERED)
        async with rig.slow_request(one, port) as client:
            took = await service.leave()
            require(took <= rig.obey_within_seconds, LEFT, f"leaving a bound listener took {took:.2f} s")
            await rig.closed(port)
            said = await client.answer(rig.obey_within_seconds)
            require(said == "", LEFT, f"a client of a bound listener that was left heard {said!r} instead of an end")


async def _drain_unbound(rig: _Rig, one: EchoBackend) -> None:
    """An unbound listener lets open connections go on for a while, and accepts no new ones."""
    port = _free_port()
    async with _served(rig, rig.listener(port, one.backend, drain_seconds=60)) as (_, service):
        async with rig.slow_request(one, port) as client:
            service.start_leaving()
            await rig.closed(port, soon=True)
            one.go_on.set()
            said = await client.answer(rig.obey_within_seconds)
            require(said == "one", LEFT, f"a request that was under way was answered by {said!r}, not drained")
        took = await service.leave()
        require(took <= rig.obey_within_seconds, LEFT, f"it went on for {took:.2f} s after its last client had gone")


async def _cut_drain(rig: _Rig, one: EchoBackend) -> None:
    """`set_drain` decides, whatever the listener began with; what is left when it is over is reset."""
    port = _free_port()
    async with _served(rig, rig.listener(port, one.backend, tenure=make_tenure(seconds=3600))) as (serving, service):
        async with rig.slow_request(one, port) as client:
            serving.set_drain(DRAIN_SECONDS)
            took = await service.leave()
            least, most = DRAIN_SECONDS / 2, DRAIN_SECONDS + rig.obey_within_seconds
            seen = f"set_drain({DRAIN_SECONDS:g}) with an open connection, and leaving took {took:.2f} s"
            require(least <= took <= most, LEFT, seen)
            said = await client.answer(rig.obey_within_seconds)
            require(said == "", LEFT, f"after the drain a client heard {said!r} instead of an end")


async def _freebind(rig: _Rig) -> None:
    try:
        async with rig.proxy.serve(
            rig.listener(_free_port(), address=NOWHERE, tenure=make_tenure(seconds=3600)), _ignore
        ):
            pass
    except ProxyError as error:
        raise AssertionError(f"{ENTERED}: {NOWHERE}, which is on no device yet, was refused: {error}") from error


async def _refuse_taken(rig: _Rig) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port: int = other.getsockname()[1]
        told = await _refusal(rig, rig.listener(port))
    require(told is not None, REFUSAL, f"127.0.0.1:{port} was entered although another process listens there")
    named = told is not None and "127.0.0.1" in told and str(port) in told
    require(named, REFUSAL, f"{told!r} does not name 127.0.0.1 and {port}")


async def _refuse_ended(rig: _Rig) -> None:
    """A bound listener asks its tenure before it binds."""
    tenure, port = make_tenure(), _free_port()
    tenure.end()
    told = await _refusal(rig, rig.listener(port, tenure=tenure))
    require(told is not None, ENTERED, "a listener was opened in a tenure that was over")


async def _stand_by(rig: _Rig, proxy: SupportsStandby, one: EchoBackend) -> None:
    """What stands by listens when it is told to, as often as it is told to, and never in a tenure that is over."""
    port, over = _free_port(), make_tenure()
    over.end()
    async with proxy.stand_by(rig.listener(port, one.backend), _ignore) as standby:
        for _ in range(2):
            require(not await _accepts(port), STANDBY, f"127.0.0.1:{port} accepts connections before it is to listen")
            standby.listen(make_tenure(seconds=3600))
            require(await _accepts(port), STANDBY, f"127.0.0.1:{port} refuses connections although it listens")
            standby.relay()
            await rig.answers(port, "one", STANDBY)
            async with rig.slow_request(one, port) as client:
                asked = current_time()
                await standby.close()
                took = current_time() - asked
                require(took <= rig.obey_within_seconds, LEFT, f"closing a listener that stands by took {took:.2f} s")
                await rig.closed(port)
                said = await client.answer(rig.obey_within_seconds)
                require(said == "", LEFT, f"a client of a listener that was closed heard {said!r} instead of an end")
        try:
            standby.listen(over)
        except ProxyError:
            require(not await _accepts(port), STANDBY, "a listener that was refused accepts connections")
        else:
            raise AssertionError(f"{STANDBY}: it listened in a tenure that was over")
        standby.listen(make_tenure(seconds=3600))
        standby.relay()
    await rig.closed(port)


async def _refuse_standby(rig: _Rig, proxy: SupportsStandby) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port: int = other.getsockname()[1]
        try:
            async with proxy.stand_by(rig.listener(port), _ignore):
                raise AssertionError(f"{REFUSAL}: it stands by for 127.0.0.1:{port}, where another process listens")
        except ProxyError as error:
            require(str(port) in str(error), REFUSAL, f"{str(error)!r} does not name {port}")


async def _refusal(rig: _Rig, listener: Listener) -> str | None:
    try:
        async with rig.proxy.serve(listener, _ignore):
            return None
    except ProxyError as error:
        return str(error)
    except ExceptionGroup as group:
        raise AssertionError(f"{REFUSAL}: it raised {group!r}, not a ProxyError by itself") from group
