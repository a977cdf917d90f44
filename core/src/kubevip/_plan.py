"""What to start, stop and update so that what runs becomes what is wanted. Pure: no clock, no I/O, no order of events.

A unit is anything that runs by itself: an instance of a provider, the candidacy for a group, a virtual IP, an unbound
listener, an agent. Units find one another through slots that outlive them (`_slot`), so restarting one never means
restarting another: what depends on it unwinds and waits until it is back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import evolve, field, frozen

from kubevip._model import AgentItem, Group, Kind, LoadBalancer, NodeCheck, VirtualIP

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubevip._resolved import Resolved, ResolvedInstance

#: ("service", "election", "raft"), ("group", "api"), ("vip", "api4"), ("listener", "shop"), ("agent", "starboard")
Key = tuple[str, ...]


@frozen(kw_only=True)
class ServiceUnit:
    """An instance of a provider, open."""

    instance: ResolvedInstance


@frozen(kw_only=True)
class GroupUnit:
    """The candidacy for a group. It begins when `announcers`, those of its virtual IPs, are open.

    What checks the node for it is a unit of its own, so that nobody loses an address over another interval.
    """

    group: Group
    announcers: frozenset[str] = field(eq=False)


@frozen(kw_only=True)
class CheckUnit:
    """What checks this node for a group."""

    group: str
    check: NodeCheck


@frozen(kw_only=True)
class VipUnit:
    """A virtual IP and the load balancers that are bound to it, which change while it is held."""

    vip: VirtualIP
    balancers: tuple[LoadBalancer, ...] = ()


@frozen(kw_only=True)
class ListenerUnit:
    """An unbound load balancer."""

    balancer: LoadBalancer


@frozen(kw_only=True)
class AgentUnit:
    """An agent."""

    agent: AgentItem


Unit = ServiceUnit | GroupUnit | CheckUnit | VipUnit | ListenerUnit | AgentUnit


@frozen(kw_only=True)
class Plan:
    """Keys by what happens to them, each in the order in which to do it.

    `stop`: no longer wanted. `restart`: stop, then start. `replace`: start the new one, and when it is up stop the
    old one. `update`: hand the new value to the running one. `start`: new.
    """

    stop: tuple[Key, ...] = ()
    restart: tuple[Key, ...] = ()
    replace: tuple[Key, ...] = ()
    update: tuple[Key, ...] = ()
    start: tuple[Key, ...] = ()


#: Services start first and stop last; candidacies start last, when everything that they may call for is there.
_START_ORDER = {"service": 0, "agent": 1, "check": 1, "listener": 1, "vip": 1, "group": 2}
_STOP_ORDER = {"vip": 0, "listener": 0, "agent": 0, "group": 1, "check": 1, "service": 2}


def units(resolved: Resolved) -> dict[Key, Unit]:
    """Return everything that is to run."""
    wanted: dict[Key, Unit] = {}
    for instance in resolved.instances:
        wanted["service", instance.kind.value, instance.name] = ServiceUnit(instance=instance)
    announcers: dict[str | None, set[str]] = {agent.group: set() for agent in resolved.agents}
    for vip in resolved.vips:
        announcers.setdefault(vip.group, set()).update(vip.announcers)
    for group in resolved.groups:
        if group.name in announcers:
            unchecked = evolve(group, health_check=None)
            wanted["group", group.name] = GroupUnit(group=unchecked, announcers=frozenset(announcers[group.name]))
            if group.health_check is not None:
                wanted["check", group.name] = CheckUnit(group=group.name, check=group.health_check)
    bound: dict[str, list[LoadBalancer]] = {}
    for balancer in resolved.load_balancers:
        for name in dict.fromkeys(balancer.bind_to):
            bound.setdefault(name, []).append(balancer)
    for vip in resolved.vips:
        wanted["vip", vip.name] = VipUnit(vip=vip, balancers=tuple(bound.get(vip.name, ())))
    for balancer in resolved.load_balancers:
        if not balancer.bind_to:
            wanted["listener", balancer.name] = ListenerUnit(balancer=balancer)
    for agent in resolved.agents:
        wanted["agent", agent.name] = AgentUnit(agent=agent)
    return wanted


def plan(wanted: Mapping[Key, Unit], running: Mapping[Key, Unit]) -> Plan:
    """Compare what is wanted with what runs."""
    changes = {key: _change(unit, running[key]) for key, unit in wanted.items() if key in running}

    def in_order(order: Mapping[str, int], *keys: Key) -> tuple[Key, ...]:
        return tuple(sorted(keys, key=lambda key: order[key[0]]))

    def having(change: str) -> tuple[Key, ...]:
        return in_order(_START_ORDER, *(key for key, found in changes.items() if found == change))

    return Plan(
        stop=in_order(_STOP_ORDER, *(key for key in running if key not in wanted)),
        restart=having("restart"),
        replace=having("replace"),
        update=having("update"),
        start=in_order(_START_ORDER, *(key for key in wanted if key not in running)),
    )


def _change(wanted: Unit, running: Unit) -> Literal["none", "update", "restart", "replace"]:
    match wanted, running:
        case VipUnit(), VipUnit():
            if wanted.vip != running.vip:
                # a new address can come up beside the old one; anything else needs the same address twice
                moves = wanted.vip.address != running.vip.address and wanted.vip.group == running.vip.group
                return "replace" if moves else "restart"
            return "none" if wanted.balancers == running.balancers else "update"
        case ListenerUnit(), ListenerUnit():
            if wanted == running:
                return "none"
            same_socket = evolve(wanted.balancer, backends=()) == evolve(running.balancer, backends=())
            return "update" if same_socket else "restart"
        case _:
            return "none" if wanted == running else "restart"


def service_key(kind: Kind, name: str) -> Key:
    """Return the key of an instance of a provider."""
    return ("service", kind.value, name)
