"""What all sources want together: merging, refusals, what is told and when."""

from __future__ import annotations

import logging
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest
from anyio import create_task_group, sleep, sleep_forever, to_thread
from anyio.lowlevel import checkpoint
from attrs import evolve

from kubevip import (
    Backend,
    Desired,
    Feed,
    Group,
    Instance,
    Kind,
    LoadBalancer,
    Place,
    Problem,
    Provider,
    Section,
    Severity,
    VirtualIP,
)
from kubevip._board import Board
from kubevip._persistent import PersistentMap
from kubevip._plugin import Origin, Plugin, built_in, load_plugin
from kubevip._plugins import PluginRegistry
from kubevip._sources import Sources, fold

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


def source(name: str) -> Instance:
    return Instance(kind=Kind.SOURCE, name=name, section=Section(provider="static"))


def announcing() -> PluginRegistry:
    from kubevip._builtin.plugin import SingleConfig

    bgp: Provider[Any, Any] = Provider(name="bgp", summary="", config=SingleConfig, open=lambda config, host: None)  # type: ignore[arg-type, return-value] # never opened
    plugin = Plugin(origin=Origin(name="bgp", distribution="x", load=lambda: None), providers=((Kind.ANNOUNCER, bgp),))
    return PluginRegistry([load_plugin(built_in()), plugin])


def vip(name: str, last: int) -> VirtualIP:
    return VirtualIP(name=name, address=IPv4Address(f"192.0.2.{last}"), group="all", announcers=("bgp",))


GROUP = Group(name="all", election="single")
ONE = Desired(groups=(GROUP,), vips=(vip("api", 1),), digest="aaaaaaaa", text_digest="0123abcd")
BROKEN = Problem(place=Place(file="config.yaml", line=3), message="expected a mapping")


class Rig:
    """Two sources, "first" and "second", that say what the test says."""

    def __init__(self, loaded: Mapping[str, Desired] | None = None) -> None:
        self.board = Board(node="n1", instance="test")
        base = Desired(instances=(source("first"), source("second")))
        self.sources = Sources(base, announcing(), self.board, loaded=loaded)
        self.feeds: dict[str, Feed] = {}

    async def run(self, feed: Feed) -> None:
        self.feeds[f"{len(self.feeds)}"] = feed
        await sleep_forever()

    async def start(self, tg: Any) -> tuple[Feed, Feed]:
        tg.start_soon(self.sources.run)
        for name in ("first", "second"):
            tg.start_soon(self.sources.follow, name, self)
            await sleep(0.1)
        return self.feeds["0"], self.feeds["1"]

    async def publish(self, feed: Feed, *snapshots: Desired) -> None:
        for desired in snapshots:
            feed.publish(desired)
            await sleep(0.1)

    def refused(self) -> tuple[Problem, ...]:
        return self.sources.refused.problems if self.sources.refused is not None else ()

    @property
    def wanted(self) -> list[tuple[str, int]]:
        resolved = self.sources.wanted.value
        assert resolved is not None
        return [(it.name, int(it.address) & 0xFF) for it in resolved.vips]


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Rig:
    async def at_once(merge: Callable[[], object], **how: object) -> object:
        await checkpoint()
        return merge()

    monkeypatch.setattr(to_thread, "run_sync", at_once)  # real threads know nothing of virtual time
    return Rig()


async def test_what_all_sources_want_is_wanted(rig: Rig) -> None:
    async with create_task_group() as tg:
        first, second = await rig.start(tg)
        assert not rig.sources.has_published.is_set()
        await rig.publish(second, Desired(vips=(vip("web", 2),)))
        await rig.publish(first, ONE)
        assert rig.sources.has_published.is_set()
        assert rig.wanted == [("api", 1), ("web", 2)]
        tg.cancel_scope.cancel()


async def test_on_equal_names_the_source_that_is_configured_first_wins_whoever_spoke_first(rig: Rig) -> None:
    async with create_task_group() as tg:
        first, second = await rig.start(tg)
        await rig.publish(second, Desired(groups=(GROUP,), vips=(vip("api", 9), vip("web", 2))))
        await rig.publish(first, ONE)
        assert rig.wanted == [("api", 1), ("web", 2)]
        assert any("api" in problem for problem in rig.board.problems)
        tg.cancel_scope.cancel()


