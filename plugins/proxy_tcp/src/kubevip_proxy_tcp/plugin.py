"""TCP balancing in user space: `proxy: tcp`, the default for `type: tcp`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kubevip import Provider, hookimpl
from kubevip_proxy_tcp._config import TcpConfig, TcpOptions

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from kubevip import Description, Host, Outlook, ProxyProvider
    from kubevip.abc import Proxy


@asynccontextmanager
async def open_tcp(config: TcpConfig, host: Host) -> AsyncGenerator[Proxy]:
    """Start the workers; they are gone when this is left."""
    from kubevip_dataplane.pool import open_pool, usable_cpus
    from kubevip_proxy_tcp._proxy import TcpProxy

    count = usable_cpus() if config.workers == "auto" else config.workers
    async with open_pool("kubevip_proxy_tcp._worker", count, host.rng) as pool:
        yield TcpProxy(pool)


def describe_tcp(config: TcpConfig, outlook: Outlook) -> Description:
    """Say what would be served here."""
    from kubevip_proxy_tcp._describe import describe

    return describe(config, outlook)


TCP = Provider(
    name="tcp",
    summary="Balance TCP connections in user space, in processes of their own",
    config=TcpConfig,
    open=open_tcp,
    options=TcpOptions,
    protocols=("tcp",),
    describe=describe_tcp,
)


@hookimpl
def kubevip_proxies() -> Iterable[ProxyProvider]:
    """Provide the TCP proxy."""
    yield TCP
