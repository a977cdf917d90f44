"""A configuration that is kept up to date part by part is what it would be if it were resolved as a whole."""

from __future__ import annotations

from ipaddress import IPv4Address
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import create_task_group
from anyio.lowlevel import checkpoint
from attrs import evolve
from tests.core.test_resolve import TCP, provider

from kubevip import Desired, Group, Instance, Kind, LoadBalancer, Member, Section, VirtualIP
from kubevip import _resolution as resolution
from kubevip._persistent import PersistentMap
from kubevip._plugin import Origin, Plugin
from kubevip._plugins import PluginRegistry
from kubevip._resolution import SLICE_PARTS, Resolution
from kubevip._resolve import resolve, resolve_frame, resolve_part
from kubevip._units import Units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kubevip._plan import Key
    from kubevip._resolved import Resolved


class Registry(PluginRegistry):
    def why_missing(self, kind: Kind, provider: str) -> str:
        return f"there is no {kind.value} {provider}"  # without a look at what could be installed, which takes its time


REGISTRY = Registry(
    [
        Plugin(
            origin=Origin(name="fake", distribution="fake", load=lambda: None),
            providers=(
                (Kind.ELECTION, provider("raft")),
                (Kind.ELECTION, provider("k8s")),
                (Kind.ANNOUNCER, provider("address")),
                (Kind.ANNOUNCER, provider("arp")),
                (Kind.PROXY, TCP),
                (Kind.SOURCE, provider("file")),
            ),
        )
    ]
)


def parts_of(parts: Iterable[tuple[str, Desired]]) -> PersistentMap[str, Desired]:
    found = PersistentMap[str, Desired]()
    for name, part in parts:
        found = found.with_item(name, part)
    return found


def address(number: int) -> IPv4Address:
    return IPv4Address(f"10.0.{number // 250}.{number % 250 + 1}")


ELECTIONS = (
    Instance(kind=Kind.ELECTION, name="raft", section=Section(provider="raft")),
    Instance(kind=Kind.ELECTION, name="k8s", section=Section(provider="k8s", data={"interval": "nonsense"})),
    Instance(kind=Kind.ELECTION, name="missing", section=Section(provider="missing")),
    Instance(kind=Kind.SOURCE, name="file", section=Section(provider="file")),
)
NAMES = "abcd"


class Chance:
    """Snapshots of few names and addresses, so that much of it clashes."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)

    def _some(self, make: Callable[[str], Any], most: int) -> tuple[Any, ...]:
        return tuple(make(name) for name in self._rng.sample(NAMES, self._rng.randint(0, most)))

    def _group(self, name: str) -> Group:
        return Group(name=name, election=self._rng.choice(["", "raft", "raft", "k8s"]))

    def _vip(self, name: str) -> VirtualIP:
        group, announcers = self._rng.choice("abe"), self._rng.choice([("arp",), ("address", "arp"), ("gone",)])
        return VirtualIP(name=name, address=address(self._rng.randint(0, 7)), group=group, announcers=announcers)

    def _balancer(self, name: str) -> LoadBalancer:
        bind_to = self._rng.choice([(), ("a",), ("b",), ("a", "b")])
        proxy, port = self._rng.choice(["tcp", "tcp", "gone"]), self._rng.randint(80, 82)
        return LoadBalancer(name=name, protocol="tcp", proxy=proxy, port=port, bind_to=bind_to)

    def _part(self, name: str) -> tuple[str, Desired]:
        groups = self._some(self._group, 1)
        group = groups[0].name if groups and self._rng.random() < 0.5 else self._rng.choice("ef")
        vips = tuple(evolve(vip, group=group) for vip in self._some(self._vip, 1))
        bind_to = self._rng.choice([tuple(vip.name for vip in vips) or ("z",)] * 3 + [("z",)])
        balancers = tuple(evolve(it, bind_to=bind_to) for it in self._some(self._balancer, 1))
        return name, Desired(groups=groups, vips=vips, load_balancers=balancers)

    def snapshot(self, before: Desired) -> Desired:
        """Return another one, which has the frame or some parts in common with the one before."""
        parts = before.parts
        for name, part in self._some(self._part, 4):
            parts = parts.with_item(name, part) if self._rng.random() < 0.8 else parts.without(name)
        if self._rng.random() < 0.5:
            return evolve(before, parts=parts)
        return Desired(
            instances=self._rng.choice([ELECTIONS, ELECTIONS[:1], ()]),
            groups=(*self._some(self._group, 2), *self._rng.choice([(), (self._group("f"),)])),
            vips=(*self._some(self._vip, 1), *self._rng.choice([(), (self._vip("z"),)])),
            load_balancers=self._some(self._balancer, 1),
            members=self._rng.choice([(), (Member(name="n1", address=address(0)),)]),
            parts=parts,
        )


def whole(found: Resolved) -> dict[str, Any]:
    """What is in it, wherever it is listed, in an order of its own."""
    listed = (found, *found.parts.values())
    lists = ("groups", "vips", "load_balancers", "agents")
    return {
        **{name: {it.name: it for each in listed for it in getattr(each, name)} for name in lists},
        "instances": {(it.kind, it.name): it for each in listed for it in each.instances},
        "problems": set(map(str, found.problems)),
        "missing": set(map(str, found.missing)),
    }


def running(units: Units, resolved: Resolved) -> dict[Key, Any]:
    for _ in units.take(resolved):
        pass
    return {key: (unit, getattr(unit, "announcers", None)) for key, unit in units.wanted.items()}


@pytest.mark.parametrize("seed", range(30))
def test_it_is_what_it_would_be_as_a_whole(seed: int) -> None:
    async def run() -> None:
        chance, kept, units = Chance(seed), Resolution(REGISTRY), Units()
        first = second = Desired()
        for _ in range(8):
            first, second = chance.snapshot(first), chance.snapshot(second)
            found = await kept.update({"first": first, "second": second})
            as_a_whole = resolve([first, second], REGISTRY)
            assert whole(found) == whole(as_a_whole)
            assert running(units, found) == running(Units(), as_a_whole)

    anyio.run(run)


GROUP = Group(name="services", election="raft")
FRAME = Desired(instances=ELECTIONS[:1], groups=(GROUP,))


def part(number: int, port: int = 80) -> Desired:
    name = f"vip{number}"
    vip = VirtualIP(name=name, address=address(number), group="services", announcers=("arp",))
    web = LoadBalancer(name=f"web{number}", protocol="tcp", proxy="tcp", port=port, bind_to=(name,))
    return Desired(vips=(vip,), load_balancers=(web,))


def many(count: int) -> Desired:
    return evolve(FRAME, parts=parts_of((f"p{number}", part(number)) for number in range(count)))


class Counting:
    """Counts the calls of a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.calls, self._function = 0, function

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        return self._function(*args)


pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("count", [10, 1000])
async def test_a_change_costs_the_same_among_a_thousand_parts_as_among_ten(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, units, desired = Resolution(REGISTRY), Units(), many(count)
    running(units, await kept.update({"k8s": desired}))
    of_parts, of_frames = Counting(resolve_part), Counting(resolve_frame)
    monkeypatch.setattr(resolution, "resolve_part", of_parts)
    monkeypatch.setattr(resolution, "resolve_frame", of_frames)
    for number in (3, 7):
        desired = evolve(desired, parts=desired.parts.with_item(f"p{number}", part(number, port=81)))
        touched = list(units.take(await kept.update({"k8s": desired})))
        (keys,) = touched
        assert ("vip", f"vip{number}") in keys
        assert len(keys) == 5  # with the instances and the group that it shares with all
    assert (of_parts.calls, of_frames.calls) == (2, 0)


async def test_what_is_wanted_as_before_is_the_same_object() -> None:
    kept, desired = Resolution(REGISTRY), many(3)
    before = await kept.update({"k8s": desired})
    assert await kept.update({"k8s": evolve(desired)}) is before
    desired = evolve(desired, parts=desired.parts.with_item("p1", part(1)).without("p2"))
    after = await kept.update({"k8s": desired})
    assert list(after.parts.changed_since(before.parts)) == [("k8s", "p2")]
    assert after.vips is before.vips


async def test_parts_that_want_the_same_address_are_decided_by_their_names_and_freed_again() -> None:
    kept = Resolution(REGISTRY)
    thief = Desired(vips=(evolve(part(1).vips[0], name="thief"),))
    found = await kept.update({"k8s": evolve(FRAME, parts=parts_of([("z", thief), ("a", part(1)), ("b", part(2))]))})
    assert [vip.name for vip in found.vips] == ["vip1"]
    assert list(found.parts) == [("k8s", "b")]
    assert "10.0.0.2: virtual IP 'vip1' has it" in str(found.problems[0])
    found = await kept.update({"k8s": evolve(FRAME, parts=parts_of([("z", thief), ("b", part(2))]))})
    assert (found.vips, found.problems) == ((), ())
    assert {vip.name for it in found.parts.values() for vip in it.vips} == {"thief", "vip2"}


async def test_others_have_their_turn_while_many_parts_are_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    of_parts, in_a_turn = Counting(resolve_part), list[int]()
    monkeypatch.setattr(resolution, "resolve_part", of_parts)

    async def look() -> None:
        while of_parts.calls < 500:
            before = of_parts.calls
            await checkpoint()
            in_a_turn.append(of_parts.calls - before)

    async with create_task_group() as tg:
        tg.start_soon(look)
        await Resolution(REGISTRY).update({"k8s": many(500)})
    assert sum(in_a_turn) == 500
    assert max(in_a_turn) <= 2 * SLICE_PARTS  # trio: of two tasks whose turn it is either goes first


async def test_one_that_was_cancelled_begins_from_nothing() -> None:
    kept, desired = Resolution(REGISTRY), many(100)
    async with create_task_group() as tg:
        tg.start_soon(kept.update, {"k8s": desired})
        await checkpoint()
        await checkpoint()
        tg.cancel_scope.cancel()
    assert whole(await kept.update({"k8s": desired})) == whole(resolve([desired], REGISTRY))
