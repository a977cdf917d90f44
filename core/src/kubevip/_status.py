"""What every item is doing: the value that `kubevip status` shows and that sources may write back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from kubevip._contract import Health, ListenerHealth

if TYPE_CHECKING:
    from collections.abc import Mapping

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


@frozen(kw_only=True)
class Snapshot:
    """Everything at one moment."""

    node: str = ""
    instance: str = ""
    services: tuple[ServiceStatus, ...] = ()
    groups: tuple[GroupStatus, ...] = ()
    vips: tuple[VipStatus, ...] = ()
    listeners: tuple[ListenerStatus, ...] = ()
    agents: tuple[ServiceStatus, ...] = ()
    problems: tuple[str, ...] = ()
    config_digest: str = ""
