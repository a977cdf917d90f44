"""Checking a node for a group: which answers count, when they are asked for, and what becomes of the group."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from anyio import create_task_group, current_time, sleep, sleep_forever
from anyio.lowlevel import checkpoint

from kubevip import CheckResult, Event, Group, Leading, NodeCheck, Target
from kubevip._board import Board
from kubevip._context import Context
from kubevip._fitness import RISE_SECONDS, Fitness
from kubevip._group import GroupTask, Standing
from kubevip._node_check import HERE, NodeCheckTask, Tally
from kubevip._observe import Observers
from kubevip._slot import Slot
from kubevip.abc import Check, Election
from kubevip.testing import ManualElection

pytestmark = pytest.mark.anyio

GOOD, BAD = CheckResult(is_good=True), CheckResult(is_good=False, reason="/readyz: 500")


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


async def good() -> CheckResult:
    return GOOD


async def bad() -> CheckResult:
    return BAD


async def silent() -> CheckResult:
    await sleep_forever()
    raise AssertionError("unreachable")


async def broken() -> CheckResult:
    raise ValueError("no such page")


class FakeCheck:
    """Answers what `answer` says and records when it was asked."""

    def __init__(self) -> None:
        self.answer: Callable[[], Awaitable[CheckResult]] = good
        self.asked: list[float] = []
        self.targets: set[Target] = set()

    async def probe(self, target: Target) -> CheckResult:
        self.asked.append(current_time())
        self.targets.add(target)
        return await self.answer()


class Rig:
    def __init__(self) -> None:
        self.check = FakeCheck()
        self.slot = Slot[Check]()
        self.slot.content.set(self.check)
        self.fitness = Fitness()
        self.observers = Observers()
        self.context = Context(board=Board(node="n1", instance="test"), observers=self.observers, rng=Random(1))
        self.told: list[str] = []
        self.task = NodeCheckTask("api", NodeCheck(check="api"), self.slot, self.fitness, self.context)

    def notify(self, event: Event) -> None:
        self.told.append(f"{event.name} {event.fields['group']}")

    @property
    def fit(self) -> int:
        return self.fitness.value.value

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with create_task_group() as tg:
            tg.start_soon(self.fitness.run)
            tg.start_soon(self.observers.follow, "ear", self)
            await checkpoint()
            tg.start_soon(self.task.run)
            await sleep(0.1)
            yield
            tg.cancel_scope.cancel()


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize(
    ("answers", "verdicts"),
    [
        ("+", "+"),
        ("-", "-"),
        ("+--", "+++"),
        ("+---", "+++-"),
        ("+--+--", "++++++"),
        ("-+", "--"),
        ("-++", "--+"),
        ("-+-+-", "-----"),
        ("+---++---", "+++--+++-"),
    ],
)
def test_three_bad_answers_in_a_row_turn_it_and_two_good_ones_turn_it_back(answers: str, verdicts: str) -> None:
    tally, held = Tally(rise=2, fall=3), ""
    for answer in answers:
        before = tally.verdict
        changed = tally.count(answer == "+")
        assert changed == (before != tally.verdict)
        held += "+" if tally.verdict else "-"
    assert held == verdicts


async def test_the_node_itself_is_asked_every_two_seconds(rig: Rig) -> None:
    async with rig.running():
        await sleep(10)
    assert [round(at - rig.check.asked[0], 1) for at in rig.check.asked] == [0, 2, 4, 6, 8, 10]
    assert rig.check.targets == {HERE}
    assert rig.fit == 100


async def test_a_node_that_fails_three_times_is_unfit_and_says_why(rig: Rig) -> None:
    async with rig.running():
        rig.check.answer = bad
        await sleep(4)
        assert rig.fit == 100
        await sleep(2)
        assert rig.fit == 0
        assert rig.fitness.reason == "health check: /readyz: 500"
        assert rig.told == ["fit api", "unfit api"]


async def test_a_node_that_is_well_again_is_fit_after_two_good_answers_that_lasted(rig: Rig) -> None:
    rig.check.answer = bad
    async with rig.running():
        assert rig.fit == 0
        rig.check.answer = good
        await sleep(2 + 2 + RISE_SECONDS - 0.2)
        assert rig.fit == 0
        await sleep(0.2)
        assert rig.fit == 100
        assert rig.fitness.reason == ""


async def test_no_answer_is_a_bad_one_and_does_not_delay_the_next(rig: Rig) -> None:
    rig.check.answer = silent
    async with rig.running():
        await sleep(4)
    assert [round(at - rig.check.asked[0], 1) for at in rig.check.asked] == [0, 2, 4]
    assert rig.fitness.reason == "health check: no answer within 1 s"


async def test_a_check_that_raises_has_failed_and_is_tried_again(rig: Rig) -> None:
    rig.check.answer = broken
    async with rig.running():
        assert rig.fit == 0
        assert rig.fitness.reason == "health check: ValueError: no such page"
        rig.check.answer = good
        await sleep(10)
        assert rig.fit == 100


async def test_a_check_that_is_opened_again_changes_nothing_until_it_has_an_answer(rig: Rig) -> None:
    rig.check.answer = bad
    async with rig.running():
        await rig.slot.empty()
        await sleep(100)
        assert rig.fit == 0


async def test_a_check_that_is_no_longer_wanted_is_left_out(rig: Rig) -> None:
    rig.check.answer = bad
    async with rig.running():
        assert rig.fit == 0
    rig.task.forget()
    assert rig.fit == 100


async def test_no_renewal_waits_for_an_answer_and_an_ill_leader_gives_the_group_up(rig: Rig) -> None:
    """The leader lives, what it is to lead for does not."""
    election, elections = ManualElection(), Slot[Election]()
    elections.content.set(election)
    standing = Standing("api")
    rig.fitness = standing.fitness
    task = NodeCheckTask("api", NodeCheck(check="api"), rig.slot, standing.fitness, rig.context)
    group = GroupTask(Group(name="api", election="raft"), standing, elections, [], rig.context)
    async with create_task_group() as tg:
        tg.start_soon(group.run)
        tg.start_soon(task.run)
        await sleep(0.1)
        term = election.lead("api", 1)
        rig.check.answer = silent
        renewed = 0
        while standing.campaign.tenure.value is not None:
            election.candidacies["api"].report(Leading(term=term, valid_until=current_time() + 1))
            renewed += 1
            await sleep(0.1)
        assert 60 <= renewed <= 90  # three times 2 s and the last answer's second, at ten renewals a second
        tg.cancel_scope.cancel()
