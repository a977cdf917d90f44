"""A bound listener that stands by: workers may end at any time, and other programs may come to its port."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from anyio import create_task_group, current_time, fail_after, sleep
from attrs import evolve

from kubevip import Listener, Standby, Tenure
from kubevip.abc import Proxy, SupportsStandby
from kubevip.errors import ProxyError
from kubevip_proxy_tcp._config import TcpConfig

from .bench import PATIENCE_SECONDS, Server
from .test_proxy import Reports, _connect, _has_ended, _is_served, _listener, _open, _pair, _pids, until
from .test_proxy import proxy as proxy
from .test_proxy import server as server

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _stand_by(proxy: Proxy, listener: Listener) -> AsyncGenerator[Standby]:
    assert isinstance(proxy, SupportsStandby)
    async with proxy.stand_by(evolve(listener, tenure=None), Reports()) as standby:
        yield standby


def _tenure() -> Tenure:
    return Tenure("api", 1, current_time() + 3600)


def _end(proxy: Proxy, number: signal.Signals) -> int:
    (pid,) = _pids(proxy)
    assert pid is not None
    os.kill(pid, number)
    return pid


async def _replaced(proxy: Proxy, pid: int) -> None:
    await until(lambda: _pids(proxy)[0] not in (None, pid))


async def test_a_worker_that_ended_while_nothing_listened_keeps_no_client_from_being_served(
    proxy: Proxy, server: Server
) -> None:
    listener = _listener(server)
    async with _stand_by(proxy, listener) as standby:
        before = _end(proxy, signal.SIGKILL)
        standby.listen(_tenure())  # before its end is known
        standby.relay()
        await _replaced(proxy, before)
        _is_served(listener, server)
        before = _end(proxy, signal.SIGKILL)
        await standby.close()
        await _replaced(proxy, before)
        standby.listen(_tenure())
        standby.relay()
        _is_served(listener, server)


async def test_a_worker_that_ends_while_a_listener_closes_is_not_waited_for(proxy: Proxy, server: Server) -> None:
    listener = _listener(server)
    async with _stand_by(proxy, listener) as standby:
        standby.set_drain(3600)
        standby.listen(_tenure())
        standby.relay()
        client, _taken = _pair(listener, server)
        (before,) = _pids(proxy)
        assert before is not None
        with client, fail_after(PATIENCE_SECONDS):
            async with create_task_group() as tg:
                tg.start_soon(standby.close)
                await sleep(0.05)
                os.kill(before, signal.SIGKILL)
            _has_ended(client)
        with pytest.raises(ConnectionRefusedError):
            _connect(listener)
        await _replaced(proxy, before)
        standby.listen(_tenure())
        standby.relay()
        _is_served(listener, server)


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_port_that_another_program_took_meanwhile_is_refused_and_used_when_it_is_free(
    server: Server, workers: int
) -> None:
    async with _open(TcpConfig(workers=workers)) as proxy:
        listener = _listener(server)
        async with _stand_by(proxy, listener) as standby:
            with socket.socket() as other:
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                other.bind((str(listener.address), listener.port))
                other.listen()
                with pytest.raises(ProxyError, match=r"cannot listen on .*: address already in use"):
                    standby.listen(_tenure())
                standby.relay()  # changes nothing
            standby.listen(_tenure())
            standby.relay()
            _is_served(listener, server)
