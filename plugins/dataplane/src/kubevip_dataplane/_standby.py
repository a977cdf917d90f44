"""A bound listener that is ready long before its address is here: its sockets are open, and need only listen."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import evolve

from kubevip import Standby
from kubevip.errors import ProxyError
from kubevip_dataplane._listening import close_sockets, listen, listen_now, open_sockets, show_place, stop_listening
from kubevip_dataplane._serving import ServedListener

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Callable, Sequence

    from kubevip import Backend, Listener, ListenerHealth, Tenure
    from kubevip_dataplane._messages import Message
    from kubevip_dataplane._pool import WorkerPool


class StandbyListener:
    """A bound listener that is ready: its sockets are, and all that is left is to listen. A `kubevip.Standby`."""

    def __init__(
        self,
        pool: WorkerPool,
        listener: Listener,
        options: Message,
        sockets: Sequence[socket.socket],
        report: Callable[[ListenerHealth], None],
    ) -> None:
        self._pool, self._listener, self._options, self._report = pool, listener, options, report
        self._sockets = tuple(sockets)
        self._served: ServedListener | None = None
        self._leaving: list[ServedListener] = []
        self._drain_seconds = 0.0

    def set_backends(self, backends: Sequence[Backend]) -> None:
        """Use `backends` for new connections."""
        self._listener = evolve(self._listener, backends=tuple(backends))
        if self._served is not None:
            self._served.set_backends(backends)

    def set_drain(self, seconds: float) -> None:
        """Let open connections go on for `seconds` once it is closed, or from now on if it is closing."""
        self._drain_seconds = seconds
        for served in (self._served, *self._leaving):
            if served is not None:
                served.set_drain(seconds)

    def listen(self, tenure: Tenure) -> None:
        """Listen at once; clients wait in the sockets' queue until `relay`.

        :raises ProxyError: when the machine refuses, or the tenure is over.
        """
        listener = evolve(self._listener, tenure=tenure)
        try:
            listen_now(listener, self._sockets)
        except OSError as error:
            stop_listening(self._sockets)
            place = show_place(listener.address, listener.port)
            raise ProxyError(
                f"load balancer {listener.name!r} cannot listen on {place}/tcp: {(error.strerror or '').lower()}"
            ) from error
        self._served = ServedListener(self._pool, listener, self._options, self._sockets, self._report)
        self._served.set_drain(self._drain_seconds)

    def relay(self) -> None:
        """Have the workers serve it."""
        if self._served is not None:
            self._served.enter()

    async def close(self) -> None:
        """Stop listening, reset the connections or let them drain; see `ServedListener.leave`."""
        served, self._served = self._served, None
        if served is None:
            return
        self._leaving.append(served)
        try:
            await served.leave()
        finally:
            self._leaving.remove(served)


@asynccontextmanager
async def stand_by(
    pool: WorkerPool, listener: Listener, options: Message, report: Callable[[ListenerHealth], None]
) -> AsyncGenerator[Standby]:
    """Be ready to serve a bound `listener` in the workers of `pool`; see `kubevip.abc.SupportsStandby`.

    :param options: as for `serve`.
    :raises ProxyError: when a socket cannot be opened, or could not listen.
    """
    sockets = await open_sockets(listener, len(pool.workers))
    try:
        await listen(listener, sockets)  # others may bind the same place as long as none of them listens
        stop_listening(sockets)
        standby = StandbyListener(pool, listener, options, sockets, report)
        try:
            yield standby
        finally:
            close_sockets(sockets)
            await standby.close()
    finally:
        close_sockets(sockets)
