"""Make what runs equal to what is wanted: one task per unit, started, stopped and updated by `_plan`.

Nothing here knows what a unit does. Slots, standings and the list of bound listeners are kept by name and outlive the
tasks that use them, so a unit can be restarted without its neighbours noticing more than that it was away.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from anyio import CancelScope, Event, create_task_group, move_on_after, sleep
from anyio.lowlevel import checkpoint
from attrs import define, field

from kubevip._agent import AgentTask
from kubevip._bound_listeners import BoundListener
from kubevip._contract import Health, Level
from kubevip._group import GroupTask, Standing
from kubevip._latest import Latest
from kubevip._listener import ListenerTask
from kubevip._model import Kind
from kubevip._node_check import NodeCheckTask
from kubevip._plan import AgentUnit, CheckUnit, GroupUnit, ListenerUnit, ServiceUnit, VipUnit, plan, service_key
from kubevip._service import ServiceTask
from kubevip._slot import Slot
from kubevip._units import Units
from kubevip._virtual_ip import VirtualIPTask
from kubevip.abc import SupportsRelief

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from anyio.abc import TaskGroup

    from kubevip._context import Context
    from kubevip._contract import Host
    from kubevip._model import LoadBalancer
    from kubevip._plan import Key, Unit
    from kubevip._resolved import Resolved

logger = logging.getLogger("kubevip.reconcile")

#: How long a replaced virtual IP waits for its successor to come up before it goes all the same.
REPLACE_SECONDS = 3.0

#: For so long after this node gave an address away it does nothing but vote: whoever takes over may share its
#: processors, and each millisecond of tidying up would be one without an answer.
QUIET_SECONDS = 0.05

#: How long others may take to take over, when everything stops, before it is withdrawn all the same.
RELIEF_SECONDS = 1.5

#: How long connections of unbound listeners may drain when everything stops: within the time that the keeper gives a
#: stop, or they would be cut all the same and the stop count as failed.
STOP_DRAIN_SECONDS = 5.0

#: So many units are looked at or started in one go, each in a tenth of a millisecond; then others have their turn.
SLICE_UNITS = 20

Task = ServiceTask | GroupTask | NodeCheckTask | VirtualIPTask | ListenerTask | AgentTask


@define(eq=False)
class Running:
    """A unit that runs."""

    unit: Unit
    task: Task
    scope: CancelScope = field(factory=lambda: CancelScope(shield=True))
    """Shielded, because only the reconciler knows the order in which to stop."""
    done: Event = field(factory=Event)

    async def stop(self) -> None:
        """Cancel it and wait, also under cancellation, until it has unwound."""
        self.scope.cancel()
        with CancelScope(shield=True):
            await self.done.wait()


class Reconciler:
    """Runs what is wanted.

    `inside(instance_kind, name)` supplies what a service runs while it is open (sources and agents do, others wait).
    `released` is called when everything is stopping and no address is held nor stood for any more. `applied` is the
    configuration of which everything was started. `is_drained`: whether this node makes room for others.
    """

    def __init__(
        self,
        host: Host,
        context: Context,
        *,
        inside: Callable[[Kind, str], Callable[[Any], Awaitable[None]] | None] = lambda kind, name: None,
        released: Callable[[], None] = lambda: None,
    ) -> None:
        self.applied: Latest[Resolved | None] = Latest(None)
        self._host, self._context, self._inside, self._released = host, context, inside, released
        self._units = Units()
        self._running: dict[Key, Running] = {}
        self._leaving: list[Running] = []  # listeners that nobody wants any more, and whose connections drain
        self._slots: defaultdict[Key, Slot[Any]] = defaultdict(Slot)  # Any: one per kind of service
        self._standings: dict[str, Standing] = {}
        self._bound: dict[str, Latest[tuple[BoundListener, ...]]] = {}
        self.is_drained = False

    async def run(self, wanted: Latest[Resolved | None]) -> None:
        """Follow `wanted` until cancelled; leaves with everything stopped, in order."""
        async with create_task_group() as tg:
            try:
                resolved: Resolved | None = None
                while True:
                    resolved = await wanted.wait_for_change(resolved)
                    if resolved is not None:
                        await self._apply(tg, await self._take(resolved))
                        self.applied.set(resolved)
            finally:
                with CancelScope(shield=True):  # bounded by the grace of each part; the keeper has the hard limit
                    await self._stop_all()

    async def _take(self, resolved: Resolved) -> dict[Key, None]:
        """Take over what is wanted; return the keys of what may have changed: all else runs as it should."""
        touched: dict[Key, None] = {}
        for number, keys in enumerate(self._units.take(resolved), start=1):
            touched |= dict.fromkeys(keys)
            if number % SLICE_UNITS == 0:
                await checkpoint()
        return touched

    async def _apply(self, tg: TaskGroup, touched: Iterable[Key]) -> None:
        wanted = {key: unit for key in touched if (unit := self._units.wanted.get(key)) is not None}
        todo = plan(wanted, {key: self._running[key].unit for key in touched if key in self._running})
        for key in todo.stop:
            await self._stop(key, gone=True)
        for key in todo.restart:
            await self._stop(key, gone=False)
        starting = sorted((*todo.restart, *todo.start), key=lambda key: (key[0] == "group", key[0] != "service"))
        for number, key in enumerate(starting, start=1):
            self._start(tg, key, wanted[key])
            if number % SLICE_UNITS == 0:
                await checkpoint()  # those that were started take their first steps
        for key in todo.update:
            self._update(key, wanted[key])
        for key in todo.replace:
            await self._replace(tg, key, wanted[key])

    def service(self, kind: Kind, name: str) -> ServiceTask | None:
        """Return the task of an instance that runs, open or not."""
        running = self._running.get(service_key(kind, name))
        return running.task if running is not None and isinstance(running.task, ServiceTask) else None

    def services(self) -> Iterable[tuple[Kind, str, ServiceTask]]:
        """Return all instances that run."""
        for key, running in self._running.items():
            if isinstance(running.task, ServiceTask):
                yield Kind(key[1]), key[2], running.task

    def drain(self, *, undo: bool = False) -> None:
        """Make room for others in every group, those of later configurations included; or take part again."""
        self.is_drained = not undo
        for standing in self._standings.values():
            self._apply_drain(standing)

    def _apply_drain(self, standing: Standing) -> None:
        if self.is_drained:
            standing.fitness.report("drain", Health(level=Level.FAILED, reason="drained by hand"))
        else:
            standing.fitness.forget("drain")

    def opened(self, kind: Kind, name: str) -> Any:
        """Return the open service of an instance; None while there is none. Any: the type is the provider's own."""
        return self._slots[service_key(kind, name)].content.value

    async def relieve(self) -> None:
        """Let others take over what is held here before it is withdrawn, where the elections can; bounded."""
        was_leading = self._leads
        with move_on_after(RELIEF_SECONDS):
            async with create_task_group() as tg:
                for key in [key for key in self._running if key[:2] == ("service", Kind.ELECTION.value)]:
                    election = self._slots[key].content.value
                    if isinstance(election, SupportsRelief):
                        tg.start_soon(_relieve, key[2], election)
        if was_leading and not self._leads:
            await sleep(QUIET_SECONDS)

    @property
    def _leads(self) -> bool:
        """Whether this node leads any group."""
        return any(standing.campaign.tenure.value is not None for standing in self._standings.values())

    def _start(self, tg: TaskGroup, key: Key, unit: Unit) -> Running:
        running = Running(unit, self._task(unit))
        self._running[key] = running
        tg.start_soon(self._run, running)
        return running

    @staticmethod
    async def _run(running: Running) -> None:
        try:
            with running.scope:
                await running.task.run()
        finally:
            running.done.set()

    async def _stop(self, key: Key, *, gone: bool) -> None:
        running = self._running.pop(key)
        if isinstance(running.task, ListenerTask):
            running.task.leave()  # closes at once and drains by itself; the next configuration does not wait for it
            self._leaving = [leaving for leaving in self._leaving if not leaving.done.is_set()] + [running]
            return
        await running.stop()
        if gone and isinstance(running.task, VirtualIPTask):
            running.task.forget()
            del self._bound[key[1]]
        if gone and isinstance(running.task, NodeCheckTask):
            running.task.forget()
        if gone and isinstance(running.task, GroupTask):
            del self._standings[key[1]]

    def _update(self, key: Key, unit: Unit) -> None:
        running = self._running[key]
        running.unit = unit
        match unit:
            case VipUnit():
                self._bound[unit.vip.name].set(self._listeners_of(unit))
            case ListenerUnit():
                assert isinstance(running.task, ListenerTask)
                running.task.backends.set(unit.balancer.backends)
            case _:
                raise AssertionError(f"{key} is never updated in place")

    async def _replace(self, tg: TaskGroup, key: Key, unit: Unit) -> None:
        """New address up, then the old one down; the group's candidacy goes on all the while."""
        old = self._running.pop(key)
        assert isinstance(unit, VipUnit)
        assert isinstance(old.task, VirtualIPTask)
        old.task.retire()
        self._bound[unit.vip.name].set(self._listeners_of(unit))
        new = self._start(tg, key, unit)
        assert isinstance(new.task, VirtualIPTask)
        try:
            if self._standing(unit.vip.group).campaign.tenure.value is not None:
                with move_on_after(REPLACE_SECONDS):
                    await new.task.settled.wait()
        finally:
            await old.stop()  # also when everything is stopped meanwhile: nobody else knows of it any more

    async def _stop_all(self) -> None:
        """Stop addresses and agents first, then candidacies, then unbound listeners, which drain, then services."""
        was_leading = self._leads
        for rank in (("vip", "agent"), ("group", "check"), ("listener",), ("service",)):
            keys = [key for key in self._running if key[0] in rank]
            leaving = self._leaving if "listener" in rank else []
            for running in leaving:
                if isinstance(running.task, ListenerTask):
                    running.task.cut(STOP_DRAIN_SECONDS)
            for key in keys:
                if isinstance(task := self._running[key].task, ListenerTask):
                    task.leave(STOP_DRAIN_SECONDS)
                else:
                    self._running[key].scope.cancel()
            for running in (*leaving, *(self._running.pop(key) for key in keys)):
                await running.done.wait()
            if "group" in rank:
                self._released()
                if was_leading:
                    await sleep(QUIET_SECONDS)

    def _task(self, unit: Unit) -> Task:
        match unit:
            case ServiceUnit(instance=instance):
                slot = self._slots[service_key(instance.kind, instance.name)]
                inside = self._inside(instance.kind, instance.name)
                return ServiceTask(instance, slot, self._host, self._context, inside=inside)
            case GroupUnit(group=group):
                election = self._slots[service_key(Kind.ELECTION, group.election)]
                announcers = [self._slots[service_key(Kind.ANNOUNCER, name)] for name in sorted(unit.announcers)]
                standing = self._standing(group.name)
                return GroupTask(group, standing, election, announcers, self._context)
            case CheckUnit(group=group, check=check):
                slot = self._slots[service_key(Kind.CHECK, check.check)]
                return NodeCheckTask(group, check, slot, self._standing(group).fitness, self._context)
            case VipUnit(vip=vip):
                standing = self._standing(vip.group)
                announcers = [self._slots[service_key(Kind.ANNOUNCER, name)] for name in vip.announcers]
                bound = self._bound.setdefault(vip.name, Latest(()))
                bound.set(self._listeners_of(unit))
                return VirtualIPTask(
                    vip,
                    standing.campaign,
                    announcers,
                    bound,
                    standing.fitness,
                    self._context,
                )
            case ListenerUnit(balancer=balancer):
                return ListenerTask(balancer, None, self._proxy(balancer), self._context)
            case AgentUnit(agent=agent):
                campaign = self._standing(agent.group).campaign if agent.group is not None else None
                return AgentTask(agent, self._slots[service_key(Kind.AGENT, agent.name)], campaign, self._context)

    def _standing(self, group: str) -> Standing:
        if group not in self._standings:
            self._standings[group] = Standing(group)
            self._apply_drain(self._standings[group])
        return self._standings[group]

    def _listeners_of(self, unit: VipUnit) -> tuple[BoundListener, ...]:
        return tuple(BoundListener(balancer=balancer, proxy=self._proxy(balancer)) for balancer in unit.balancers)

    def _proxy(self, balancer: LoadBalancer) -> Slot[Any]:
        return self._slots[service_key(Kind.PROXY, balancer.proxy)]


async def _relieve(name: str, election: SupportsRelief) -> None:
    try:
        await election.relieve()
    except Exception:  # the stop goes on without it
        logger.exception("election %s cannot be relieved", name)
