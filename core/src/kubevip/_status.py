"""What every item is doing: the value that `kubevip status` shows and that sources may write back."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, cast

from attrs import evolve, field, frozen

from kubevip._contract import Health, ListenerHealth
from kubevip._persistent import PersistentMap

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kubevip._model import IPAddress


@frozen(kw_only=True)
class Outage:
    """The last time that an address was without a holder, as this node measured it when it took over.

    `parts` are the milliseconds that detecting, electing, adding and announcing took; empty where they are not known.
    `how` says what else there is to say: "moved".
    """

    milliseconds: float
    parts: tuple[float, ...] = ()
    how: str = ""


@frozen(kw_only=True)
class VipStatus:
    """One virtual IP as seen from here. `held_since` is a wall-clock time in seconds (for people only)."""

    name: str
    address: IPAddress
    group: str
    is_held: bool = False
    holder: str | None = None
    held_since: float | None = None
    why: str = ""
    last_outage: Outage | None = None
    health: Health = Health()


@frozen(kw_only=True)
class ListenerStatus:
    """One listener of this node; `on` is "192.168.0.76:80" or "*:80"."""

    name: str
    on: str
    proxy: str
    is_listening: bool = False
    health: ListenerHealth = ListenerHealth()


@frozen(kw_only=True)
class ServiceStatus:
    """One instance of a provider; `state` is "opening", "open", "waiting" (to be tried again) or "failed"."""

    kind: str
    name: str
    provider: str
    state: str
    problem: str = ""
    detail: Mapping[str, object] = field(factory=dict[str, object])


@frozen(kw_only=True)
class GroupStatus:
    """One group: whether this node leads it, who does, and how fit this node is for it (0-100)."""

    name: str
    election: str
    is_leading: bool = False
    leader: str | None = None
    term: int = 0
    lease_seconds_left: float | None = None
    fitness: int = 100
    problem: str = ""


def _by_name(vips: Iterable[VipStatus] | PersistentMap[str, VipStatus]) -> PersistentMap[str, VipStatus]:
    if isinstance(vips, PersistentMap):
        return cast("PersistentMap[str, VipStatus]", vips)
    found = PersistentMap[str, VipStatus]()
    for vip in vips:
        found = found.with_item(vip.name, vip)
    return found


def _by_socket(
    listeners: Iterable[ListenerStatus] | PersistentMap[tuple[str, str], ListenerStatus],
) -> PersistentMap[tuple[str, str], ListenerStatus]:
    if isinstance(listeners, PersistentMap):
        return cast("PersistentMap[tuple[str, str], ListenerStatus]", listeners)
    found = PersistentMap[tuple[str, str], ListenerStatus]()
    for listener in listeners:
        found = found.with_item((listener.name, listener.on), listener)
    return found


@frozen(kw_only=True)
class Snapshot:
    """Everything at one moment.

    Snapshots share what did not change: there may be thousands of virtual IPs, and a snapshot ten times a second.
    """

    node: str = ""
    instance: str = ""
    services: tuple[ServiceStatus, ...] = ()
    groups: tuple[GroupStatus, ...] = ()
    _vips: PersistentMap[str, VipStatus] = field(
        default=PersistentMap[str, VipStatus](), converter=_by_name, alias="vips"
    )
    _listeners: PersistentMap[tuple[str, str], ListenerStatus] = field(
        default=PersistentMap[tuple[str, str], ListenerStatus](), converter=_by_socket, alias="listeners"
    )
    agents: tuple[ServiceStatus, ...] = ()
    problems: tuple[str, ...] = ()
    config_digest: str = ""

    @cached_property
    def vips(self) -> tuple[VipStatus, ...]:
        """All virtual IPs; those that are not held here with the leader of their group as the holder."""
        leaders = {group.name: group.leader for group in self.groups}

        def holder(vip: VipStatus) -> str | None:
            if vip.is_held:
                return self.node
            elsewhere = vip.holder or leaders.get(vip.group)
            return elsewhere if elsewhere != self.node else None  # whoever else may think so

        return tuple(evolve(vip, holder=holder(vip)) for vip in self._vips.values())

    @cached_property
    def listeners(self) -> tuple[ListenerStatus, ...]:
        """All listeners of this node."""
        return tuple(self._listeners.values())

    def vips_since(self, before: Snapshot) -> dict[str, VipStatus | None]:
        """Return the virtual IPs that are otherwise than in `before`, None where one is gone; without their holders.

        Costs what differs, however many there are, where one snapshot came of the other.
        """
        return {name: self._vips.get(name) for name in self._vips.changed_since(before._vips)}
