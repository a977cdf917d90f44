"""Puts the snapshots of several sources together; of equal names the source that is configured first wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from kubevip._model import Desired

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from kubevip._model import Places, Problem


class _Named(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def places(self) -> Places: ...


NamedT = TypeVar("NamedT", bound=_Named)
ItemT = TypeVar("ItemT")


def merge(snapshots: Sequence[Desired]) -> tuple[Desired, list[Problem]]:
    """Return everything that the snapshots want, and a problem for each object that an earlier one has already.

    Cluster, node name and digest are those of the first snapshot that has one. What their parts want is in it, too.
    """
    snapshots = [each for it in snapshots for each in (it, *(it.parts[name] for name in sorted(it.parts)))]
    problems: list[Problem] = []

    def join(what: str, items: Iterable[NamedT]) -> tuple[NamedT, ...]:
        kept: dict[str, NamedT] = {}
        for item in items:
            if (first := kept.setdefault(item.name, item)) is not item:
                problems.append(item.places.problem(_taken(what, item.name, first.places), "name"))
        return tuple(kept.values())

    instances = _first_of(
        (instance for it in snapshots for instance in it.instances), lambda instance: (instance.kind, instance.name)
    )
    for instance in (instance for it in snapshots for instance in it.instances):
        first = next(it for it in instances if (it.kind, it.name) == (instance.kind, instance.name))
        if first is not instance:
            message = _taken(instance.kind.value, instance.name, first.section.places)
            problems.append(instance.section.places.problem(message))
    desired = Desired(
        instances=instances,
        groups=join("group", (group for it in snapshots for group in it.groups)),
        vips=join("virtual IP", (vip for it in snapshots for vip in it.vips)),
        load_balancers=join("load balancer", (balancer for it in snapshots for balancer in it.load_balancers)),
        agents=join("agent", (agent for it in snapshots for agent in it.agents)),
        members=_first_of((member for it in snapshots for member in it.members), lambda member: member.name),
        cluster=next((it.cluster for it in snapshots if it.cluster), ""),
        node_name=next((it.node_name for it in snapshots if it.node_name is not None), None),
        digest=next((it.digest for it in snapshots if it.digest), ""),
    )
    return desired, problems


def _taken(what: str, name: str, places: Places) -> str:
    return f"{what} {name!r} is configured already, at {places.root}, which wins"


def _first_of(items: Iterable[ItemT], key: Callable[[ItemT], Hashable]) -> tuple[ItemT, ...]:
    kept: dict[Hashable, ItemT] = {}
    for item in items:
        kept.setdefault(key(item), item)
    return tuple(kept.values())
