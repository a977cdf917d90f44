"""One agent: runs on every node, or on the node that leads its group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip._contract import Health, Level
from kubevip._status import ServiceStatus
from kubevip._supervise import describe_error, supervise

if TYPE_CHECKING:
    from kubevip._context import Context
    from kubevip._leadership import Campaign, Tenure
    from kubevip._model import AgentItem
    from kubevip._slot import Slot
    from kubevip.abc import Agent


class AgentTask:
    """Run one agent until cancelled; `campaign` is that of its group, None = on every node."""

    def __init__(self, agent: AgentItem, slot: Slot[Agent], campaign: Campaign | None, context: Context) -> None:
        self._agent, self._slot, self._campaign = agent, slot, campaign
        self._board, self._rng = context.board, context.rng

    async def run(self) -> None:
        """Run it whenever its turn is, until cancelled."""
        body = self._always if self._campaign is None else self._while_leading
        try:
            await supervise(f"agent {self._agent.name}", body, failed=self._failed, rng=self._rng)
        finally:
            self._board.services.pop(("agent", self._agent.name), None)
            self._board.touch()

    async def _always(self) -> None:
        await self._slot.while_filled(self._work)

    async def _while_leading(self) -> None:
        async def lead(_: Tenure) -> None:
            await self._slot.while_filled(self._work)

        assert self._campaign is not None  # chosen in run()
        await self._campaign.while_leading(lead)

    async def _work(self, agent: Agent) -> None:
        self._report(Health())
        await agent.run(self._report)

    def _failed(self, error: BaseException) -> None:
        self._report(Health(level=Level.FAILED, reason=describe_error(error)))

    def _report(self, health: Health) -> None:
        state = {Level.GOOD: "running", Level.DEGRADED: "degraded", Level.FAILED: "failed"}[health.level]
        self._board.services["agent", self._agent.name] = ServiceStatus(
            kind="agent", name=self._agent.name, provider=self._agent.name, state=state, problem=health.reason
        )
        self._board.touch()
