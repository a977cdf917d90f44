"""The clock of the protocol; scenario A 12: a step of the wall clock has no effect."""

from __future__ import annotations

import time

import pytest

from kubevip_election_raft._clock import SLEEP_SECONDS, Clock


class Times:
    """What the clocks of a machine show."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.boot, self.monotonic = 1000.0, 990.0
        monkeypatch.setattr(time, "clock_gettime", self.read)

    def read(self, clock: int) -> float:
        return {time.CLOCK_BOOTTIME: self.boot, time.CLOCK_MONOTONIC: self.monotonic}[clock]

    def run(self, seconds: float) -> None:
        self.boot += seconds
        self.monotonic += seconds


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Times:
    return Times(monkeypatch)


def test_only_the_clocks_that_nobody_can_set_are_read(times: Times) -> None:
    """Scenario A 12: `Times` knows no other clock."""
    clock = Clock()
    assert clock.now() == 1000.0
    assert not clock.has_slept()


def test_a_machine_that_runs_has_not_slept(times: Times) -> None:
    clock = Clock()
    times.run(3600.0)
    assert not clock.has_slept()


@pytest.mark.parametrize(("seconds", "slept"), [(SLEEP_SECONDS / 2, False), (SLEEP_SECONDS * 2, True), (3600.0, True)])
def test_a_suspended_machine_has_slept_once(times: Times, seconds: float, slept: bool) -> None:
    clock = Clock()
    times.boot += seconds
    assert clock.has_slept() == slept
    assert not clock.has_slept()
    times.run(1.0)
    assert not clock.has_slept()


def test_a_stall_between_two_readings_is_not_sleep(times: Times, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()

    def stalled(which: int) -> float:
        value = times.read(which)
        times.run(0.5)
        return value

    monkeypatch.setattr(time, "clock_gettime", stalled)
    assert not clock.has_slept()
    monkeypatch.setattr(time, "clock_gettime", times.read)
    assert not clock.has_slept()
