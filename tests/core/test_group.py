"""One group: when it stands, when it stands aside, and what it tells."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from anyio import create_task_group, sleep

from kubevip import Candidacy, Event, Group, Health, Leading, Level
from kubevip._board import Board
from kubevip._context import Context
from kubevip._group import ASIDE_SECONDS, GroupTask, Standing
from kubevip._observe import Observers
from kubevip._slot import Slot
from kubevip.abc import Announcer, Election
from kubevip.testing import FakeAnnouncer, ManualElection, Recorder

pytestmark = pytest.mark.anyio

FAILED = Health(level=Level.FAILED, reason="no such device")


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class Eager(ManualElection):
    """Leads as soon as it stands."""

    async def campaign(self, candidacy: Candidacy) -> None:
        self._term += 1
        candidacy.report(Leading(term=self._term, valid_until=1e9))
        await super().campaign(candidacy)


class Slow(FakeAnnouncer):
    """Has nothing that silences it at once."""

    soonest_takeover_seconds = 0.5


class Rig:
    def __init__(self) -> None:
        self.record = Recorder()
        self.election = ManualElection(self.record)
        self.elections = Slot[Election]()
        self.elections.content.set(self.election)
        self.announcer = Slot[Announcer]()
        self.announcer.content.set(FakeAnnouncer(self.record))
        self.board = Board(node="n1", instance="test")
        self.observers = Observers()
        self.context = Context(board=self.board, observers=self.observers, rng=Random(1))
        self.standing = Standing("api")
        self.told: list[tuple[str, Any]] = []

    def notify(self, event: Event) -> None:
        self.told.append((event.name, event.fields.get("leader", event.fields.get("term"))))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        group = Group(name="api", election="raft")
        task = GroupTask(group, self.standing, self.elections, [self.announcer], self.context)
        async with create_task_group() as tg:
            tg.start_soon(self.observers.follow, "ear", self)
            tg.start_soon(task.run)
            await sleep(0.1)
            yield
            tg.cancel_scope.cancel()


@pytest.fixture
def rig() -> Rig:
    return Rig()


async def test_it_stands_when_all_announcers_are_open_and_not_before(rig: Rig) -> None:
    rig.announcer.content.set(None)
    async with rig.running():
        await sleep(10)
        assert rig.record.words == []
        rig.announcer.content.set(FakeAnnouncer(rig.record))
        await sleep(1)
        assert rig.record.words == ["stand api"]


async def test_an_announcer_that_goes_later_does_not_end_the_candidacy(rig: Rig) -> None:
    async with rig.running():
        rig.announcer.content.set(None)
        await sleep(10)
        assert rig.record.words == ["stand api"]


async def test_the_election_is_told_how_soon_another_node_may_take_over(rig: Rig) -> None:
    """As of now: an announcer that was opened again may have lost its fence."""
    async with rig.running():
        candidacy = rig.election.candidacies["api"]
        assert candidacy.soonest_takeover() == 0
        rig.announcer.content.set(Slow(rig.record))
        assert candidacy.soonest_takeover() == 0.5
        rig.announcer.content.set(None)
        assert candidacy.soonest_takeover() == 0


async def test_an_election_that_fails_is_stood_in_again_after_a_pause(rig: Rig) -> None:
    async with rig.running():
        rig.election.fail("api")
        await sleep(0.5)
        (status,) = rig.board.snapshot().groups
        assert status.problem == "RuntimeError: the election of api failed as the test wanted"
        await sleep(2)
        assert rig.record.words == ["stand api", "stand api"]
        (status,) = rig.board.snapshot().groups
        assert status.problem == ""


async def test_an_election_that_is_opened_again_is_stood_in_again(rig: Rig) -> None:
    async with rig.running():
        await rig.elections.empty()
        rig.elections.content.set(rig.election)
        await sleep(1)
        assert rig.record.words == ["stand api", "release api", "stand api"]


async def test_an_unfit_leader_offers_the_group_ever_more_rarely_so_that_somebody_holds_when_nobody_is_fit(
    rig: Rig,
) -> None:
    rig.elections.content.set(Eager(rig.record))
    rig.standing.fitness.report("vip api", FAILED)
    async with rig.running():
        await sleep(1450)
    stands = [at for at, word in rig.record.entries if word == "stand api"]
    releases = [at for at, word in rig.record.entries if word == "release api"]
    held = [round(gone - came) for came, gone in zip(stands, releases, strict=False)]
    aside = {round(again - gone) for gone, again in zip(releases, stands[1:], strict=False)}
    assert held[:-1] == [0, 10, 40, 160, 600, 600]
    assert aside == {ASIDE_SECONDS}


async def test_a_leader_that_is_fit_again_before_its_offer_is_due_keeps_the_group(rig: Rig) -> None:
    rig.elections.content.set(Eager(rig.record))
    rig.standing.fitness.report("vip api", FAILED)
    async with rig.running():
        await sleep(ASIDE_SECONDS + 1)
        rig.standing.fitness.forget("vip api")
        await sleep(100)
    assert rig.record.words.count("stand api") == 2


async def test_a_fit_leader_stays_and_an_unfit_follower_stands_on(rig: Rig) -> None:
    async with rig.running():
        rig.standing.fitness.report("vip api", FAILED)
        await sleep(100)
        assert rig.record.words == ["stand api"]
        rig.standing.fitness.forget("vip api")
        rig.election.lead("api", 1000)
        await sleep(100)
        assert rig.record.words == ["stand api"]


async def test_an_election_that_knows_fitness_is_left_to_move_the_group_itself(rig: Rig) -> None:
    rig.election.follows_fitness = True  # type: ignore[attr-defined] # as raft does
    async with rig.running():
        rig.election.lead("api", 1000)
        rig.standing.fitness.report("vip api", FAILED)
        await sleep(100)
        assert rig.record.words == ["stand api"]
        assert rig.election.candidacies["api"].fitness.value == 0


async def test_each_change_of_leadership_is_told_once_and_renewals_are_not(rig: Rig) -> None:
    async with rig.running():
        for _ in range(3):
            rig.election.follow("api", "n2")
            await sleep(0.1)
        for _ in range(5):
            rig.election.lead("api", 1, term=7)
            await sleep(0.5)
        rig.election.follow("api", "n3")
        await sleep(0.1)
    assert rig.told[:3] == [("following", "n2"), ("leading", 7), ("following", "n3")]


async def test_status_says_who_leads_and_for_how_long(rig: Rig) -> None:
    async with rig.running():
        rig.election.follow("api", "n2")
        await sleep(0.1)
        (status,) = rig.board.snapshot().groups
        assert (status.is_leading, status.leader, status.lease_seconds_left) == (False, "n2", None)
        rig.election.lead("api", 10, term=3)
        await sleep(4)
        (status,) = rig.board.snapshot().groups
        assert (status.is_leading, status.leader, status.term) == (True, None, 3)
        assert status.lease_seconds_left == pytest.approx(6.0)
    assert rig.board.snapshot().groups == ()
