"""What the snapshots of all sources want together, kept up to date: only what differs is resolved again.

The frame is all that snapshots list outside of their parts; it is resolved as a whole. Each part is resolved alone, so
that one that did not change is not looked at. Parts that have something in common with one another or with the frame,
a name or an address, form the pool, and are resolved with the frame, where it is decided who has it.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import checkpoint
from attrs import evolve

from kubevip._listeners import transport_of
from kubevip._model import Desired
from kubevip._persistent import PersistentMap
from kubevip._resolve import resolve_frame, resolve_part
from kubevip._structure import in_file_order

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping

    from kubevip._model import LoadBalancer
    from kubevip._plugins import PluginRegistry
    from kubevip._resolve import Frame
    from kubevip._resolved import PartName, Resolved

#: More virtual IPs and load balancers than these in the frame, each of which takes 0.1 ms, are resolved in a thread: a
#: renewal of a lease must not wait for them.
MOST_ITEMS_AT_ONCE = 50
#: So many parts, each of which takes 0.1 ms, are looked at in one go; then others have their turn.
SLICE_PARTS = 20


class Resolution:
    """Resolves one configuration after the other, and knows the one before."""

    def __init__(self, registry: PluginRegistry) -> None:
        self._registry = registry
        self._limiter = CapacityLimiter(1)
        self._since_pause = 0
        self._forget()

    def _forget(self) -> None:
        self._snapshots: Mapping[str, Desired] = {}
        self._frame: Frame | None = None
        self._resolved: Resolved | None = None
        self._parts: PersistentMap[PartName, Resolved] = PersistentMap()
        self._ill: dict[PartName, Resolved] = {}
        """The parts of which something is wrong."""
        self._pool: frozenset[PartName] = frozenset()
        self._claims: dict[Hashable, dict[PartName, None]] = {}
        """Which parts have something that only one may have."""
        self._taken: frozenset[Hashable] = frozenset()
        """What of it the frame has."""

    async def update(self, snapshots: Mapping[str, Desired]) -> Resolved:
        """Return what `snapshots` want together; they are by the names of their sources, the first wins.

        What is wanted as before is the same object. Others have their turn meanwhile. When this is cancelled or fails,
        the next call begins from nothing.
        """
        try:
            return await self._update(snapshots)
        except BaseException:
            self._forget()
            raise

    async def _update(self, snapshots: Mapping[str, Desired]) -> Resolved:
        before, self._snapshots = self._snapshots, snapshots
        changed = dict.fromkeys(_changed(before, snapshots))
        touched = dict(changed)
        for name in changed:
            touched |= self._claim(name, _part(before, name), _part(snapshots, name))
            await self._pause()
        is_other = self._frame is None or _without_parts(before) != _without_parts(snapshots)
        if is_other:
            self._taken = frozenset(claim for desired in snapshots.values() for claim in _claims_of_frame(desired))
            touched |= dict.fromkeys(_names(snapshots))
        pool = set(self._pool.difference(touched))
        for name in touched:
            if self._clashes(name):
                pool.add(name)
            await self._pause()
        if is_other or self._pool.symmetric_difference(pool) or not pool.isdisjoint(changed):
            changed |= dict.fromkeys(self._pool.symmetric_difference(pool))
            self._pool = frozenset(pool)
            frame = await self._resolve_frame()
            if frame != self._frame:
                changed |= dict.fromkeys(_names(snapshots))
            self._frame, self._resolved = frame, None
        for name in changed:
            self._resolve_part(name)
            await self._pause()
        if self._resolved is None or self._resolved.parts is not self._parts:
            self._resolved = self._whole()
        return self._resolved

    async def _pause(self) -> None:
        self._since_pause += 1
        if self._since_pause >= SLICE_PARTS:
            self._since_pause = 0
            await checkpoint()

    # What only one may have

    def _claim(self, name: PartName, before: Desired | None, now: Desired | None) -> dict[PartName, None]:
        """Take note of what a part has now, and had before; return all parts that have any of it, too."""
        touched: dict[PartName, None] = {}
        for claim in _claims(before) if before is not None else ():
            having = self._claims[claim]
            having.pop(name, None)
            touched |= having
            if not having:
                del self._claims[claim]
        for claim in _claims(now) if now is not None else ():
            having = self._claims.setdefault(claim, {})
            touched |= having
            having[name] = None
        return touched

    def _clashes(self, name: PartName) -> bool:
        """Say whether a part has anything in common with another or with the frame."""
        part = _part(self._snapshots, name)
        if part is None:
            return False
        if not _stands_alone(part):
            return True
        ports = {_port(it) for it in part.load_balancers}
        claims = set(_claims(part))
        return not self._taken.isdisjoint(claims | ports) or any(len(self._claims[claim]) > 1 for claim in claims)

    # Resolving

    async def _resolve_frame(self) -> Frame:
        pooled = dict[str, PersistentMap[str, Desired]]()
        for source, name in self._pool:
            part = self._snapshots[source].parts[name]
            pooled[source] = pooled.get(source, PersistentMap()).with_item(name, part)
        snapshots = [
            evolve(desired, parts=pooled.get(source, PersistentMap())) for source, desired in self._snapshots.items()
        ]
        make = partial(resolve_frame, snapshots, self._registry)
        if sum(len(it.vips) + len(it.load_balancers) for it in snapshots) + len(self._pool) <= MOST_ITEMS_AT_ONCE:
            return make()
        return await to_thread.run_sync(make, abandon_on_cancel=True, limiter=self._limiter)

    def _resolve_part(self, name: PartName) -> None:
        assert self._frame is not None  # it is resolved first
        part = _part(self._snapshots, name)
        had_problems = self._ill.pop(name, None) is not None
        if part is None or name in self._pool:
            self._parts = self._parts.without(name)
            has_problems = False
        else:
            resolved = resolve_part(part, self._frame)
            if resolved != self._parts.get(name):
                self._parts = self._parts.with_item(name, resolved)
            if has_problems := bool(resolved.problems):
                self._ill[name] = resolved
        if had_problems or has_problems:
            self._resolved = None

    def _whole(self) -> Resolved:
        """Put the frame and the parts together."""
        assert self._frame is not None  # it is resolved first
        frame, ill = self._frame.resolved, self._ill.values()
        if self._resolved is not None:  # all but the parts is as it was
            return evolve(self._resolved, parts=self._parts)
        return evolve(
            frame,
            parts=self._parts,
            problems=tuple(in_file_order((*frame.problems, *(problem for it in ill for problem in it.problems)))),
            missing=tuple(in_file_order((*frame.missing, *(problem for it in ill for problem in it.missing)))),
        )


def _part(snapshots: Mapping[str, Desired], name: PartName) -> Desired | None:
    desired = snapshots.get(name[0])
    return desired.parts.get(name[1]) if desired is not None else None


def _names(snapshots: Mapping[str, Desired]) -> Iterator[PartName]:
    return ((source, name) for source, desired in snapshots.items() for name in desired.parts)


def _changed(before: Mapping[str, Desired], now: Mapping[str, Desired]) -> Iterator[PartName]:
    """Yield the names of the parts that are another object than before, or in one of the two only."""
    for source in {**before, **now}:
        old, new = (it[source].parts if source in it else PersistentMap[str, Desired]() for it in (before, now))
        yield from ((source, name) for name in new.changed_since(old))


def _without_parts(snapshots: Mapping[str, Desired]) -> list[tuple[str, Desired]]:
    return [(source, evolve(desired, parts=PersistentMap())) for source, desired in snapshots.items()]


def _stands_alone(part: Desired) -> bool:
    """Say whether a part lists what can be resolved by itself, with nothing of the frame but groups and instances."""
    if part.instances or part.agents or part.members or part.parts:
        return False
    own = {vip.name for vip in part.vips}
    return all(it.bind_to and own.issuperset(it.bind_to) for it in part.load_balancers)


def _claims(desired: Desired) -> Iterator[Hashable]:
    """Yield what only one part may have. Sockets are not among it: they come with the addresses."""
    for vip in desired.vips:
        yield "virtual IP", vip.name
        yield vip.address
    for group in desired.groups:
        yield "group", group.name
    for balancer in desired.load_balancers:
        yield "load balancer", balancer.name


def _claims_of_frame(desired: Desired) -> Iterator[Hashable]:
    """Yield what no part may have, as the frame has it or refers to it."""
    yield from _claims(desired)
    yield from (("group", vip.group) for vip in desired.vips)
    yield from (("group", agent.group) for agent in desired.agents)
    for balancer in desired.load_balancers:
        yield from (("virtual IP", name) for name in balancer.bind_to)
        if not balancer.bind_to:
            yield _port(balancer)


def _port(balancer: LoadBalancer) -> Hashable:
    return "port", transport_of(balancer.protocol), balancer.port
