"""The TCP proxy in the control process: hands its listeners to the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip.errors import ProxyError
from kubevip_dataplane.pool import serve, stand_by
from kubevip_proxy_tcp._config import TcpOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from kubevip import Listener, ListenerHealth, Serving, Standby
    from kubevip_dataplane.pool import Message, WorkerPool


class TcpProxy:
    """A `kubevip.abc.Proxy` for TCP."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool

    def serve(
        self, listener: Listener, report: Callable[[ListenerHealth], None]
    ) -> AbstractAsyncContextManager[Serving]:
        """Listen and relay while the body runs; see `kubevip.abc.Proxy`."""
        return serve(self._pool, listener, self._options_of(listener), report)

    def stand_by(
        self, listener: Listener, report: Callable[[ListenerHealth], None]
    ) -> AbstractAsyncContextManager[Standby]:
        """Be ready to listen and relay while the body runs; see `kubevip.abc.SupportsStandby`."""
        return stand_by(self._pool, listener, self._options_of(listener), report)

    def status(self) -> Mapping[str, object]:
        """Return what `kubevip status` shows."""
        return self._pool.status()

    def _options_of(self, listener: Listener) -> Message:
        options = listener.options if listener.options is not None else TcpOptions()
        if not isinstance(options, TcpOptions):
            raise ProxyError(f"load balancer {listener.name!r}: options of another provider: {options!r}")
        return wire_options(options, len(self._pool.workers))


def wire_options(options: TcpOptions, workers: int) -> Message:
    """Return what each of `workers` processes is told; they share the connections evenly."""
    return {
        "connectSeconds": options.connect_timeout,
        "tries": options.tries,
        "idleSeconds": options.idle_timeout,
        "keepaliveSeconds": options.keepalive,
        "mostConnections": -(-options.max_connections // workers),
    }
