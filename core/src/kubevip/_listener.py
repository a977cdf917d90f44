"""One listener: a socket that a proxy serves, kept open for as long as it is wanted.

Unbound ones listen all the time, on every node. Bound ones belong to a virtual IP and listen while this node holds it
(`_bound_listeners`); where their proxy can stand by, everything but that is done long before.
"""

from __future__ import annotations

import logging
import math
from functools import partial
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, current_time

from kubevip._contract import Health, Level, Listener, ListenerHealth
from kubevip._latest import Latest
from kubevip._slot import Slot
from kubevip._status import ListenerStatus
from kubevip._supervise import describe_error, supervise
from kubevip.abc import SupportsStandby
from kubevip.errors import ProxyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubevip._context import Context
    from kubevip._contract import Serving, Standby
    from kubevip._leadership import Tenure
    from kubevip._model import Backend, IPAddress, LoadBalancer
    from kubevip.abc import Proxy

logger = logging.getLogger("kubevip.listener")


class ListenerTask:
    """Serve one load balancer on all addresses (`address` None), or in every tenure on one, until it is to leave.

    `settled` is set once it listens, or failed to for the first time; there is a new one for each tenure. `backends`
    goes into the running listener.
    """

    def __init__(
        self,
        balancer: LoadBalancer,
        address: IPAddress | None,
        proxy: Slot[Proxy],
        context: Context,
        *,
        report: Callable[[Health], None] = lambda health: None,
    ) -> None:
        self.settled = Event()
        self.backends: Latest[tuple[Backend, ...]] = Latest(balancer.backends)
        self._balancer, self._address, self._proxy = balancer, address, proxy
        self._board, self._rng, self._report_health = context.board, context.rng, report
        host = "*" if address is None else f"[{address}]" if address.version == 6 else str(address)
        self._on = f"{host}:{balancer.port}"
        self._scope = CancelScope()
        self._tenures: Slot[Tenure] = Slot()
        self._standby: Standby | None = None
        self._serving: Serving | None = None
        self._draining: Serving | None = None
        self._drains_until = -math.inf
        self._health = ListenerHealth()
        self._breaks: ProxyError | None = None
        self._broken = CancelScope()
        self._is_down = self._is_relaying = self._is_leaving = False

    @property
    def _tenure(self) -> Tenure | None:
        return self._tenures.content.value

    async def run(self) -> None:
        """Keep it listening, or ready, until cancelled or told to leave."""
        serve = partial(self._serve, tenure=None) if self._address is None else self._serve_in_tenures
        try:
            with self._scope:
                await supervise(
                    f"listener {self._balancer.name!r} on {self._on}",
                    lambda: self._proxy.while_filled(serve),
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
        self._draining = self._standby if self._serving is None else self._serving
        drain_seconds = min(self._balancer.drain_seconds, longest_drain_seconds)
        self._drains_until = current_time() + drain_seconds
        if self._draining is not None:
            self._draining.set_drain(drain_seconds)
        self._scope.cancel()

    def cut(self, longest_drain_seconds: float = 0.0) -> None:
        """Let one that is leaving drain for no longer than this from now on: its address goes, or the process does."""
        if self._draining is not None:
            left = max(0.0, self._drains_until - current_time())
            self._draining.set_drain(min(left, longest_drain_seconds))

    # Tenures

    def listen(self, tenure: Tenure) -> None:
        """Listen from now on, if it is ready; else as soon as it is: `settled` tells."""
        self.settled, self._health = Event(), ListenerHealth()
        self._tenures.content.set(tenure)
        if self._standby is not None:
            self._listen_now(self._standby, tenure)
        elif self._is_down:
            self.settled.set()  # it is tried again in a while; nobody is to wait for that

    def relay(self) -> None:
        """Serve the clients that come: the address is there."""
        self._is_relaying = True
        if self._standby is not None and self._serving is not None:
            self._standby.relay()

    async def close(self) -> None:
        """End what the tenure began; nothing listens and nothing is relayed any more when this returns."""
        self._is_relaying = False
        self._tenures.content.set(None)
        if self._standby is not None and self._serving is not None:
            self._serving = None
            self._show(is_listening=False, health=ListenerHealth())
            await self._standby.close()
        await self._tenures.unwound()

    async def _serve_in_tenures(self, proxy: Proxy) -> None:
        if isinstance(proxy, SupportsStandby):
            await self._stand_by(proxy)
        else:
            await self._tenures.while_filled(partial(self._serve, proxy))

    async def _stand_by(self, proxy: SupportsStandby) -> None:
        backends = self.backends.value
        self._broken, self._breaks = CancelScope(), None
        async with proxy.stand_by(self._listener(backends, None), self._report) as standby:
            self._standby, self._is_down = standby, False
            self._count("")
            try:
                with self._broken:
                    if (tenure := self._tenure) is not None:
                        self._listen_now(standby, tenure)
                        if self._is_relaying:
                            self.relay()
                    await self._pass_on(backends, standby)
            finally:
                self._standby = self._serving = None
                self._show(is_listening=False, health=ListenerHealth())
        if self._breaks is not None:
            raise self._breaks

    def _listen_now(self, standby: Standby, tenure: Tenure) -> None:
        try:
            standby.listen(tenure)
        except ProxyError as error:
            self._breaks = error
            self._broken.cancel()
            self._failed(error)
            return
        self._serving = standby
        self._serves()

    # Serving

    async def _serve(self, proxy: Proxy, tenure: Tenure | None) -> None:
        backends = self.backends.value
        self._health = ListenerHealth()
        async with proxy.serve(self._listener(backends, tenure), self._report) as serving:
            self._serving, self._is_down = serving, False
            self._serves()
            try:
                await self._pass_on(backends, serving)
            finally:
                self._serving = None
                self._show(is_listening=False, health=ListenerHealth())

    def _serves(self) -> None:
        logger.info("serving listener=%r on=%s proxy=%s", self._balancer.name, self._on, self._balancer.proxy)
        self._report(self._health)  # it may have said something while it was entered
        self.settled.set()

    async def _pass_on(self, backends: tuple[Backend, ...], serving: Serving) -> None:
        while True:
            backends = await self.backends.wait_for_change(backends)
            serving.set_backends(backends)

    def _listener(self, backends: tuple[Backend, ...], tenure: Tenure | None) -> Listener:
        return Listener(
            name=self._balancer.name,
            protocol=self._balancer.protocol,
            address=self._address,
            port=self._balancer.port,
            backends=backends,
            drain_seconds=self._balancer.drain_seconds,
            tenure=tenure,
            options=self._balancer.options.get(self._balancer.proxy),
        )

    # Telling

    def _report(self, health: ListenerHealth) -> None:
        self._health = health
        self._show(is_listening=self._serving is not None, health=health)
        self._count(health.problem)

    def _failed(self, error: BaseException) -> None:
        self._is_down = True
        reason = describe_error(error)
        self._show(is_listening=False, health=ListenerHealth(problem=reason))
        self._count(reason)
        self.settled.set()

    def _count(self, problem: str) -> None:
        if not self._is_leaving:
            self._report_health(Health(level=Level.DEGRADED, reason=problem) if problem else Health())

    def _forget(self) -> None:
        if not self._is_leaving:
            self._board.listeners.remove((self._balancer.name, self._on))
            self._board.touch()

    def _show(self, *, is_listening: bool, health: ListenerHealth) -> None:
        if self._is_leaving:
            return
        if self._address is not None and self._tenure is None and not health.problem:
            self._forget()  # it is elsewhere, and ready to come
            return
        self._board.listeners[self._balancer.name, self._on] = ListenerStatus(
            name=self._balancer.name, on=self._on, proxy=self._balancer.proxy, is_listening=is_listening, health=health
        )
        self._board.touch()