async def test_the_newest_snapshot_of_a_source_replaces_its_last(rig: Rig) -> None:
    async with create_task_group() as tg:
        first, _ = await rig.start(tg)
        await rig.publish(first, ONE)
        await rig.publish(first, evolve(ONE, vips=(vip("web", 2),)))
        assert rig.wanted == [("web", 2)]
        tg.cancel_scope.cancel()


async def test_a_snapshot_that_says_nothing_new_changes_nothing(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    """Scenario 109."""
    caplog.set_level(logging.INFO, logger="kubevip.config")
    async with create_task_group() as tg:
        first, _ = await rig.start(tg)
        await rig.publish(first, ONE)
        before = rig.sources.wanted.value
        await rig.publish(first, evolve(ONE))
        assert rig.sources.wanted.value is before
        assert [record.getMessage() for record in caplog.records] == ["taken over source=first digest=aaaaaaaa"]
        tg.cancel_scope.cancel()


async def test_a_refusal_keeps_what_was_good_and_is_shown_until_something_good_follows(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenario 111."""
    async with create_task_group() as tg:
        first, _ = await rig.start(tg)
        await rig.publish(first, ONE)
        first.reject([BROKEN])
        assert rig.wanted == [("api", 1)]
        assert rig.refused() == (BROKEN,)
        assert "refused source=first: config.yaml:3: expected a mapping" in caplog.messages
        await rig.publish(first, ONE)  # mended: the same as before
        assert rig.refused() == ()
        tg.cancel_scope.cancel()


async def test_a_refusal_of_one_source_does_not_hide_that_of_another(rig: Rig) -> None:
    async with create_task_group() as tg:
        first, second = await rig.start(tg)
        first.reject([BROKEN])
        second.reject([evolve(BROKEN, message="later")])
        await rig.publish(second, Desired())
        assert rig.refused() == (BROKEN,)
        tg.cancel_scope.cancel()


async def test_a_source_that_fails_and_is_started_again_has_said_what_it_said(rig: Rig) -> None:
    async with create_task_group() as tg:
        first, _ = await rig.start(tg)
        await rig.publish(first, ONE)
        async with create_task_group() as inner:
            inner.start_soon(rig.sources.follow, "first", rig)
            await sleep(1)
            inner.cancel_scope.cancel()
        assert rig.wanted == [("api", 1)]
        tg.cancel_scope.cancel()


async def test_a_source_can_name_another_source_whose_word_goes_with_it(rig: Rig) -> None:
    async with create_task_group() as tg:
        first, _ = await rig.start(tg)
        await rig.publish(first, evolve(ONE, instances=(source("third"),)))
        tg.start_soon(rig.sources.follow, "third", rig)
        await sleep(0.1)
        await rig.publish(rig.feeds["2"], Desired(vips=(vip("web", 2),)))
        rig.feeds["2"].reject([BROKEN])
        assert rig.wanted == [("api", 1), ("web", 2)]
        await rig.publish(first, ONE)
        assert rig.wanted == [("api", 1)]
        assert rig.refused() == ()
        await rig.publish(rig.feeds["2"], Desired(vips=(vip("late", 3),)))
        assert rig.wanted == [("api", 1)]
        tg.cancel_scope.cancel()


async def test_a_problem_is_told_once_and_again_after_it_had_gone(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    lost = evolve(vip("lost", 3), group="nowhere")
    async with create_task_group() as tg:
        first, _ = await rig.start(tg)
        for _ in range(2):
            await rig.publish(first, evolve(ONE, vips=(lost,)))
            await rig.publish(first, evolve(ONE, vips=(lost, vip("web", 2))))
            await rig.publish(first, ONE)
        tg.cancel_scope.cancel()
    told = [record for record in caplog.records if "virtual IP 'lost'" in record.getMessage()]
    assert len(told) == 2
    assert rig.board.problems == ()


async def test_warnings_are_told_as_warnings(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    unused = evolve(ONE, groups=(GROUP, Group(name="unused", election="nobody")))
    async with create_task_group() as tg:
        first, _ = await rig.start(tg)
        await rig.publish(first, unused)
        assert rig.wanted == [("api", 1)]
        resolved = rig.sources.wanted.value
        assert resolved is not None
        levels = {str(problem): problem.severity for problem in resolved.problems}
        for record in caplog.records:
            expected = logging.WARNING if levels[record.getMessage()] is Severity.WARNING else logging.ERROR
            assert record.levelno == expected
        tg.cancel_scope.cancel()


async def test_asking_to_read_again_reaches_every_source(rig: Rig) -> None:
    async with create_task_group() as tg:
        first, second = await rig.start(tg)
        rig.sources.reload.set(1)
        assert (first.reload.value, second.reload.value) == (1, 1)
        assert first.status is rig.board.published
        tg.cancel_scope.cancel()


async def test_backends_that_come_and_go_are_no_new_configuration(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="kubevip.config")

    def wanted(*ports: int, name: str = "shop") -> Desired:
        backends = tuple(Backend(address="192.0.2.9", port=port) for port in ports)
        balancer = LoadBalancer(name=name, protocol="tcp", proxy="tcp", port=80, bind_to=("api",), backends=backends)
        part = Desired(vips=(vip("web", 2),), load_balancers=(evolve(balancer, name=f"{name}-of-a-part"),))
        return evolve(ONE, load_balancers=(balancer,), parts=PersistentMap[str, Desired]().with_item("web", part))

    rig = Rig()
    async with create_task_group() as tg:
        first, _ = await rig.start(tg)
        first.publish(wanted(1))
        await sleep(1)
        since, before, seen = rig.sources.since, len(caplog.messages), rig.sources.wanted.value
        for port in range(2, 10):
            first.publish(wanted(port))
            await sleep(1)
            assert rig.sources.wanted.value is not seen
            seen = rig.sources.wanted.value
        assert rig.sources.since == since
        assert caplog.messages[before:] == []
        first.publish(wanted(9, name="shopping"))
        await sleep(1)
        assert "taken over source=first digest=aaaaaaaa" in caplog.messages[before:]
        assert rig.sources.since is not None
        assert since is not None
        assert rig.sources.since > since
        tg.cancel_scope.cancel()


async def test_a_source_that_was_loaded_need_not_say_it_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="kubevip.config")
    rig = Rig(loaded={"first": ONE})
    assert rig.sources.has_published.is_set()
    assert rig.wanted == [("api", 1)]
    assert caplog.messages == ["taken over source=first digest=aaaaaaaa"]
    async with create_task_group() as tg:
        first, second = await rig.start(tg)
        assert (first.known, second.known) == ("0123abcd", "")
        tg.cancel_scope.cancel()


async def test_a_source_that_was_refused_says_all_of_it_when_it_is_restarted() -> None:
    rig = Rig(loaded={"first": ONE})
    async with create_task_group() as tg:
        first, _ = await rig.start(tg)
        first.reject([BROKEN])
        tg.start_soon(rig.sources.follow, "first", rig)
        await sleep(0.1)
        assert rig.feeds["2"].known == ""
        tg.cancel_scope.cancel()


def test_one_setting_that_leaves_out_hundreds_of_items_is_blamed_once() -> None:
    setting, elsewhere = Place(file="source k8s", path=("group",)), Place(file="config.yaml", line=3)
    no_group = Problem(place=setting, message="group 'apps' is left out: no election is configured")
    left_out = [
        Problem(place=setting, message=f"virtual IP '192.0.2.{last}' is left out: it needs group 'apps'")
        for last in range(1, 201)
    ]
    other = Problem(place=elsewhere, message="virtual IP 'x' is left out: it needs group 'apps'")
    warning = Problem(place=elsewhere, message="did you mean 'web'?", severity=Severity.WARNING)
    assert [str(problem) for problem in fold([no_group, *left_out, no_group, other, warning, warning])] == [
        "source k8s: group: group 'apps' is left out: no election is configured",
        "source k8s: group: virtual IP '192.0.2.1' is left out: it needs group 'apps' (and 199 more)",
        "config.yaml:3: virtual IP 'x' is left out: it needs group 'apps'",
        "config.yaml:3: did you mean 'web'?",
    ]
