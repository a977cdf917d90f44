"""The whole proxy: the control process's side here, real workers, real sockets. Both event loops."""

from __future__ import annotations

import os
import random
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from anyio import CancelScope, create_task_group, current_time, fail_after, sleep
from anyio.lowlevel import checkpoint

from kubevip import Backend, Duration, Host, Listener, ListenerHealth, Tenure
from kubevip.abc import Proxy
from kubevip.errors import ProxyError
from kubevip_dataplane import _pool
from kubevip_proxy_tcp._config import TcpConfig, TcpOptions
from kubevip_proxy_tcp.plugin import TCP

from .bench import PATIENCE_SECONDS, Server, own_address

pytestmark = pytest.mark.anyio


class Reports:
    """What a proxy reported of one listener."""

    def __init__(self) -> None:
        self.all: list[ListenerHealth] = []

    def __call__(self, health: ListenerHealth) -> None:
        self.all.append(health)

    @property
    def last(self) -> ListenerHealth:
        return self.all[-1]

    async def until(self, test: Callable[[ListenerHealth], bool]) -> ListenerHealth:
        await until(lambda: bool(self.all) and test(self.last))
        return self.last


async def until(test: Callable[[], bool]) -> None:
    with fail_after(PATIENCE_SECONDS):
        while not test():
            await sleep(0.005)


@asynccontextmanager
async def _open(config: TcpConfig | None = None) -> AsyncGenerator[Proxy]:
    host = Host(
        node_name="n1",
        instance="test",
        state_dir=Path("/nonexistent"),
        rng=random.Random(1),
        will=lambda order, function, payload: None,
    )
    async with TCP.open(config or TcpConfig(), host) as proxy:
        yield proxy


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    async with _open() as opened:
        yield opened


@pytest.fixture
def server() -> Any:
    made = Server()
    yield made
    made.close()


def _pids(proxy: Proxy) -> list[int | None]:
    return [worker.pid for worker in cast("Any", proxy)._pool.workers]


def _backend(server: Server) -> Backend:
    return Backend(address=server.host, port=server.port)


def _free_port(host: str) -> int:
    with socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET) as taken:
        return int(taken.getsockname()[1])


def _listener(*servers: Server, is_bound: bool = False, **fields: Any) -> Listener:
    address = fields.pop("address", ip_address(own_address()))
    tenure = Tenure("api", 1, current_time() + 3600) if is_bound else None
    made: dict[str, Any] = {
        "name": "test",
        "protocol": "tcp",
        "address": address,
        "port": fields.get("port") or _free_port(str(address) if address is not None else "127.0.0.1"),
        "backends": tuple(map(_backend, servers)),
        "tenure": tenure,
        **fields,
    }
    return Listener(**made)


def _connect(listener: Listener, host: str | None = None) -> socket.socket:
    return socket.create_connection((host or str(listener.address), listener.port), timeout=PATIENCE_SECONDS)


def _pair(listener: Listener, server: Server) -> tuple[socket.socket, socket.socket]:
    client = _connect(listener)
    server.listening.settimeout(PATIENCE_SECONDS)
    taken, _ = server.listening.accept()
    taken.settimeout(PATIENCE_SECONDS)
    server.taken.append(taken)
    return client, taken


def _is_served(listener: Listener, server: Server, host: str | None = None) -> None:
    """Pass a byte each way through a new connection."""
    with _connect(listener, host) as client:
        server.listening.settimeout(PATIENCE_SECONDS)
        taken, _ = server.listening.accept()
        with taken:
            taken.settimeout(PATIENCE_SECONDS)
            client.send(b"?")
            assert taken.recv(1) == b"?"
            taken.send(b"!")
            assert client.recv(1) == b"!"


def _is_reset(listener: Listener) -> bool:
    """Whether a new client is reset instead of being given a backend, which here never speaks first."""
    try:
        with _connect(listener) as client:
            client.settimeout(0.1)
            client.recv(1)
    except ConnectionResetError:  # perhaps before connect() has returned
        return True
    except TimeoutError:
        return False
    raise AssertionError("somebody said something")


