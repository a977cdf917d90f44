"""What this machine's disk and timers are worth, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from kubevip_election_raft import _pace
from kubevip_election_raft._consensus.timing import DEFAULT, FAST, RELAXED
from kubevip_election_raft._pace import Pace, measure_late_seconds, measure_pace

if TYPE_CHECKING:
    from kubevip_election_raft._disk.storage import Storage

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class Disk:
    """Each sync takes the next of `seconds`."""

    def __init__(self, *seconds: float) -> None:
        self.seconds = list(seconds)

    def measure_sync_seconds(self) -> float:
        return self.seconds.pop(0)


@pytest.fixture(autouse=True)
def late(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let timers be late by the next of these."""
    figures = [0.0] * 9

    async def measure() -> float:
        return figures.pop(0)

    monkeypatch.setattr(_pace, "measure_late_seconds", measure)
    return figures


def disk(*seconds: float) -> Storage:
    return cast("Storage", Disk(*seconds))


async def test_a_good_machine_is_measured_once_and_nothing_is_said() -> None:
    assert await measure_pace(DEFAULT, disk(0.001)) == Pace(timing=DEFAULT)


async def test_a_disk_that_looks_slow_once_is_not_taken_for_slow() -> None:
    assert await measure_pace(DEFAULT, disk(0.2, 0.1, 0.002)) == Pace(timing=DEFAULT)


async def test_a_slow_disk_gets_a_promise_of_four_syncs_and_it_is_said() -> None:
    pace = await measure_pace(DEFAULT, disk(0.2, 0.1, 0.15))
    assert pace.timing.promise_seconds == pytest.approx(0.4)
    (warning,) = pace.warnings
    assert "a sync takes 100 ms, so the promise is 400 ms instead of 180" in warning


@pytest.mark.parametrize(
    ("timing", "seconds", "is_said"),
    [(DEFAULT, 0.024, False), (DEFAULT, 0.026, True), (FAST, 0.010, True), (RELAXED, 0.2, False)],
)
async def test_timers_that_are_late_for_the_time_spans_are_said(
    late: list[float], timing: Any, seconds: float, is_said: bool
) -> None:
    late[:] = [seconds, 0.9, seconds]
    pace = await measure_pace(timing, disk(0.001))
    assert pace.timing == timing
    assert any("wakes up as much as" in warning for warning in pace.warnings) == is_said


async def test_a_timer_that_was_late_once_is_not_taken_for_late(late: list[float]) -> None:
    late[:] = [0.9, 0.001]
    assert await measure_pace(DEFAULT, disk(0.001)) == Pace(timing=DEFAULT)


async def test_lateness_is_what_a_sleep_takes_too_long() -> None:
    assert await measure_late_seconds() == pytest.approx(0.0, abs=1e-3)  # virtual time is never late
