"""One listener in the control process: its sockets, what the workers are told about it, and what they tell."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from time import time  # noqa: TID251 -- since when a backend is down is for people and decides nothing
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, current_time
from attrs import frozen

from kubevip import BackendHealth, ListenerHealth, Serving
from kubevip_dataplane._listening import close_sockets, listen, open_sockets, show_place, stop_listening
from kubevip_dataplane._names import is_literal

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

    from kubevip import Backend, Listener
    from kubevip_dataplane._messages import Message
    from kubevip_dataplane._pool import WorkerPool

logger = logging.getLogger("kubevip.dataplane")

#: How long a worker may take to do what it was told, before it is killed: that ends its connections as well.
OBEY_SECONDS = 0.5


@frozen(kw_only=True)
class _Report:
    """What one worker last told of a listener."""

    connections: int = 0
    down: Mapping[str, str]
    problem: str = ""


class ServedListener:
    """A listener that listens. A `kubevip.Serving` for the core, a tenant for the pool."""

    def __init__(
        self,
        pool: WorkerPool,
        listener: Listener,
        options: Message,
        sockets: Sequence[socket.socket],
        report: Callable[[ListenerHealth], None],
    ) -> None:
        self.name = pool.new_name()
        self._pool, self._listener, self._options, self._sockets = pool, listener, options, tuple(sockets)
        self._tell = report
        self._backends = tuple(listener.backends)
        self._drain_seconds = 0.0 if listener.is_bound else listener.drain_seconds
        self._reports: dict[int, _Report] = {}
        self._open_in: set[int] = set()
        self._told: ListenerHealth | None = None
        self._down_since: dict[str, float] = {}
        self._is_leaving = False
        self._all_closed = Event()
        self._patience = CancelScope(shield=True)

    # What the core says

    def set_backends(self, backends: Sequence[Backend]) -> None:
        """Use `backends` for new connections; connections to removed ones drain."""
        self._backends = tuple(backends)
        self._pool.names.add(self)
        self._send_backends()
        self._report()

    def set_drain(self, seconds: float) -> None:
        """Let open connections go on for `seconds` once the listener is left, or from now on if it is leaving."""
        self._drain_seconds = seconds
        if self._is_leaving:
            self._send_close()

    # What the pool asks and says

    def opening(self, index: int) -> tuple[Message, socket.socket] | None:
        """Return what opens this listener in worker `index`; None while it is leaving."""
        if self._is_leaving:
            return None
        self._open_in.add(index)
        backends = list(self._wire())
        message: Message = {"do": "open", "id": self.name, "backends": backends, "options": self._options}
        return message, self._sockets[index]

    def take(self, index: int, message: Message) -> None:
        """Deal with what worker `index` says."""
        match message["do"]:
            case "closed":
                self._closed_in(index)
            case "health":
                down = {str(key): str(reason) for key, reason in message["down"].items()}
                self._reports[index] = _Report(
                    connections=int(message["connections"]), down=down, problem=str(message["problem"])
                )
                self._report()
            case other:
                logger.debug("unknown message %r from worker index=%d", other, index)

    def lost(self, index: int, reason: str) -> None:
        """Take note that worker `index` ended."""
        self._reports[index] = _Report(
            down={}, problem=f"its worker ended ({reason}) and is replaced: new clients wait"
        )
        self._closed_in(index)
        self._report()

    # Names

    def names(self) -> Iterator[str]:
        """Return the names whose addresses are needed."""
        return (backend.address for backend in self._backends if not is_literal(backend.address))

    def names_changed(self) -> None:
        """Use the addresses that are known now."""
        self._send_backends()
        self._report()

    def _wire(self) -> Iterator[Message]:
        for backend in self._backends:
            host = backend.address if is_literal(backend.address) else self._pool.names.address(backend.address)
            if host is not None:
                yield {"key": str(backend), "host": host, "port": backend.port, "weight": backend.weight}

    def _send_backends(self) -> None:
        message = {"do": "backends", "id": self.name, "drain": self._listener.drain_seconds}
        for index in self._open_in:
            self._pool.workers[index].send({**message, "backends": list(self._wire())})

    # Health

    def _report(self) -> None:
        """Tell the core how things are, if that changed."""
        if self._is_leaving:
            return
        down = {key: reason for report in self._reports.values() for key, reason in report.down.items()}
        for backend in self._backends:
            if not is_literal(backend.address) and self._pool.names.address(backend.address) is None:
                down[str(backend)] = self._pool.names.problem(backend.address)
        now = time()
        self._down_since = {key: self._down_since.get(key, now) for key in down}
        backends = tuple(
            BackendHealth(
                backend=backend,
                is_up=str(backend) not in down,
                reason=down.get(str(backend), ""),
                since=self._down_since.get(str(backend)),
            )
            for backend in self._backends
        )
        problem = next((report.problem for report in self._reports.values() if report.problem), "")
        if not backends:
            problem = problem or "it has no backends: new clients are reset"
        elif not any(backend.is_up for backend in backends):
            problem = problem or f"none of its {len(backends)} backends answers"
        connections = sum(report.connections for report in self._reports.values())
        health = ListenerHealth(connections=connections, backends=backends, problem=problem)
        if health != self._told:
            self._log(health)
            self._told = health
            self._tell(health)

    def _log(self, health: ListenerHealth) -> None:
        before = {one.backend: one for one in self._told.backends} if self._told is not None else {}
        for one in health.backends:
            was_up = one.backend not in before or before[one.backend].is_up
            if was_up and not one.is_up:
                logger.warning(
                    "backend down listener=%s backend=%s reason=%r", self._listener.name, one.backend, one.reason
                )
            elif one.is_up and not was_up:
                logger.info("backend up listener=%s backend=%s", self._listener.name, one.backend)

    # Coming and going

    def enter(self) -> None:
        """Have the workers serve it."""
        self._pool.admit(self)
        self._pool.names.add(self)
        self._report()
        logger.info(
            "listening listener=%s on=%s backends=%d", self._listener.name, self._place, len(self._listener.backends)
        )

    async def leave(self) -> None:
        """Stop listening, end the connections or let them drain; returns when nothing is relayed any more.

        Also when cancelled: how long that takes is bounded by the drain, which `set_drain` can cut short, and by
        `OBEY_SECONDS`, after which a worker that does not obey is killed.
        """
        stop_listening(self._sockets)
        self._is_leaving = True
        try:
            self._send_close()
            if self._open_in:
                with self._patience:
                    await self._all_closed.wait()
            with CancelScope(shield=True):
                for index in tuple(self._open_in):
                    self._pool.workers[index].kill()
                if self._open_in:
                    await self._all_closed.wait()
        finally:
            self._pool.names.discard(self)
            self._pool.forget(self)
            logger.info("closed listener=%s on=%s", self._listener.name, self._place)

    @property
    def _place(self) -> str:
        return show_place(self._listener.address, self._listener.port)

    def _send_close(self) -> None:
        self._patience.deadline = current_time() + self._drain_seconds + OBEY_SECONDS
        for index in tuple(self._open_in):
            worker = self._pool.workers[index]
            if worker.pid is None:
                self._closed_in(index)  # there is no process, hence no connection
            worker.send({"do": "close", "id": self.name, "drain": self._drain_seconds})

    def _closed_in(self, index: int) -> None:
        self._open_in.discard(index)
        if self._is_leaving and not self._open_in:
            self._all_closed.set()


@asynccontextmanager
async def serve(
    pool: WorkerPool, listener: Listener, options: Message, report: Callable[[ListenerHealth], None]
) -> AsyncGenerator[Serving]:
    """Serve `listener` in the workers of `pool`; see `kubevip.abc.Proxy.serve`.

    Entered when it listens; no worker is waited for, because clients wait in the socket's queue until one accepts.

    :param options: what the relay in the worker is given; JSON-compatible.
    :raises ProxyError: when a socket cannot be opened.
    """
    sockets = await open_sockets(listener, len(pool.workers))
    try:
        await listen(listener, sockets)
        served = ServedListener(pool, listener, options, sockets, report)
        try:
            served.enter()
            yield served
        finally:
            close_sockets(sockets)  # the port is free for a successor while connections drain
            await served.leave()
    finally:
        close_sockets(sockets)
