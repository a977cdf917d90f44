"""Every proxy of the repository keeps the duties of `kubevip.abc.Proxy`, with real sockets, on both event loops."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
from attrs import frozen

from kubevip.abc import Proxy
from kubevip.testing import check_proxy, make_host
from kubevip_proxy_tcp._config import TcpConfig
from kubevip_proxy_tcp.plugin import TCP

pytestmark = pytest.mark.anyio


@frozen(kw_only=True)
class Rig:
    """A proxy and a protocol that it serves."""

    name: str
    protocol: str
    open: Callable[[Path], AbstractAsyncContextManager[Proxy]]


RIGS = [
    Rig(
        name=f"tcp-{workers}",
        protocol="tcp",
        open=lambda state_dir, workers=workers: TCP.open(TcpConfig(workers=workers), make_host(state_dir)),  # type: ignore[misc]
    )
    for workers in (1, 2)
]


@pytest.fixture(params=RIGS, ids=lambda rig: rig.name)
def rig(request: pytest.FixtureRequest) -> Rig:
    found: Rig = request.param
    return found


async def test_a_proxy_keeps_its_duties(rig: Rig, tmp_path: Path) -> None:
    await check_proxy(lambda: rig.open(tmp_path), protocol=rig.protocol)
