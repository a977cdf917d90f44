"""Fitness of a group: a fall counts at once, a rise when it has lasted."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anyio import create_task_group, current_time, sleep
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubevip import Health, Level
from kubevip._fitness import LONGEST_RISE_SECONDS, PARTLY_FIT, RISE_SECONDS, STEADY_SECONDS, Fitness

pytestmark = pytest.mark.anyio

GOOD, DEGRADED, FAILED = (Health(level=level, reason=level.name.lower()) for level in reversed(Level))


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@asynccontextmanager
async def running() -> AsyncGenerator[Fitness]:
    fitness = Fitness()
    async with create_task_group() as tg:
        tg.start_soon(fitness.run)
        yield fitness
        tg.cancel_scope.cancel()


async def test_a_node_that_nobody_complains_of_is_fit() -> None:
    assert Fitness().value.value == 100


async def test_a_fall_counts_at_once_and_says_why() -> None:
    async with running() as fitness:
        fitness.report("vip api", GOOD)
        fitness.report("vip api", FAILED)
        assert (fitness.value.value, fitness.reason) == (0, "vip api: failed")


async def test_the_worst_part_counts() -> None:
    async with running() as fitness:
        fitness.report("vip api", DEGRADED)
        fitness.report("vip web", FAILED)
        assert fitness.value.value == 0
        fitness.forget("vip web")
        assert (fitness.value.value, fitness.reason) == (50, "vip api: degraded")
        fitness.forget("vip api")
        assert (fitness.value.value, fitness.reason) == (100, "")


async def test_thousands_of_parts_that_are_well_are_not_looked_at_again() -> None:
    class Counted(Health):  # counts who asks for its level
        looks = 0

        def __getattribute__(self, name: str) -> Any:
            Counted.looks += name == "level"
            return super().__getattribute__(name)

    fitness = Fitness()
    for number in range(1000):
        fitness.report(f"vip v{number}", Counted())
    Counted.looks = 0
    fitness.report("vip v7", DEGRADED)
    fitness.forget("vip v7")
    assert fitness.value.value == 100
    assert Counted.looks < 10


async def test_the_first_report_of_a_part_counts_at_once_whatever_it_is() -> None:
    async with running() as fitness:
        fitness.report("vip api", DEGRADED)
        assert fitness.value.value == 50


async def test_a_rise_counts_after_it_has_lasted_and_not_before() -> None:
    async with running() as fitness:
        fitness.report("vip api", FAILED)
        await sleep(10)
        fitness.report("vip api", GOOD)
        await sleep(RISE_SECONDS - 0.1)
        assert fitness.value.value == 0
        await sleep(0.2)
        assert fitness.value.value == 100


async def test_an_interface_that_flaps_keeps_the_node_unfit_until_it_is_steady() -> None:
    """Scenario 30: the carrier goes faster than the debounce time."""
    async with running() as fitness:
        fitness.report("device", FAILED)
        for _ in range(20):
            await sleep(1)
            fitness.report("device", GOOD)
            await sleep(1)
            fitness.report("device", FAILED)
            assert fitness.value.value == 0
        fitness.report("device", GOOD)
        await sleep(RISE_SECONDS + 0.1)
        assert fitness.value.value == 100


async def test_a_flapping_node_changes_its_fitness_once_per_bad_spell() -> None:
    """Scenario 33: an address is not dragged back and forth."""
    changes: list[int] = []
    async with running() as fitness:

        async def watch() -> None:
            seen: int | None = None
            while True:
                seen = await fitness.value.wait_for_change(seen)
                changes.append(seen)

        async with create_task_group() as tg:
            tg.start_soon(watch)
            await sleep(1)
            for _ in range(50):
                fitness.report("vip api", FAILED)
                await sleep(0.3)
                fitness.report("vip api", GOOD)
                await sleep(0.3)
            await sleep(10)
            tg.cancel_scope.cancel()
    assert changes == [100, 0, 100]


async def test_a_part_that_stays_well_longer_does_not_delay_another() -> None:
    async with running() as fitness:
        fitness.report("one", FAILED)
        fitness.report("two", FAILED)
        fitness.report("one", GOOD)
        await sleep(2)
        fitness.report("two", GOOD)
        await sleep(2)
        assert (fitness.value.value, fitness.reason) == (0, "two: failed")
        await sleep(1.1)
        assert fitness.value.value == 100


async def test_a_rise_in_two_steps_counts_each_when_it_has_lasted() -> None:
    async with running() as fitness:
        fitness.report("vip api", FAILED)
        fitness.report("vip api", DEGRADED)
        await sleep(2)
        fitness.report("vip api", GOOD)
        await sleep(1.1)
        assert fitness.value.value == 50
        await sleep(2)
        assert fitness.value.value == 100


async def test_a_part_that_is_forgotten_while_it_rises_stays_forgotten() -> None:
    async with running() as fitness:
        fitness.report("vip api", FAILED)
        fitness.report("vip api", DEGRADED)
        fitness.forget("vip api")
        await sleep(10)
        assert (fitness.value.value, fitness.reason) == (100, "")


# Addresses


@asynccontextmanager
async def of_two() -> AsyncGenerator[Fitness]:
    """Run the fitness of a group of two addresses that are both well."""
    async with running() as fitness:
        for address in ("vip api", "vip web"):
            fitness.expect(address)
            fitness.report(address, Health())
        yield fitness


async def test_one_address_of_two_that_fails_while_it_is_up_leaves_the_node_partly_fit() -> None:
    async with of_two() as fitness:
        fitness.raised("vip api")
        fitness.report("vip api", FAILED)
        assert (fitness.value.value, fitness.reason) == (PARTLY_FIT, "vip api: failed")


async def test_one_that_is_refused_when_it_is_tried_is_no_reason_to_go_elsewhere_and_one_that_was_foreseen_is() -> None:
    async with of_two() as fitness:
        fitness.refuse("vip api", "in use", is_foreseen=False)
        assert fitness.value.value == 50
        fitness.refuse("vip api", "no such device", is_foreseen=True)
        assert fitness.value.value == PARTLY_FIT


async def test_a_node_that_can_hold_no_address_is_unfit_until_it_can_hold_one() -> None:
    async with of_two() as fitness:
        fitness.refuse("vip api", "in use", is_foreseen=False)
        fitness.refuse("vip web", "no such device", is_foreseen=True)
        assert fitness.value.value == 0
        fitness.report("vip web", GOOD)
        await sleep(RISE_SECONDS + 0.1)
        assert fitness.value.value == 50


async def test_an_address_that_is_not_there_yet_may_well_be_held() -> None:
    async with running() as fitness:
        fitness.expect("vip api")
        fitness.expect("vip web")
        fitness.refuse("vip api", "no such device", is_foreseen=True)
        assert fitness.value.value == PARTLY_FIT
        fitness.forget("vip web")
        assert fitness.value.value == 0
        fitness.forget("vip api")
        assert fitness.value.value == 100


async def test_whatever_ails_an_address_the_node_itself_may_be_worse() -> None:
    async with of_two() as fitness:
        fitness.refuse("vip api", "no such device", is_foreseen=True)
        fitness.report("drain", FAILED)
        assert (fitness.value.value, fitness.reason) == (0, "drain: failed")
        fitness.forget("drain")
        assert fitness.value.value == PARTLY_FIT


async def seconds_until_fit(fitness: Fitness) -> float:
    began = current_time()
    await fitness.value.wait_until(lambda value: value == 100)
    return current_time() - began


async def test_an_address_that_fails_whenever_it_is_tried_is_believed_ever_more_slowly() -> None:
    waited: list[float] = []
    async with of_two() as fitness:
        for _ in range(6):
            fitness.refuse("vip api", "in use", is_foreseen=False)
            await sleep(1)
            fitness.report("vip api", Health())  # it could be tried again
            fitness.refuse("vip api", "in use", is_foreseen=False)  # which is the same failure still
            fitness.report("vip api", Health())
            waited.append(round(await seconds_until_fit(fitness)))
    assert waited == [3, 12, 48, 192, 600, 600]
    assert LONGEST_RISE_SECONDS == 600


async def test_an_address_that_is_up_need_not_be_believed() -> None:
    async with of_two() as fitness:
        for _ in range(4):
            fitness.refuse("vip api", "in use", is_foreseen=False)
            fitness.report("vip api", Health())
            await seconds_until_fit(fitness)
        fitness.refuse("vip api", "in use", is_foreseen=False)
        fitness.report("vip api", Health())
        await sleep(10)
        assert fitness.value.value == 50
        fitness.raised("vip api")
        await sleep(0.1)
        assert fitness.value.value == 100


@pytest.mark.parametrize(("up_seconds", "waits"), [(STEADY_SECONDS - 1, 48), (STEADY_SECONDS, 3)])
async def test_an_address_that_was_up_for_a_while_is_forgiven(up_seconds: float, waits: float) -> None:
    async with of_two() as fitness:
        for _ in range(2):
            fitness.refuse("vip api", "in use", is_foreseen=False)
            fitness.report("vip api", Health())
            await seconds_until_fit(fitness)
        fitness.raised("vip api")
        await sleep(up_seconds)
        fitness.report("vip api", FAILED)
        fitness.lowered("vip api")
        fitness.report("vip api", Health())
        assert round(await seconds_until_fit(fitness)) == waits


REPORTS = st.lists(
    st.tuples(st.sampled_from([GOOD, DEGRADED, FAILED]), st.sampled_from([0.0, 0.5, 1.0, 2.9, 3.1, 4.0])), max_size=25
)


@given(reports=REPORTS)
@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_fitness_is_the_worst_that_was_reported_within_the_rise_time(
    reports: list[tuple[Health, float]],
) -> None:
    told: list[tuple[float, Health]] = []
    async with running() as fitness:
        for health, seconds in reports:
            told.append((current_time(), health))
            fitness.report("vip api", health)
            await sleep(seconds + 0.0005)  # past a rise that is due at this very instant, whichever task runs first
            since = current_time() - RISE_SECONDS
            # what was in force at the start of the window, and everything that came within it
            recent = [health for at, health in told if at > since + 0.001]
            before = [health for at, health in told if at <= since + 0.001]
            expected = min((*recent, *before[-1:]), key=lambda health: health.level).level
            if not before:
                expected = min(expected, told[0][1].level)
            assert fitness.value.value == expected, told
