"""The worker process: `python -P -m kubevip_proxy_tcp._worker`, started by `kubevip_dataplane.pool`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip_dataplane import worker
from kubevip_proxy_tcp._listener import Settings, TcpListener
from kubevip_proxy_tcp._workshop import Workshop

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from kubevip_dataplane.worker import Loop, Message, Notices, Target


class TcpRelay:
    """Opens TCP listeners that share a workshop. A `kubevip_dataplane.worker.Relay`."""

    def __init__(self, loop: Loop) -> None:
        self._shop = Workshop(loop)

    def open_listener(
        self, listening: socket.socket, targets: Sequence[Target], options: Message, notices: Notices
    ) -> TcpListener:
        """Relay what comes in on `listening`."""
        return TcpListener(self._shop, listening, targets, Settings(options), notices)


if __name__ == "__main__":
    worker.run(TcpRelay)