def _exists(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


def _resident_kilobytes(pid: int | None) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_it_listens_when_entered_and_not_when_left(proxy: Proxy, server: Server) -> None:
    listener, reports = _listener(server), Reports()
    async with proxy.serve(listener, reports):
        _is_served(listener, server)
        assert (await reports.until(lambda health: bool(health.backends))).problem == ""
    with pytest.raises(ConnectionRefusedError):
        _connect(listener)


async def test_clients_that_come_before_the_worker_runs_are_served(server: Server) -> None:
    """Taking leadership does not wait for a process to start."""
    async with _open() as proxy:
        listener = _listener(server)
        async with proxy.serve(listener, Reports()):
            _is_served(listener, server)


async def test_an_address_that_is_not_there_yet_can_be_listened_on(proxy: Proxy, server: Server) -> None:
    """Scenario 105: IP_FREEBIND and IPV6_FREEBIND; documentation addresses, on no machine."""
    for address in (ip_address("192.0.2.9"), ip_address("2001:db8::9")):
        listener = _listener(server, address=address, port=6443, is_bound=True)
        async with proxy.serve(listener, Reports()):
            pass


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_every_address_means_both_families(proxy: Proxy, server: Server, host: str) -> None:
    listener = _listener(server, address=None)
    async with proxy.serve(listener, Reports()):
        _is_served(listener, server, host)


async def test_every_address_means_ipv4_where_there_is_no_ipv6(
    proxy: Proxy, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = socket.socket

    def without_ipv6(family: int = socket.AF_INET, *arguments: Any, **keywords: Any) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(97, "Address family not supported by protocol")
        return make(family, *arguments, **keywords)

    listener = _listener(server, address=None)
    monkeypatch.setattr("kubevip_dataplane._listening.socket.socket", without_ipv6)
    async with proxy.serve(listener, Reports()):
        monkeypatch.undo()
        _is_served(listener, server, "127.0.0.1")


async def test_a_port_that_is_taken_is_refused_and_says_by_whom(proxy: Proxy) -> None:
    """Scenario 106."""
    listener = _listener()
    with socket.create_server((str(listener.address), listener.port)):
        with pytest.raises(ProxyError) as caught:
            async with proxy.serve(listener, Reports()):
                pass
    place = f"{listener.address}:{listener.port}"
    assert str(caught.value) == (
        f"load balancer 'test' cannot listen on {place}/tcp: another load balancer of this kubevip listens on {place}; "
        "stop that or choose another port"
    )


async def test_a_port_that_is_taken_on_every_address_names_the_process(proxy: Proxy) -> None:
    """Scenario 106."""
    code = "import socket; s = socket.create_server(('0.0.0.0', 0)); print(s.getsockname()[1], flush=True); input()"
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220 -- it prints at once
    assert other.stdin is not None
    assert other.stdout is not None
    with other:
        port = int(other.stdout.readline())
        try:
            with pytest.raises(ProxyError, match=rf"\(pid {other.pid}\) listens on \*:{port}; stop that"):
                async with proxy.serve(_listener(port=port), Reports()):
                    pass
        finally:
            other.stdin.close()


async def test_a_bound_listener_is_not_opened_after_its_tenure(proxy: Proxy) -> None:
    listener = _listener(tenure=Tenure("api", 1, current_time() - 0.001))
    with pytest.raises(ProxyError, match="no longer leads group 'api'"):
        async with proxy.serve(listener, Reports()):
            pass


async def test_a_bound_listener_that_is_left_has_reset_its_connections(proxy: Proxy, server: Server) -> None:
    """Scenario 104: clients hear it while the address is still there; also when cancelled."""
    listener = _listener(server, is_bound=True)
    pairs: list[tuple[socket.socket, socket.socket]] = []
    with CancelScope() as scope:
        async with proxy.serve(listener, Reports()):
            pairs = [_pair(listener, server) for _ in range(100)]
            scope.cancel()
            await checkpoint()
    for client, taken in pairs:
        client.setblocking(False)
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)  # it has heard already; its backend hears next
        with pytest.raises(ConnectionResetError):
            taken.recv(1)


async def test_an_unbound_listener_that_is_left_drains(proxy: Proxy, server: Server) -> None:
    listener = _listener(server, drain_seconds=3600.0)
    left: list[bool] = []

    async def serve() -> None:
        with scope:
            async with proxy.serve(listener, Reports()):
                entered.append(True)
                await sleep(3600)
        left.append(True)

    scope, entered = CancelScope(), list[bool]()
    async with create_task_group() as tg:
        tg.start_soon(serve)
        await until(lambda: bool(entered))
        client, taken = _pair(listener, server)
        scope.cancel()
        await sleep(0.02)
        with pytest.raises(ConnectionRefusedError):
            _connect(listener)
        client.send(b"x")
        assert taken.recv(1) == b"x"
        assert not left
        client.close()
        taken.close()
        await until(lambda: bool(left))


async def test_a_drain_can_be_set_and_cut_short(proxy: Proxy, server: Server) -> None:
    """Scenario 120: also that of a bound listener that is removed while its address stays."""
    listener = _listener(server, is_bound=True)
    serving: list[Any] = []
    left: list[bool] = []

    async def serve() -> None:
        with scope:
            async with proxy.serve(listener, Reports()) as entered:
                serving.append(entered)
                await sleep(3600)
        left.append(True)

    scope = CancelScope()
    async with create_task_group() as tg:
        tg.start_soon(serve)
        await until(lambda: bool(serving))
        client, taken = _pair(listener, server)
        serving[0].set_drain(3600.0)
        scope.cancel()
        await sleep(0.02)
        client.send(b"x")
        assert taken.recv(1) == b"x"
        assert not left
        serving[0].set_drain(0.0)
        await until(lambda: bool(left))
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)


