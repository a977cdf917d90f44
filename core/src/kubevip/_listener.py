"""One listener: a socket that a proxy serves, kept open for as long as it is wanted.

Unbound ones are items of their own, on every node. Bound ones live under a virtual IP while this node holds it
(`_virtual_ip`).
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from anyio import CancelScope, Event

from kubevip._contract import Health, Level, Listener, ListenerHealth
from kubevip._latest import Latest
from kubevip._status import ListenerStatus
from kubevip._supervise import describe_error, supervise

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubevip._context import Context
    from kubevip._contract import Serving
    from kubevip._leadership import Tenure
    from kubevip._model import Backend, IPAddress, LoadBalancer
    from kubevip._slot import Slot
    from kubevip.abc import Proxy

logger = logging.getLogger("kubevip.listener")


class ListenerTask:
    """Serve one load balancer on one address (None: on all) until cancelled or told to leave.

    `settled` is set once it listens, or failed to for the first time. `backends` goes into the running listener.
    """

    def __init__(
        self,
        balancer: LoadBalancer,
        address: IPAddress | None,
        proxy: Slot[Proxy],
        context: Context,
        *,
        tenure: Tenure | None = None,
        report: Callable[[Health], None] = lambda health: None,
    ) -> None:
        self.settled = Event()
        self.backends: Latest[tuple[Backend, ...]] = Latest(balancer.backends)
        self._balancer, self._address, self._proxy, self._tenure = balancer, address, proxy, tenure
        self._board, self._rng, self._report_health = context.board, context.rng, report
        host = "*" if address is None else f"[{address}]" if address.version == 6 else str(address)
        self._on = f"{host}:{balancer.port}"
        self._scope = CancelScope()
        self._serving: Serving | None = None
        self._health = ListenerHealth()
        self._is_leaving = False

    async def run(self) -> None:
        """Keep it listening until cancelled or told to leave."""
        try:
            with self._scope:
                await supervise(
                    f"listener {self._balancer.name!r} on {self._on}",
                    lambda: self._proxy.while_filled(self._serve),
                    failed=self._failed,
                    rng=self._rng,
                )
        finally:
            self._forget()

    def leave(self, longest_drain_seconds: float = math.inf) -> None:
        """Stop listening; open connections drain, because the address stays, but for no longer than was said.

        From now on it says nothing any more: a successor of the same name may listen while it drains.
        """
        self._forget()
        self._is_leaving = True
        if self._serving is not None:
            self._serving.set_drain(min(self._balancer.drain_seconds, longest_drain_seconds))
        self._scope.cancel()

    async def _serve(self, proxy: Proxy) -> None:
        backends = self.backends.value
        listener = Listener(
            name=self._balancer.name,
            protocol=self._balancer.protocol,
            address=self._address,
            port=self._balancer.port,
            backends=backends,
            drain_seconds=self._balancer.drain_seconds,
            tenure=self._tenure,
            options=self._balancer.options.get(self._balancer.proxy),
        )
        self._health = ListenerHealth()
        async with proxy.serve(listener, self._report) as serving:
            self._serving = serving
            logger.info("serving listener=%r on=%s proxy=%s", self._balancer.name, self._on, self._balancer.proxy)
            self._report(self._health)  # it may have said something while it was entered
            self.settled.set()
            try:
                while True:
                    backends = await self.backends.wait_for_change(backends)
                    serving.set_backends(backends)
            finally:
                self._serving = None
                self._show(is_listening=False, health=ListenerHealth())

    def _report(self, health: ListenerHealth) -> None:
        self._health = health
        self._show(is_listening=self._serving is not None, health=health)
        self._count(health.problem)

    def _failed(self, error: BaseException) -> None:
        reason = describe_error(error)
        self._show(is_listening=False, health=ListenerHealth(problem=reason))
        self._count(reason)
        self.settled.set()

    def _count(self, problem: str) -> None:
        if not self._is_leaving:
            self._report_health(Health(level=Level.DEGRADED, reason=problem) if problem else Health())

    def _forget(self) -> None:
        if not self._is_leaving:
            self._board.listeners.pop((self._balancer.name, self._on), None)
            self._board.touch()

    def _show(self, *, is_listening: bool, health: ListenerHealth) -> None:
        if self._is_leaving:
            return
        self._board.listeners[self._balancer.name, self._on] = ListenerStatus(
            name=self._balancer.name, on=self._on, proxy=self._balancer.proxy, is_listening=is_listening, health=health
        )
        self._board.touch()
