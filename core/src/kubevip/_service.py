"""One configured instance of a provider: opened, restarted when it fails, closed when nobody uses it any more."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Event, create_task_group, sleep_forever

from kubevip._status import ServiceStatus
from kubevip._supervise import causes, describe_error, is_permanent, supervise
from kubevip.abc import SupportsStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kubevip._context import Context
    from kubevip._contract import Host
    from kubevip._resolved import ResolvedInstance
    from kubevip._slot import Slot

logger = logging.getLogger("kubevip.service")


class ServiceTask:
    """Keep an instance open and in its slot until cancelled.

    `settled` is set when it opened, failed for the first time or ended; `refused` is the error if trying again cannot
    help.
    `inside(service)` is what to run while it is open; by default nothing but waiting.
    """

    def __init__(
        self,
        instance: ResolvedInstance,
        slot: Slot[Any],  # Any: the service type is the provider's own
        host: Host,
        context: Context,
        *,
        inside: Callable[[Any], Awaitable[None]] | None = None,
    ) -> None:
        self.settled = Event()
        self.refused: BaseException | None = None
        self._instance, self._slot, self._host = instance, slot, host
        self._board, self._rng, self._inside = context.board, context.rng, inside

    @property
    def _what(self) -> str:
        return f"{self._instance.kind.value} {self._instance.name}"

    async def run(self) -> None:
        """Keep it open until cancelled; whoever uses it has let go before it closes."""
        try:
            await supervise(self._what, self._open, failed=self._failed, rng=self._rng)
        finally:
            self.settled.set()  # whoever waits for it does so in vain from now on
            self._board.services.pop((self._instance.kind.value, self._instance.name), None)
            self._board.touch()

    async def _open(self) -> None:
        """Open it and stay; what it runs itself goes on until its users have let go, also when this is cancelled."""
        scope = CancelScope()
        async with create_task_group() as tg:
            tg.start_soon(self._stay_open, scope)
            try:
                await sleep_forever()  # until cancelled, or it failed
            finally:
                await self._slot.empty()
                scope.cancel()

    async def _stay_open(self, scope: CancelScope) -> None:
        with scope:
            self._show("opening")
            async with self._instance.provider.open(self._instance.config, self._host) as service:
                scope.shield = True  # only opening may be cut short
                logger.debug("%s is open", self._what)
                self._show("open")
                self._slot.content.set(service)
                self.settled.set()
                try:
                    if self._inside is not None:
                        await self._inside(service)
                    await sleep_forever()
                finally:
                    await self._slot.empty()

    def _failed(self, error: BaseException) -> None:
        if is_permanent(error):
            self.refused = causes(error)[0]
        self._show("failed" if self.refused else "waiting", describe_error(error))
        self.settled.set()

    def _show(self, state: str, problem: str = "") -> None:
        name, kind = self._instance.name, self._instance.kind.value
        self._board.services[kind, name] = ServiceStatus(
            kind=kind, name=name, provider=self._instance.provider.name, state=state, problem=problem
        )
        self._board.touch()

    def status(self) -> dict[str, object]:
        """Return what the open service says of itself; empty while it is not open."""
        service = self._slot.content.value
        if not isinstance(service, SupportsStatus):
            return {}
        try:
            return dict(service.status())
        except Exception as error:  # a failure stays with its service: it is asked on a signal, too
            logger.exception("%s cannot say how it does", self._what)
            return {"problem": describe_error(error)}