async def test_a_successor_listens_while_its_predecessor_drains(proxy: Proxy, server: Server) -> None:
    """Scenario 110: a load balancer that changed."""
    listener = _listener(server)
    async with create_task_group() as tg:
        scope, entered = CancelScope(), list[bool]()

        async def serve() -> None:
            with scope:
                async with proxy.serve(listener, Reports()):
                    entered.append(True)
                    await sleep(3600)

        tg.start_soon(serve)
        await until(lambda: bool(entered))
        client, taken = _pair(listener, server)
        scope.cancel()
        await sleep(0.02)
        async with proxy.serve(listener, Reports()):
            _is_served(listener, server)
            client.send(b"x")
            assert taken.recv(1) == b"x"
        client.close()
        taken.close()


async def test_other_listeners_keep_their_connections(proxy: Proxy, server: Server) -> None:
    """Scenario 110."""
    kept = _listener(server)
    async with proxy.serve(kept, Reports()):
        client, taken = _pair(kept, server)
        for _ in range(3):
            other = _listener(server)
            async with proxy.serve(other, Reports()):
                _is_served(other, server)
        with client:
            client.send(b"x")
            assert taken.recv(1) == b"x"
            client.close()
            taken.close()


async def test_backends_change_under_a_running_listener(proxy: Proxy, server: Server) -> None:
    """Scenarios 90, 91."""
    new = Server()
    listener = _listener(server, drain_seconds=0.0)
    async with proxy.serve(listener, Reports()) as serving:
        client, _taken = _pair(listener, server)
        serving.set_backends([_backend(new)])
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)
        _is_served(listener, new)
        serving.set_backends([])
        await until(lambda: _is_reset(listener))
        serving.set_backends([_backend(server)])
        await until(lambda: not _is_reset(listener))
        server.listening.accept()[0].close()
        _is_served(listener, server)
    new.close()


async def test_health_tells_of_connections_and_backends(proxy: Proxy, server: Server) -> None:
    """Scenario 86."""
    gone = Server()
    gone.close()
    listener, reports = _listener(gone, server, drain_seconds=0.0), Reports()
    async with proxy.serve(listener, reports) as serving:
        client, taken = _pair(listener, server)
        health = await reports.until(lambda health: health.connections == 1 and not health.backends[0].is_up)
        assert [(one.backend, one.is_up, one.reason) for one in health.backends] == [
            (_backend(gone), False, "connection refused"),
            (_backend(server), True, ""),
        ]
        down, up = (one.since for one in health.backends)
        assert up is None
        assert down is not None
        await reports.until(lambda health: health.connections == 1)
        assert reports.last.backends[0].since == down
        assert health.problem == ""
        client.close()
        taken.close()
        await reports.until(lambda health: health.connections == 0)
        serving.set_backends([_backend(gone)])
        await reports.until(lambda health: health.problem == "none of its 1 backends answers")
        serving.set_backends([])
        await reports.until(lambda health: health.problem == "it has no backends: new clients are reset")


async def test_backends_may_have_names(proxy: Proxy, server: Server) -> None:
    listener, reports = _listener(), Reports()
    async with proxy.serve(listener, reports) as serving:
        serving.set_backends(
            [Backend(address="localhost", port=server.port), Backend(address="no-such-host.invalid", port=1)]
        )
        await reports.until(
            lambda health: (
                [one.is_up for one in health.backends] == [True, False]
                and health.backends[1].reason.startswith("its name is not")
            )
        )
        if (found := socket.getaddrinfo("localhost", None)[0][4][0]) != server.host:
            pytest.skip(f"localhost is {found} here")
        _is_served(listener, server)


