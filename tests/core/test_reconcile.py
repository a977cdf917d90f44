"""Whole configurations of fakes: order in and out, restarts, replacement, failures that stay where they are."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio import CancelScope, create_task_group, current_time, sleep, sleep_forever
from attrs import evolve, frozen

from kubevip import (
    Backend,
    Cause,
    CheckResult,
    Group,
    Health,
    Host,
    Kind,
    Latest,
    Leading,
    Level,
    Listener,
    ListenerHealth,
    LoadBalancer,
    NodeCheck,
    Provider,
    Serving,
    Target,
    Tenure,
    VirtualIP,
)
from kubevip._board import Board
from kubevip._context import Context
from kubevip._fitness import PARTLY_FIT, RISE_SECONDS
from kubevip._observe import Observers
from kubevip._reconcile import QUIET_SECONDS, RELIEF_SECONDS, STOP_DRAIN_SECONDS, Reconciler
from kubevip._resolved import Resolved, ResolvedInstance
from kubevip.errors import AnnounceError, ElectionError, Permanent, ProxyError
from kubevip.testing import FakeAnnouncer, FakeProxy, ManualElection, Recorder, make_host

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@frozen
class NoConfig:
    generation: int = 0


class Rig:
    """A reconciler over fakes, all of which record into one list."""

    def __init__(self, state_dir: Path) -> None:
        self.record = Recorder()
        self.election = ManualElection(self.record)
        self.outer = FakeAnnouncer(self.record, leave_seconds=0.1, name="address")
        self.inner = FakeAnnouncer(self.record, name="arp")
        self.proxy = FakeProxy(self.record)
        self.opening: dict[str, Exception | None] = {}
        self.board = Board(node="n1", instance="test")
        context = Context(board=self.board, observers=Observers(), rng=Random(1))
        self.reconciler = Reconciler(make_host(state_dir), context, released=lambda: self.record("released"))
        self.wanted: Latest[Resolved | None] = Latest(None)
        services = {
            (Kind.ELECTION, "raft"): self.election,
            (Kind.ANNOUNCER, "address"): self.outer,
            (Kind.ANNOUNCER, "arp"): self.inner,
            (Kind.PROXY, "tcp"): self.proxy,
        }
        self.providers = {key: self._provider(key[1], service) for key, service in services.items()}

    def _provider(self, name: str, service: object) -> Provider[NoConfig, Any]:
        def open_fake(config: NoConfig, host: Host) -> AbstractAsyncContextManager[Any]:
            return self._open(name, service)

        return Provider(name=name, summary="", config=NoConfig, open=open_fake, protocols=("tcp",))

    @asynccontextmanager
    async def _open(self, name: str, service: object) -> AsyncGenerator[Any]:
        if (refusal := self.opening.get(name)) is not None:
            raise refusal
        self.record(f"open {name}")
        try:
            yield service
        finally:
            self.record(f"close {name}")

    def resolved(self, *vips: VirtualIP, balancers: tuple[LoadBalancer, ...] = (), generation: int = 0) -> Resolved:
        instances = tuple(
            ResolvedInstance(kind=kind, name=name, provider=provider, config=NoConfig(generation))
            for (kind, name), provider in self.providers.items()
        )
        groups = tuple(Group(name=name, election="raft") for name in dict.fromkeys(vip.group for vip in vips))
        return Resolved(instances=instances, groups=groups, vips=vips, load_balancers=balancers)

    @asynccontextmanager
    async def running(self, resolved: Resolved) -> AsyncGenerator[None]:
        async with create_task_group() as tg:
            tg.start_soon(self.reconciler.run, self.wanted)
            self.wanted.set(resolved)
            await sleep(0.1)
            yield
            tg.cancel_scope.cancel()

    async def change(self, resolved: Resolved, seconds: float = 1.0) -> None:
        self.record.clear()
        self.wanted.set(resolved)
        await sleep(seconds)


API = VirtualIP(name="api", address=IPv4Address("192.0.2.1"), group="api")
WEB = VirtualIP(name="web", address=IPv4Address("192.0.2.2"), group="web")
BOUND = LoadBalancer(name="apiserver", protocol="tcp", proxy="tcp", port=6443, bind_to=("api",))
SHOP = LoadBalancer(name="shop", protocol="tcp", proxy="tcp", port=80)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


async def test_in_goes_listener_address_announcement_and_out_goes_listener_announcement_address_release(
    rig: Rig,
) -> None:
    async with rig.running(rig.resolved(API, balancers=(BOUND,))):
        rig.record.clear()
        rig.election.lead("api", 100)
        await sleep(1)
        assert rig.record.words == ["listen apiserver", "address announce api", "arp announce api"]
        rig.record.clear()
        await rig.change(rig.resolved())
        assert rig.record.words == ["close apiserver", "arp withdraw api", "address withdraw api", "release api"]


async def test_a_lost_tenure_takes_the_listener_before_the_address(rig: Rig) -> None:
    async with rig.running(rig.resolved(API, balancers=(BOUND,))):
        rig.election.lead("api", 100)
        await sleep(1)
        rig.record.clear()
        rig.election.follow("api", "n2")
        await sleep(1)
        assert rig.record.words == ["close apiserver", "arp withdraw api", "address withdraw api"]
        assert rig.board.snapshot().vips[0].holder == "n2"


async def test_stopping_everything_withdraws_then_releases_then_closes_services(rig: Rig) -> None:
    async with rig.running(rig.resolved(API, balancers=(BOUND, SHOP))):
        rig.election.lead("api", 100)
        await sleep(1)
        rig.record.clear()
    order = [word for word in rig.record.words if " shop" not in word]
    assert order[:5] == ["close apiserver", "arp withdraw api", "address withdraw api", "release api", "released"]
    assert sorted(order[5:]) == ["close address", "close arp", "close raft", "close tcp"]


class RelievedElection(ManualElection):
    """An election that has its groups placed elsewhere when it is asked to, or hangs."""

    def __init__(self, record: Callable[[str], None], seconds: float) -> None:
        super().__init__(record)
        self._note, self._seconds = record, seconds

    async def relieve(self) -> None:
        await sleep(self._seconds)
        self._note("relieved")


@pytest.mark.parametrize(("seconds", "takes", "words"), [(0.2, 0.2, ["relieved"]), (60.0, RELIEF_SECONDS, [])])
async def test_others_take_over_before_anything_is_withdrawn_but_nobody_is_waited_for_long(
    tmp_path: Path, seconds: float, takes: float, words: list[str]
) -> None:
    rig = Rig(tmp_path)
    rig.providers[Kind.ELECTION, "raft"] = rig._provider("raft", RelievedElection(rig.record, seconds))
    async with rig.running(rig.resolved(API)):
        rig.record.clear()
        began = current_time()
        await rig.reconciler.relieve()
        assert current_time() - began == pytest.approx(takes)
        assert rig.record.words == words


class GivingAway(ManualElection):
    """Has its groups placed elsewhere, and returns when nothing of them is up here."""

    async def relieve(self) -> None:
        for group, candidacy in self.candidacies.items():
            self.follow(group, "n2", seconds=10)
            assert candidacy.withdrawn is not None
            await candidacy.withdrawn()


async def test_who_gave_everything_away_keeps_quiet_for_a_moment(rig: Rig) -> None:
    rig.election = GivingAway(rig.record)
    rig.providers[Kind.ELECTION, "raft"] = rig._provider("raft", rig.election)
    async with rig.running(rig.resolved(API)):
        rig.election.lead("api", 100)
        await sleep(1)
        rig.record.clear()
        began = current_time()
        await rig.reconciler.relieve()
        assert rig.record.words == ["arp withdraw api", "address withdraw api"]
        assert current_time() - began == pytest.approx(0.1 + QUIET_SECONDS)  # the address takes 0.1 s to leave


async def test_an_election_that_cannot_be_relieved_stops_all_the_same(rig: Rig) -> None:
    async with rig.running(rig.resolved(API)):
        await rig.reconciler.relieve()  # ManualElection knows nothing of it


class DrainingProxy:
    """Whatever leaves it has connections that would go on for ever."""

    @asynccontextmanager
    async def serve(self, listener: Listener, report: Callable[[ListenerHealth], None]) -> AsyncGenerator[Serving]:
        drained = CancelScope(shield=True, deadline=math.inf)

        class Draining:
            def set_backends(self, backends: Sequence[Backend]) -> None:
                pass

            def set_drain(self, seconds: float) -> None:
                drained.deadline = current_time() + seconds

        try:
            yield Draining()
        finally:
            with drained:
                await sleep_forever()


@pytest.mark.parametrize(("drained_before", "drains_on"), [(1.0, STOP_DRAIN_SECONDS), (9.0, 1.0)])
async def test_a_stop_cuts_short_what_is_draining_already(rig: Rig, drained_before: float, drains_on: float) -> None:
    rig.providers[Kind.PROXY, "tcp"] = rig._provider("tcp", DrainingProxy())
    shop = evolve(SHOP, drain_seconds=10.0)
    async with rig.running(rig.resolved(balancers=(shop,))):
        await rig.change(rig.resolved(), seconds=drained_before)
        asked = current_time()
    assert current_time() - asked == pytest.approx(drains_on)


async def test_the_announcers_are_open_before_the_candidacy_begins(rig: Rig) -> None:
    async with rig.running(rig.resolved(API)):
        assert rig.record.words.index("stand api") == len(rig.record.words) - 1


async def test_a_bound_listener_can_come_and_go_while_the_address_stays(rig: Rig) -> None:
    """Scenario 110."""
    async with rig.running(rig.resolved(API)):
        rig.election.lead("api", 1000)
        await sleep(1)
        await rig.change(rig.resolved(API, balancers=(BOUND,)))
        assert rig.record.words == ["listen apiserver"]
        await rig.change(
            rig.resolved(API, balancers=(evolve(BOUND, backends=(Backend(address="192.0.2.9", port=1),)),))
        )
        assert rig.record.words == ["backends apiserver 1"]
        await rig.change(rig.resolved(API))
        assert rig.record.words == ["drain apiserver 10", "close apiserver"]


async def test_a_changed_address_comes_up_before_the_old_one_goes_and_the_candidacy_stays(rig: Rig) -> None:
    """Scenario 115."""
    async with rig.running(rig.resolved(API)):
        rig.election.lead("api", 1000)
        await sleep(1)
        await rig.change(rig.resolved(evolve(API, address=IPv4Address("192.0.2.7"))))
        assert rig.record.words == [
            "address announce api",
            "arp announce api",
            "arp withdraw api",
            "address withdraw api",
        ]
        status = rig.board.snapshot().vips
        assert [(vip.address, vip.is_held) for vip in status] == [(IPv4Address("192.0.2.7"), True)]


async def test_one_virtual_ip_changes_and_the_other_is_not_touched(rig: Rig) -> None:
    async with rig.running(rig.resolved(API, WEB)):
        rig.election.lead("api", 1000)
        rig.election.lead("web", 1000)
        await sleep(1)
        await rig.change(rig.resolved(evolve(API, interface="eth1"), WEB))
        assert not [word for word in rig.record.words if "web" in word]
        assert "address announce api" in rig.record.words


async def test_a_changed_service_unwinds_what_depends_on_it_and_brings_it_back(rig: Rig) -> None:
    async with rig.running(rig.resolved(API)):
        rig.election.lead("api", 1000)
        await sleep(1)
        changed = rig.resolved(API)
        address = ResolvedInstance(
            kind=Kind.ANNOUNCER, name="arp", provider=rig.providers[Kind.ANNOUNCER, "arp"], config=NoConfig(1)
        )
        kept = tuple(it for it in changed.instances if it.name != "arp")
        await rig.change(evolve(changed, instances=(*kept, address)))
        assert rig.record.words == [
            "arp withdraw api",
            "address withdraw api",
            "close arp",
            "open arp",
            "address announce api",
            "arp announce api",
        ]


async def test_an_address_that_cannot_be_raised_fails_alone_and_ends_neither_candidacy_nor_siblings(
    rig: Rig,
) -> None:
    """Scenario 118."""
    rig.election.follows_fitness = True  # type: ignore[attr-defined] # as raft does
    api6 = VirtualIP(name="api6", address=IPv4Address("192.0.2.6"), group="api")
    async with rig.running(rig.resolved(API, api6)):
        original = rig.outer.announce

        def announce(vip: VirtualIP, tenure: Any, report: Callable[[Health], None]) -> Any:
            if vip.name == "api":
                raise AnnounceError("api: the address belongs to another host; remove it there")
            return original(vip, tenure, report)

        rig.outer.announce = announce  # type: ignore[method-assign]
        rig.election.lead("api", 1000)
        await sleep(0.5)
        assert rig.election.candidacies["api"].fitness.value == 50
        assert "address announce api6" in rig.record.words
        assert not [word for word in rig.record.words if word.startswith(("release", "address withdraw"))]
        status = {vip.name: vip for vip in rig.board.snapshot().vips}
        assert status["api"].health == Health(
            level=Level.FAILED, reason="api: the address belongs to another host; remove it there"
        )
        assert status["api6"].is_held


async def test_a_node_that_lost_its_link_while_it_held_is_fit_again_a_while_after(rig: Rig) -> None:
    rig.election.follows_fitness = True  # type: ignore[attr-defined] # as raft does
    async with rig.running(rig.resolved(API)):
        rig.election.lead("api", 1000)
        await sleep(1)
        rig.outer.reports["api"](Health(level=Level.FAILED, reason="link e0 has no carrier"))
        rig.election.follow("api", "n2")
        await sleep(RISE_SECONDS - 0.5)
        assert rig.election.candidacies["api"].fitness.value == 0
        await sleep(1)
        assert rig.election.candidacies["api"].fitness.value == 100


async def test_an_address_that_was_not_raised_because_the_tenure_ended_is_no_failure(rig: Rig) -> None:
    rig.election.follows_fitness = True  # type: ignore[attr-defined] # as raft does
    async with rig.running(rig.resolved(API)):

        @asynccontextmanager
        async def announce(vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]) -> AsyncGenerator[None]:
            with CancelScope(shield=True):
                while tenure.remaining_seconds > 0:
                    await sleep(0.01)
            if tenure.remaining_seconds <= 0:
                raise AnnounceError("the leadership ended meanwhile")
            yield

        rig.inner.announce = announce  # type: ignore[method-assign]
        rig.election.lead("api", 0.5)
        await sleep(1)
        assert rig.election.candidacies["api"].fitness.value == 100
        assert "address withdraw api" in rig.record.words


async def test_an_announcer_gets_ready_before_the_candidacy_and_lets_go_after_the_withdrawal(rig: Rig) -> None:
    @asynccontextmanager
    async def prepare(vip: VirtualIP) -> AsyncGenerator[None]:
        rig.record(f"prepare {vip.name}")
        yield
        rig.record(f"unprepare {vip.name}")

    rig.inner.prepare = prepare  # type: ignore[attr-defined]
    async with rig.running(rig.resolved(API)):
        rig.election.lead("api", 1000)
        await sleep(1)
        words = rig.record.words
        assert words.index("prepare api") < words.index("address announce api")
        assert words.count("prepare api") == 1


async def test_an_address_that_cannot_be_announced_here_makes_the_node_unfit_before_it_leads(rig: Rig) -> None:
    @asynccontextmanager
    async def prepare(vip: VirtualIP) -> AsyncGenerator[None]:
        if vip.name == "api":
            raise AnnounceError("virtual IP api: this machine has no device ens19")
        yield

    rig.inner.prepare = prepare  # type: ignore[attr-defined]
    async with rig.running(rig.resolved(API)):
        assert rig.election.candidacies["api"].fitness.value == 0


async def test_a_node_that_cannot_announce_one_address_of_a_group_is_partly_fit(rig: Rig) -> None:
    @asynccontextmanager
    async def prepare(vip: VirtualIP) -> AsyncGenerator[None]:
        if vip.name == "api":
            raise AnnounceError("virtual IP api: this machine has no device ens19")
        yield

    rig.inner.prepare = prepare  # type: ignore[attr-defined]
    api6 = VirtualIP(name="api6", address=IPv4Address("192.0.2.6"), group="api")
    async with rig.running(rig.resolved(API, api6)):
        assert rig.election.candidacies["api"].fitness.value == PARTLY_FIT
        await rig.change(rig.resolved(api6))
        assert rig.election.candidacies["api"].fitness.value == 100


async def test_a_drained_node_is_unfit_for_groups_that_come_later_too(rig: Rig) -> None:
    rig.election.follows_fitness = True  # type: ignore[attr-defined] # as raft does
    async with rig.running(rig.resolved(API)):
        rig.reconciler.drain()
        await rig.change(rig.resolved(API, WEB))
        assert [rig.election.candidacies[group].fitness.value for group in ("api", "web")] == [0, 0]
        rig.reconciler.drain(undo=True)
        assert [rig.election.candidacies[group].fitness.value for group in ("api", "web")] == [100, 100]


async def test_an_unfit_leader_stands_aside_with_growing_pauses_where_the_election_does_not_know_fitness(
    rig: Rig,
) -> None:
    rig.outer.refusal = AnnounceError("no")
    async with rig.running(rig.resolved(API)):
        rig.record.clear()
        rig.election.lead("api", 1000)
        await sleep(1)
        assert rig.record.words == ["release api"]
        await sleep(2)
        assert rig.record.words == ["release api", "stand api"]


async def test_a_listener_whose_port_is_taken_does_not_keep_the_address_away(rig: Rig) -> None:
    """Scenario 106."""
    rig.proxy.refusal = ProxyError("192.0.2.1:6443 is taken by process 42")
    async with rig.running(rig.resolved(API, balancers=(BOUND,))):
        rig.election.lead("api", 1000)
        await sleep(1)
        assert "address announce api" in rig.record.words
        (listener,) = rig.board.snapshot().listeners
        assert (listener.is_listening, listener.health.problem) == (False, "192.0.2.1:6443 is taken by process 42")
        rig.proxy.refusal = None
        await sleep(5)
        assert "listen apiserver" in rig.record.words
        assert rig.board.snapshot().listeners[0].is_listening


class Refused(Permanent, ElectionError):
    pass


async def test_a_service_that_is_refused_for_good_is_not_tried_again(rig: Rig) -> None:
    rig.opening["raft"] = Refused("peers have no keys; see --insecure")
    async with rig.running(rig.resolved(API)):
        await sleep(1000)
        task = rig.reconciler.service(Kind.ELECTION, "raft")
        assert task is not None
        assert isinstance(task.refused, Refused)
        assert "stand api" not in rig.record.words


async def test_a_service_that_fails_to_open_is_tried_again_and_found(rig: Rig) -> None:
    rig.opening["arp"] = AnnounceError("no such device")
    async with rig.running(rig.resolved(API)):
        await sleep(10)
        assert "stand api" not in rig.record.words
        del rig.opening["arp"]
        await sleep(60)
        assert rig.record.words[-1] == "stand api"


async def test_the_board_tells_who_holds_what(rig: Rig) -> None:
    async with rig.running(rig.resolved(API, WEB)):
        rig.election.lead("api", 1000)
        rig.election.follow("web", "n3")
        await sleep(1)
        snapshot = rig.board.snapshot()
        assert [(vip.name, vip.is_held, vip.holder) for vip in snapshot.vips] == [
            ("api", True, "n1"),
            ("web", False, "n3"),
        ]
        assert [(group.name, group.is_leading, group.leader) for group in snapshot.groups] == [
            ("api", True, None),
            ("web", False, "n3"),
        ]
        assert {service.state for service in snapshot.services} == {"open"}


async def test_the_board_tells_why_an_address_came_here_and_how_long_it_was_away(rig: Rig) -> None:
    async with rig.running(rig.resolved(API)):
        now = current_time()
        cause = Cause(why="n3 is silent", silent_since=now - 0.17, stood_at=now - 0.01)
        rig.election.candidacies["api"].report(Leading(term=1, valid_until=now + 100, cause=cause))
        await sleep(1)
        (vip,) = rig.board.snapshot().vips
        assert vip.why == "n3 is silent"
        assert vip.last_outage is not None
        assert [round(part) for part in vip.last_outage.parts] == [160, 10, 0, 0]
        rig.election.follow("api", "n2")
        await sleep(1)
        (vip,) = rig.board.snapshot().vips
        assert (vip.is_held, vip.why) == (False, "")
        assert vip.last_outage is not None


async def test_an_address_that_comes_after_a_takeover_had_no_outage(rig: Rig) -> None:
    api6 = VirtualIP(name="api6", address=IPv4Address("192.0.2.6"), group="api")
    async with rig.running(rig.resolved(API)):
        now = current_time()
        cause = Cause(why="n3 is silent", silent_since=now - 0.17, stood_at=now - 0.01)
        rig.election.candidacies["api"].report(Leading(term=1, valid_until=now + 1000, cause=cause))
        await sleep(60)
        await rig.change(rig.resolved(API, api6))
        await sleep(1)
        outages = {vip.name: vip.last_outage for vip in rig.board.snapshot().vips}
        assert outages["api6"] is None
        assert outages["api"] is not None


async def test_an_address_that_is_raised_again_in_the_same_tenure_keeps_its_last_outage(rig: Rig) -> None:
    async with rig.running(rig.resolved(API)):
        now = current_time()
        cause = Cause(why="n3 is silent", silent_since=now - 0.17, stood_at=now - 0.01)
        rig.election.candidacies["api"].report(Leading(term=1, valid_until=now + 1000, cause=cause))
        await sleep(60)
        (before,) = rig.board.snapshot().vips
        address = ResolvedInstance(
            kind=Kind.ANNOUNCER, name="arp", provider=rig.providers[Kind.ANNOUNCER, "arp"], config=NoConfig(1)
        )
        changed = rig.resolved(API)
        kept = tuple(it for it in changed.instances if it.name != "arp")
        await rig.change(evolve(changed, instances=(*kept, address)))
        await sleep(1)
        assert rig.record.words[-1] == "arp announce api"
        (after,) = rig.board.snapshot().vips
        assert after.is_held
        assert after.last_outage == before.last_outage


class FakeCheck:
    """A health check that answers `is_good`."""

    is_good = True

    async def probe(self, target: Target) -> CheckResult:
        return CheckResult(is_good=self.is_good, reason="" if self.is_good else "/readyz: 500")


async def test_a_health_check_comes_changes_and_goes_while_the_group_is_held(rig: Rig) -> None:
    check = FakeCheck()
    rig.providers[Kind.CHECK, "api"] = rig._provider("check", check)
    plain = rig.resolved(API)

    def checked(node_check: NodeCheck) -> Resolved:
        return evolve(plain, groups=(evolve(plain.groups[0], health_check=node_check),))

    async with rig.running(plain):
        await sleep(1)
        rig.record.clear()
        rig.wanted.set(checked(NodeCheck(check="api")))
        await sleep(10)
        check.is_good = False
        await sleep(7)  # three probes, and not in the instant of one
        (status,) = rig.board.snapshot().groups
        assert (status.fitness, status.problem) == (0, "health check: /readyz: 500")
        rig.wanted.set(checked(NodeCheck(check="api", fall=5)))
        await sleep(0.5)
        assert rig.board.snapshot().groups[0].fitness == 0
        rig.wanted.set(plain)
        await sleep(0.5)
        (status,) = rig.board.snapshot().groups
        assert (status.fitness, status.problem) == (100, "")
        assert rig.record.words == []  # nobody stood again
