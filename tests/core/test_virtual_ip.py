"""One virtual IP: whatever is cancelled when, what came up goes down in order and nothing stays."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from random import Random
from typing import Any

import pytest
from anyio import CancelScope, Event, create_task_group, fail_after, sleep, sleep_forever
from anyio.lowlevel import checkpoint
from attrs import evolve

from kubevip import Health, Latest, Leading, Level, LoadBalancer, Placement, Tenure, VirtualIP
from kubevip._board import Board
from kubevip._bound_listeners import LISTEN_SECONDS, BoundListener
from kubevip._context import Context
from kubevip._fitness import Fitness
from kubevip._leadership import Campaign
from kubevip._observe import Observers
from kubevip._persistent import PersistentMap
from kubevip._slot import Slot
from kubevip._virtual_ip import VirtualIPTask
from kubevip.abc import Announcer, Proxy
from kubevip.errors import AnnounceError, Permanent, ProxyError
from kubevip.testing import FakeAnnouncer, FakeProxy, FakeStandbyProxy, ManualElection, Recorder

pytestmark = pytest.mark.anyio

API = VirtualIP(name="api", address=IPv4Address("192.0.2.1"), group="api", announcers=("address", "arp"))
PORT = LoadBalancer(name="port", protocol="tcp", proxy="tcp", port=6443, bind_to=("api",))

#: What is taken down when, by what was brought up; "release" comes last of all.
COUNTERPART = {
    "listen port": "close port",
    "address announce api": "address withdraw api",
    "arp announce api": "arp withdraw api",
}


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class Rig:
    """A virtual IP over fakes: the listener takes 20 ms to listen, each announcer 20 ms to enter and 10 to leave."""

    def __init__(self, proxy: type[FakeProxy] = FakeProxy) -> None:
        self.record = Recorder()
        self.election = ManualElection(self.record)
        self.campaign, self.fitness = Campaign("api"), Fitness()
        self.address = FakeAnnouncer(self.record, enter_seconds=0.02, leave_seconds=0.01, name="address")
        self.arp = FakeAnnouncer(self.record, enter_seconds=0.02, leave_seconds=0.01, name="arp")
        self.proxy = proxy(self.record, enter_seconds=0.02)
        self.announcers = (Slot[Announcer](), Slot[Announcer]())
        for slot, announcer in zip(self.announcers, (self.address, self.arp), strict=True):
            slot.content.set(announcer)
        self.proxies = Slot[Proxy]()
        self.proxies.content.set(self.proxy)
        self.board = Board(node="n1", instance="test")
        self.context = Context(board=self.board, observers=Observers(), rng=Random(1))

    def bound(self, balancer: LoadBalancer = PORT) -> BoundListener:
        return BoundListener(balancer=balancer, proxy=self.proxies)

    def task(self, vip: VirtualIP = API, *balancers: LoadBalancer) -> VirtualIPTask:
        listeners = Latest(tuple(self.bound(balancer) for balancer in balancers))
        return VirtualIPTask(vip, self.campaign, self.announcers, listeners, self.fitness, self.context)

    async def stand(self) -> None:
        await self.campaign.run(self.election, fitness=self.fitness.value, placement=Placement(), grace_seconds=1.0)

    @asynccontextmanager
    async def leading(self, *tasks: VirtualIPTask, seconds: float = 1000) -> AsyncGenerator[None]:
        async with create_task_group() as tg:
            tg.start_soon(self.fitness.run)
            tg.start_soon(self.stand)
            async with create_task_group() as items:
                for task in tasks:
                    items.start_soon(task.run)
                await sleep(0.01)
                self.election.lead("api", seconds)
                yield
                items.cancel_scope.cancel()
            tg.cancel_scope.cancel()

    @property
    def holding(self) -> list[str]:
        """What was recorded of the tenures alone."""
        return [word for word in self.record.words if word.split()[0] not in ("ready", "relay", "unready")]

    @property
    def held(self) -> list[tuple[str, bool, Health]]:
        return [(vip.name, vip.is_held, vip.health) for vip in self.board.snapshot().vips]


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.fixture
def ready_rig() -> Rig:
    """Return a rig whose proxy can stand by."""
    return Rig(FakeStandbyProxy)


@pytest.fixture(params=[FakeProxy, FakeStandbyProxy])
def any_rig(request: pytest.FixtureRequest) -> Rig:
    """Return a rig for each kind of proxy."""
    return Rig(request.param)


def assert_unwound(words: list[str]) -> None:
    """Everything that came up went down, the listener first, the first announcer last."""
    up = [word for word in words if word in COUNTERPART]
    down = [word for word in words if word in COUNTERPART.values()]
    order = [word for word in ("listen port", "arp announce api", "address announce api") if word in up]
    assert down == [COUNTERPART[word] for word in order], words


# Cancelled at any moment


@pytest.mark.parametrize("milliseconds", range(0, 80, 3))
async def test_cancelled_while_going_up_all_is_withdrawn_in_order_before_the_release(
    any_rig: Rig, milliseconds: int
) -> None:
    async with create_task_group() as tg:
        tg.start_soon(any_rig.stand)
        tg.start_soon(any_rig.task(API, PORT).run)
        await sleep(0.01)
        any_rig.election.lead("api", 1000)
        await sleep(milliseconds / 1000)
        tg.cancel_scope.cancel()
    assert_unwound(any_rig.record.words)
    assert any_rig.holding[-1] == "release api"
    assert any_rig.board.listeners.now == PersistentMap()


@pytest.mark.parametrize("milliseconds", range(0, 80, 3))
async def test_a_tenure_that_ends_while_going_up_leaves_nothing(any_rig: Rig, milliseconds: int) -> None:
    async with any_rig.leading(any_rig.task(API, PORT)):
        await sleep(milliseconds / 1000)
        any_rig.election.follow("api", "n2")
        await sleep(1)
        assert_unwound(any_rig.record.words)
        assert [held for _, held, _ in any_rig.held] == [False]


@pytest.mark.parametrize("passes", range(40))
async def test_cancelled_after_any_number_of_steps_all_is_withdrawn_in_order(any_rig: Rig, passes: int) -> None:
    for fake in (any_rig.address, any_rig.arp, any_rig.proxy):
        fake._enter = 0.0  # all that is left are the steps of the scheduler
    async with create_task_group() as tg:
        tg.start_soon(any_rig.stand)
        tg.start_soon(any_rig.task(API, PORT).run)
        await sleep(0.01)
        any_rig.election.lead("api", 1000)
        for _ in range(passes):
            await checkpoint()
        tg.cancel_scope.cancel()
    assert_unwound(any_rig.record.words)
    assert any_rig.holding[-1] == "release api"


@pytest.mark.parametrize("milliseconds", range(0, 80, 3))
async def test_a_service_that_goes_while_going_up_is_let_go_and_used_when_it_is_back(
    any_rig: Rig, milliseconds: int
) -> None:
    async with any_rig.leading(any_rig.task(API, PORT)):
        await sleep(milliseconds / 1000)
        await any_rig.announcers[1].empty()
        assert "arp announce api" not in any_rig.record.words or "arp withdraw api" in any_rig.record.words
        await sleep(1)
        assert_unwound(any_rig.record.words)
        any_rig.record.clear()
        any_rig.announcers[1].content.set(any_rig.arp)
        await sleep(1)
        assert any_rig.holding == ["listen port", "address announce api", "arp announce api"]


# What fails


async def test_an_announcer_that_crashes_while_it_holds_is_entered_again_and_the_address_returns(rig: Rig) -> None:
    crash = Latest(0)

    class Crashing(FakeAnnouncer):
        @asynccontextmanager
        async def announce(
            self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]
        ) -> AsyncGenerator[None]:
            async with super().announce(vip, tenure, report), create_task_group() as tg:

                async def fall() -> None:
                    seen = crash.value
                    await crash.wait_for_change(seen)
                    raise AnnounceError("api: the device went away")

                tg.start_soon(fall)
                yield
                tg.cancel_scope.cancel()

    rig.announcers[1].content.set(Crashing(rig.record, name="arp"))
    async with rig.leading(rig.task(API, PORT)):
        await sleep(1)
        rig.record.clear()
        crash.set(1)
        await sleep(0.5)
        assert sorted(rig.record.words) == ["address withdraw api", "arp withdraw api", "close port"]
        assert rig.record.words.index("arp withdraw api") < rig.record.words.index("address withdraw api")
        assert (rig.fitness.value.value, rig.fitness.reason) == (0, "vip api: api: the device went away")
        await sleep(2)
        assert rig.record.words[3:] == ["listen port", "address announce api", "arp announce api"]
        await sleep(3)
        assert rig.fitness.value.value == 100
        assert rig.held == [("api", True, Health())]


async def test_an_inner_announcer_that_refuses_takes_the_outer_and_the_listener_down(rig: Rig) -> None:
    rig.arp.refusal = AnnounceError("api: no such device eth7")
    async with rig.leading(rig.task(API, PORT)):
        await sleep(0.5)
        assert sorted(rig.record.words[1:]) == [
            "address announce api",
            "address withdraw api",
            "close port",
            "listen port",
        ]
        assert rig.held == [("api", False, Health(level=Level.FAILED, reason="api: no such device eth7"))]


class Refused(Permanent, AnnounceError):
    pass


async def test_an_address_that_is_refused_for_good_keeps_the_node_unfit_and_is_not_tried_again(rig: Rig) -> None:
    rig.address.refusal = Refused("api: not permitted")
    async with rig.leading(rig.task(API), seconds=1e6):
        await sleep(1000)
        rig.address.refusal = None
        await sleep(1000)
        assert "address announce api" not in rig.record.words
        assert rig.fitness.value.value == 0


async def test_a_withdrawal_that_fails_does_not_keep_the_next_tenure_from_raising_the_address(rig: Rig) -> None:
    """Scenario 37."""
    failing = [True]

    class Stuck(FakeAnnouncer):
        @asynccontextmanager
        async def announce(
            self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]
        ) -> AsyncGenerator[None]:
            async with super().announce(vip, tenure, report):
                try:
                    yield
                finally:
                    if failing.pop() if failing else False:
                        raise AnnounceError("api: cannot be taken off eth0")

    rig.announcers[0].content.set(Stuck(rig.record, name="address"))
    async with rig.leading(rig.task(API)):
        await sleep(1)
        rig.election.follow("api", "n2")
        await sleep(1)
        rig.record.clear()
        rig.election.lead("api", 100)
        await sleep(3)
        assert rig.record.words == ["address announce api", "arp announce api"]


# Listeners


class NotListening(Permanent, ProxyError):
    pass


async def test_a_listener_that_hangs_holds_the_address_up_for_a_second_at_most(rig: Rig) -> None:
    rig.proxy._enter = 1e6
    async with rig.leading(rig.task(API, PORT)):
        await sleep(LISTEN_SECONDS + 0.1)
        assert rig.record.words[1:] == ["address announce api", "arp announce api"]


async def test_listeners_that_came_while_the_address_is_held_do_not_disturb_it(rig: Rig) -> None:
    task = rig.task(API)
    async with rig.leading(task):
        await sleep(1)
        rig.record.clear()
        task.listeners.set((rig.bound(),))
        await sleep(1)
        task.listeners.set((rig.bound(evolve(PORT, port=6444)),))
        await sleep(1)
        assert sorted(rig.record.words) == ["close port", "drain port 10", "listen port", "listen port"]
        assert [status.on for status in rig.board.snapshot().listeners] == ["192.0.2.1:6444"]


async def test_a_listener_that_is_removed_no_longer_counts(rig: Rig) -> None:
    rig.proxy.refusal = ProxyError("192.0.2.1:6443 is taken")
    task = rig.task(API, PORT)
    async with rig.leading(task):
        await sleep(1)
        assert rig.fitness.value.value == 50
        task.listeners.set(())
        await sleep(1)
        assert rig.fitness.value.value == 100


async def test_the_same_load_balancer_on_two_addresses_of_a_group_counts_for_each(rig: Rig) -> None:
    """One port that is taken on one address is not outvoted by the other, which is well."""

    class TakenOnOne(FakeProxy):
        @asynccontextmanager
        async def serve(self, listener: Any, report: Any) -> AsyncGenerator[Any]:
            if listener.address == API.address:
                raise NotListening("192.0.2.1:6443 is not permitted")
            async with super().serve(listener, report) as serving:
                yield serving

    rig.proxies.content.set(TakenOnOne(rig.record, enter_seconds=0.5))
    api6 = evolve(API, name="api6", address=IPv4Address("192.0.2.6"))
    async with rig.leading(rig.task(API, PORT), rig.task(api6, PORT)):
        await sleep(10)
        assert rig.fitness.value.value == 50


async def test_a_virtual_ip_that_is_removed_takes_the_troubles_of_its_listeners_along(rig: Rig) -> None:
    rig.proxy.refusal = ProxyError("192.0.2.1:6443 is taken")
    async with rig.leading():
        async with create_task_group() as tg:
            tg.start_soon(rig.task(API, PORT).run)
            await sleep(1)
            assert rig.fitness.value.value == 50
            tg.cancel_scope.cancel()
        assert rig.fitness.value.value == 100


# Listeners that stand by


async def test_a_listener_that_stands_by_only_listens_in_a_takeover_and_relays_when_the_address_is_there(
    ready_rig: Rig,
) -> None:
    rig = ready_rig
    task = rig.task(API, PORT)
    async with create_task_group() as tg:
        tg.start_soon(task.run)
        await sleep(1)
        assert rig.record.words == ["ready port"]
        assert rig.board.listeners.now == PersistentMap()
        tg.start_soon(rig.stand)
        await sleep(0.01)
        for _ in range(2):
            rig.record.clear()
            rig.election.lead("api", 1000)
            await sleep(1)
            assert rig.record.words == ["listen port", "address announce api", "arp announce api", "relay port"]
            assert [status.is_listening for status in rig.board.snapshot().listeners] == [True]
            rig.election.follow("api", "n2")
            await sleep(1)
            assert rig.record.words[4:] == ["close port", "arp withdraw api", "address withdraw api"]
            assert rig.board.listeners.now == PersistentMap()
        tg.cancel_scope.cancel()
    assert sorted(rig.record.words[-2:]) == ["release api", "unready port"]


async def test_a_listener_that_cannot_stand_by_makes_the_node_less_fit_before_it_leads(ready_rig: Rig) -> None:
    rig = ready_rig
    rig.proxy.refusal = ProxyError("192.0.2.1:6443 is taken")
    async with create_task_group() as tg:
        tg.start_soon(rig.task(API, PORT).run)
        await sleep(1)
        assert (rig.fitness.value.value, rig.fitness.reason) == (
            50,
            "listener port of vip api: 192.0.2.1:6443 is taken",
        )
        tg.cancel_scope.cancel()


async def test_a_listener_that_cannot_listen_holds_nothing_up_and_is_tried_again(ready_rig: Rig) -> None:
    rig = ready_rig
    assert isinstance(rig.proxy, FakeStandbyProxy)
    rig.proxy.deafness = ProxyError("192.0.2.1:6443 is taken")
    task = rig.task(API, PORT)
    async with create_task_group() as tg:
        tg.start_soon(task.run)
        await sleep(1)
        tg.start_soon(rig.stand)
        await sleep(0.01)
        rig.record.clear()
        rig.election.lead("api", 1000)
        await sleep(0.1)
        assert rig.record.words == ["unready port", "address announce api", "arp announce api"]
        assert [status.health.problem for status in rig.board.snapshot().listeners] == ["192.0.2.1:6443 is taken"]
        assert rig.fitness.value.value == 50
        rig.proxy.deafness = None
        await sleep(3)
        assert rig.record.words[3:] == ["ready port", "listen port", "relay port"]
        assert [status.is_listening for status in rig.board.snapshot().listeners] == [True]
        tg.cancel_scope.cancel()


async def test_a_proxy_that_comes_back_while_the_address_is_held_listens_and_relays(ready_rig: Rig) -> None:
    rig = ready_rig
    async with rig.leading(rig.task(API, PORT)):
        await sleep(1)
        rig.record.clear()
        await rig.proxies.empty()
        assert rig.record.words == ["close port", "unready port"]
        rig.proxies.content.set(rig.proxy)
        await sleep(1)
        assert rig.record.words[2:] == ["ready port", "listen port", "relay port"]


async def test_a_listener_that_is_removed_drains_and_is_cut_when_its_address_goes(any_rig: Rig) -> None:
    rig = any_rig
    task = rig.task(API, PORT)
    async with rig.leading(task):
        await sleep(1)
        rig.record.clear()
        task.listeners.set(())
        await sleep(0.1)
        assert [word for word in rig.record.words if word != "unready port"] == ["drain port 10", "close port"]


class SlowToDrain(FakeProxy):
    """Relays what it has until it is cut, and takes 50 ms for that."""

    @asynccontextmanager
    async def serve(self, listener: Any, report: Any) -> AsyncGenerator[Any]:
        cut = Event()

        class Draining:
            def set_drain(self, seconds: float) -> None:
                if seconds == 0:
                    cut.set()

        try:
            yield Draining()
        finally:
            with CancelScope(shield=True):
                await cut.wait()
                await sleep(0.05)
            self._record(f"close {listener.name}")


async def test_what_drains_has_heard_of_its_end_before_its_address_goes() -> None:
    rig = Rig(SlowToDrain)
    task = rig.task(API, PORT)
    async with rig.leading(task):
        await sleep(1)
        rig.record.clear()
        task.listeners.set(())
        await sleep(1)
        assert rig.record.words == []
        rig.election.follow("api", "n2")
        await sleep(1)
        assert rig.record.words == ["close port", "arp withdraw api", "address withdraw api"]


async def test_an_address_is_withdrawn_also_when_its_listener_cannot_be_closed() -> None:
    class Unclosable(FakeStandbyProxy):
        @asynccontextmanager
        async def stand_by(self, listener: Any, report: Any) -> AsyncGenerator[Any]:
            async with super().stand_by(listener, report) as standby:
                close = standby.close

                async def fail() -> None:
                    await close()
                    raise RuntimeError("a mistake in the proxy")

                standby.close = fail  # type: ignore[method-assign]
                try:
                    yield standby
                finally:
                    standby.close = close  # type: ignore[method-assign]

    rig = Rig(Unclosable)
    with fail_after(1000):
        async with rig.leading(rig.task(API, PORT)):
            await sleep(1)
            rig.record.clear()
            rig.election.follow("api", "n2")
            await sleep(1)
            assert rig.record.words == ["close port", "arp withdraw api", "address withdraw api"]
            assert [held for _, held, _ in rig.held] == [False]


# Standing


async def test_a_virtual_ip_that_waits_for_an_announcer_does_not_stand_in_the_way_of_its_siblings(rig: Rig) -> None:
    rig.announcers[1].content.set(None)
    sibling = evolve(API, name="web", announcers=("address",))
    listeners: Latest[tuple[BoundListener, ...]] = Latest(())
    other = VirtualIPTask(sibling, rig.campaign, rig.announcers[:1], listeners, rig.fitness, rig.context)
    async with rig.leading(rig.task(API), other):
        await sleep(1)
        assert rig.record.words[1:] == ["address announce web"]


async def test_renewals_disturb_nothing(rig: Rig) -> None:
    async with rig.leading(rig.task(API, PORT), seconds=1):
        for _ in range(100):
            await sleep(0.5)
            rig.election.lead("api", 1, term=1)
        assert rig.record.words[1:] == ["listen port", "address announce api", "arp announce api"]


async def test_an_election_that_gives_leadership_away_waits_until_all_is_withdrawn(rig: Rig) -> None:
    withdrawn: list[list[str]] = []

    class Handing:
        async def campaign(self, candidacy: Any) -> None:
            candidacy.report(Leading(term=1, valid_until=1e9))
            await sleep(1)
            rig.election.candidacies["api"] = candidacy
            rig.election.follow("api", "n2")
            await candidacy.withdrawn()
            withdrawn.append(list(rig.record.words))
            await sleep_forever()

    async with create_task_group() as tg:
        tg.start_soon(rig.task(API, PORT).run)

        async def stand() -> None:
            await rig.campaign.run(Handing(), fitness=Latest(100), placement=Placement(), grace_seconds=1.0)

        tg.start_soon(stand)
        await sleep(5)
        tg.cancel_scope.cancel()
    (words,) = withdrawn
    assert words[-1] == "address withdraw api"
    assert_unwound(words)


async def test_a_stop_that_is_shielded_from_nothing_still_ends_in_bounded_time(rig: Rig) -> None:
    """An announcer that takes its time leaving is waited for, but no longer than it says."""
    rig.address._leave = 0.9
    scope = CancelScope()
    async with create_task_group() as tg:

        async def run() -> None:
            with scope:
                async with create_task_group() as inner:
                    inner.start_soon(rig.stand)
                    inner.start_soon(rig.task(API).run)

        tg.start_soon(run)
        await sleep(0.01)
        rig.election.lead("api", 1000)
        await sleep(1)
        scope.cancel()
    times = dict((word, at) for at, word in rig.record.entries)
    assert times["release api"] - times["arp withdraw api"] == pytest.approx(0.9, abs=0.01)