async def test_a_worker_that_is_killed_is_replaced_and_no_client_is_refused(proxy: Proxy, server: Server) -> None:
    listener, reports = _listener(server), Reports()
    async with proxy.serve(listener, reports):
        client, _taken = _pair(listener, server)
        (before,) = _pids(proxy)
        assert before is not None
        os.kill(before, signal.SIGKILL)
        with client:
            _has_ended(client)
        await until(lambda: not _is_alive(before))
        late = _connect(listener)  # nobody accepts now, or somebody does already: it is never refused
        await until(lambda: _pids(proxy)[0] not in (None, before))
        with late:
            server.listening.settimeout(PATIENCE_SECONDS)
            taken, _ = server.listening.accept()
            taken.send(b"x")
            assert late.recv(1) == b"x"
            taken.close()
        assert any("SIGKILL" in health.problem for health in reports.all)
        await reports.until(lambda health: health.problem == "")


async def test_a_worker_that_is_stuck_is_killed_and_replaced(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "ASK_SECONDS", 0.05)
    async with _open() as proxy:
        listener, reports = _listener(server), Reports()
        async with proxy.serve(listener, reports):
            client, _taken = _pair(listener, server)  # so it has answered
            (stuck,) = _pids(proxy)
            assert stuck is not None
            os.kill(stuck, signal.SIGSTOP)
            await until(lambda: _pids(proxy)[0] not in (None, stuck))
            with client:
                _has_ended(client)
            _is_served(listener, server)
            assert any("killed: it answered nothing for seconds" in health.problem for health in reports.all)
            (replacement,) = _pids(proxy)
            await sleep(0.5)  # ten questions, which it answers
            assert _pids(proxy) == [replacement]


async def test_leaving_does_not_wait_for_a_worker_that_is_stuck(proxy: Proxy, server: Server) -> None:
    listener = _listener(server, is_bound=True)
    async with proxy.serve(listener, Reports()):
        client, _taken = _pair(listener, server)
        (stuck,) = _pids(proxy)
        assert stuck is not None
        os.kill(stuck, signal.SIGSTOP)
    assert not _is_alive(stuck)
    with client:
        _has_ended(client)
    with pytest.raises(ConnectionRefusedError):
        _connect(listener)


def _has_ended(client: socket.socket) -> None:
    """Read the end that the kernel gives to a client when its worker is killed."""
    try:
        assert client.recv(1) == b""
    except ConnectionResetError:
        pass


async def test_workers_ignore_signals_that_are_meant_for_the_group(proxy: Proxy, server: Server) -> None:
    listener = _listener(server)
    async with proxy.serve(listener, Reports()):
        (pid,) = _pids(proxy)
        assert pid is not None
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1):
            os.kill(pid, number)
        _is_served(listener, server)
        assert _pids(proxy) == [pid]


async def test_workers_do_not_inherit_the_priority_of_the_control_process(server: Server) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -5)
    except PermissionError:
        pytest.skip("raising a priority is not permitted here")
    try:
        async with _open() as proxy:
            listener = _listener(server)
            async with proxy.serve(listener, Reports()):
                _is_served(listener, server)
                (pid,) = _pids(proxy)
                assert pid is not None
                assert os.getpriority(os.PRIO_PROCESS, pid) == 0
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


async def test_workers_are_gone_when_the_instance_is_closed(server: Server) -> None:
    async with _open() as proxy:
        await until(lambda: _pids(proxy)[0] is not None)
        (pid,) = _pids(proxy)
        assert pid is not None
    assert not _exists(pid)


async def test_a_cancellation_of_everything_still_resets_and_ends_the_workers(server: Server) -> None:
    listener = _listener(server, is_bound=True)
    with CancelScope() as scope:
        async with _open() as proxy, proxy.serve(listener, Reports()):
            client, _taken = _pair(listener, server)
            (pid,) = _pids(proxy)
            scope.cancel()
            await checkpoint()
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)
    assert not _exists(pid)


_CONTROL = """
import random, sys
from pathlib import Path
import anyio
from kubevip import Backend, Host, Listener
from kubevip_proxy_tcp._config import TcpConfig
from kubevip_proxy_tcp.plugin import TCP

async def main():
    host = Host(node_name="n1", instance="test", state_dir=Path("/"), rng=random.Random(), will=lambda *_: None)
    async with TCP.open(TcpConfig(workers=2), host) as proxy:
        backends = (Backend(address="127.0.0.1", port=int(sys.argv[1])),)
        listener = Listener(name="x", protocol="tcp", address=None, port=int(sys.argv[2]), backends=backends)
        async with proxy.serve(listener, lambda health: None):
            print(*proxy.status()["workers"], flush=True)
            await anyio.sleep_forever()

anyio.run(main)
"""


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_workers_do_not_outlive_a_control_process_that_is_killed(server: Server) -> None:
    """Also one that is stopped and would not read the end of its connection."""
    port = _free_port("127.0.0.1")
    command = [sys.executable, "-c", _CONTROL, str(server.port), str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as control:  # noqa: ASYNC220 -- it prints at once
        assert control.stdout is not None
        pids = [int(pid) for pid in control.stdout.readline().split()]
        assert len(pids) == 2
        clients: list[socket.socket] = []
        try:
            for _ in range(8):
                clients.append(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_SECONDS))
                server.listening.settimeout(PATIENCE_SECONDS)
                server.taken.append(server.listening.accept()[0])
            os.kill(pids[0], signal.SIGSTOP)
        finally:
            control.kill()
        await until(lambda: not any(map(_is_alive, pids)))
        for client in clients:
            with client:
                _has_ended(client)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


async def test_a_worker_that_cannot_start_is_tried_again_and_said_so(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_pool, "FIRST_PAUSE_SECONDS", 0.01)
    async with _open() as proxy:
        pool = cast("Any", proxy)._pool
        await until(lambda: _pids(proxy)[0] is not None)
        good, pool.command = pool.command, ("-P", "-c", "raise SystemExit(3)")
        listener, reports = _listener(server), Reports()
        async with proxy.serve(listener, reports):
            (pid,) = _pids(proxy)
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await reports.until(lambda health: "exit status 3" in health.problem)
            client = _connect(listener)
            pool.command = good
            with client:
                while not await _accepted(server):
                    pass


async def _accepted(server: Server) -> bool:
    await sleep(0.01)
    server.listening.setblocking(False)
    try:
        server.listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True


async def test_a_thousand_idle_connections_stay_open(proxy: Proxy, server: Server) -> None:
    """Scenario 95."""
    listener, reports = _listener(server), Reports()
    async with proxy.serve(listener, reports):
        pairs = [_pair(listener, server) for _ in range(1000)]
        await reports.until(lambda health: health.connections == 1000)
        (pid,) = _pids(proxy)
        assert _resident_kilobytes(pid) < 32_000
        for client, taken in pairs:
            taken.send(b"x")
            assert client.recv(1) == b"x"
            client.close()
            taken.close()
        await reports.until(lambda health: health.connections == 0)


async def test_descriptors_that_run_out_hold_clients_back_until_some_are_free(proxy: Proxy, server: Server) -> None:
    """Scenario 95: nobody is refused, nobody is reset, nothing spins."""
    listener, reports = _listener(server, drain_seconds=0.0), Reports()
    async with proxy.serve(listener, reports):
        _is_served(listener, server)
        (pid,) = _pids(proxy)
        assert pid is not None
        await reports.until(lambda health: health.connections == 0)
        open_now = len(os.listdir(f"/proc/{pid}/fd"))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 9, 4096))
        clients = [_connect(listener) for _ in range(20)]
        health = await reports.until(lambda health: "too many open files" in health.problem)
        before = _cpu_seconds(pid)
        await sleep(0.5)
        assert _cpu_seconds(pid) - before < 0.25
        assert 1 <= health.connections < 20
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (4096, 4096))
        server.listening.settimeout(PATIENCE_SECONDS)
        for _ in clients:
            taken, _ = server.listening.accept()
            server.taken.append(taken)
            taken.send(b"x")
        for client in clients:
            with client:
                assert client.recv(1) == b"x"
        await reports.until(lambda health: health.problem == "")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_several_workers_share_a_port(server: Server) -> None:
    async with _open(TcpConfig(workers=3)) as proxy:
        listener, reports = _listener(server), Reports()
        async with proxy.serve(listener, reports):
            pairs = [_pair(listener, server) for _ in range(60)]
            await reports.until(lambda health: health.connections == 60)
            sharing = {
                index for index, report in cast("Any", proxy)._pool.tenants()[0]._reports.items() if report.connections
            }
            assert len(sharing) == 3
            with pytest.raises(ProxyError, match="another load balancer of this kubevip"):
                async with proxy.serve(listener, Reports()):
                    pass
            for client, taken in pairs:
                client.close()
                taken.close()


async def test_options_of_the_item_reach_the_worker(proxy: Proxy, server: Server) -> None:
    """Scenario 94."""
    options = TcpOptions(idle_timeout=Duration(0.2))
    listener = _listener(server, options=options)
    async with proxy.serve(listener, Reports()):
        client, _taken = _pair(listener, server)
        with client, pytest.raises(ConnectionResetError):
            client.recv(1)


async def test_options_of_another_provider_are_refused(proxy: Proxy) -> None:
    with pytest.raises(ProxyError, match="options of another provider"):
        async with proxy.serve(_listener(options=SimpleNamespace()), Reports()):
            pass
