"""Restarts: growing pauses, one line in the log, permanent errors, cancellation."""

from __future__ import annotations

import logging
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from anyio import CancelScope, create_task_group, current_time, move_on_after, sleep, sleep_forever
from hypothesis import given
from hypothesis import strategies as st

from kubevip._supervise import Backoff, causes, describe_error, is_permanent, supervise
from kubevip.errors import AnnounceError, ConfigError, NotPermittedError, Permanent, ProxyError

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class Refused(Permanent, AnnounceError):
    pass


class Thing:
    """Fails as told: each step is an error to raise, or seconds to run before the next step."""

    def __init__(self, *steps: BaseException | float) -> None:
        self.started: list[float] = []
        self.failures: list[BaseException] = []
        self._steps = list(steps)

    async def body(self) -> None:
        self.started.append(current_time())
        while self._steps:
            step = self._steps.pop(0)
            if isinstance(step, BaseException):
                raise step
            await sleep(step)
        await sleep_forever()

    async def run(self, seconds: float) -> None:
        with move_on_after(seconds):
            await supervise("vip api", self.body, failed=self.failures.append, rng=Random(1))

    @property
    def pauses(self) -> list[float]:
        return [after - before for before, after in pairwise(self.started)]


async def test_pauses_double_to_a_minute_and_are_jittered_by_a_quarter() -> None:
    thing = Thing(*(AnnounceError("no") for _ in range(9)))
    await thing.run(1000)
    nominal = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]
    assert all(0.75 * length <= pause <= 1.25 * length for pause, length in zip(thing.pauses, nominal, strict=True))
    assert len({pause / length for pause, length in zip(thing.pauses, nominal, strict=True)}) > 5


async def test_a_run_that_outlasts_its_pause_begins_with_short_pauses_again() -> None:
    thing = Thing(*(AnnounceError("no") for _ in range(5)), 300.0, AnnounceError("no"), 0.5, AnnounceError("no"))
    await thing.run(1000)
    after_long_run = thing.started[6] - thing.started[5] - 300.0
    assert 0.75 <= after_long_run <= 1.25
    assert 1.5 <= thing.pauses[-1] - 0.5 <= 2.5


@given(runs=st.lists(st.floats(min_value=0, max_value=1e6), max_size=30), seed=st.integers())
def test_no_pause_is_shorter_or_longer_than_promised(runs: list[float], seed: int) -> None:
    backoff = Backoff(Random(seed))
    pauses = [backoff.after(ran) for ran in runs]
    assert all(0.75 <= pause <= 75.0 for pause in pauses)


async def test_a_permanent_error_is_final_and_told(caplog: pytest.LogCaptureFixture) -> None:
    thing = Thing(Refused("no such device"))
    await thing.run(1e6)
    assert len(thing.started) == 1
    assert [str(error) for error in thing.failures] == ["no such device"]
    assert [record.getMessage() for record in caplog.records] == ["vip api stopped for good: no such device"]


async def test_a_permanent_error_beside_a_passing_one_is_tried_again() -> None:
    thing = Thing(ExceptionGroup("", [Refused("no such device"), ProxyError("port taken")]))
    await thing.run(10)
    assert len(thing.started) == 2


async def test_the_same_error_in_a_row_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="kubevip")
    thing = Thing(AnnounceError("no"), AnnounceError("no"), AnnounceError("other"), AnnounceError("no"))
    await thing.run(100)
    assert len(thing.failures) == 4
    told = [record.getMessage().split(":", 1)[1].strip() for record in caplog.records]
    assert told == ["no", "other", "no"]


async def test_the_same_error_after_a_long_good_run_is_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="kubevip")
    thing = Thing(AnnounceError("no"), 3600.0, AnnounceError("no"), AnnounceError("no"))
    await thing.run(10000)
    assert len(caplog.records) == 2


async def test_our_own_errors_come_without_a_traceback_and_foreign_ones_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await Thing(AnnounceError("no")).run(0.5)
    await Thing(KeyError("eth7")).run(0.5)
    assert [record.exc_info is not None for record in caplog.records] == [False, True]


async def test_a_body_that_returns_is_done() -> None:
    async def body() -> None:
        await sleep(1)

    began = current_time()
    await supervise("source file", body, failed=lambda error: None, rng=Random(1))
    assert current_time() - began == pytest.approx(1.0)


async def test_what_is_cancelled_while_its_cleaning_up_fails_ends_and_takes_nobody_along() -> None:
    """A withdrawal that fails during a stop is told, and neighbours never hear of it."""
    failures: list[BaseException] = []

    async def inner() -> None:
        try:
            await sleep_forever()
        finally:
            raise AnnounceError("the device is gone")

    async def body() -> None:
        async with create_task_group() as tg:
            tg.start_soon(inner)
            tg.start_soon(sleep_forever)
            await sleep_forever()

    scope = CancelScope()

    async def item() -> None:
        with scope:
            await supervise("vip api", body, failed=failures.append, rng=Random(1))

    async with create_task_group() as tg:
        tg.start_soon(item)
        await sleep(1)
        scope.cancel()
    assert [describe_error(error) for error in failures] == ["the device is gone"]


def test_an_error_reads_as_one_line_whatever_it_is_wrapped_in() -> None:
    group = ExceptionGroup("", [ExceptionGroup("", [AnnounceError("no device")]), KeyError("eth7")])
    assert describe_error(group) == "no device; KeyError: 'eth7'"
    assert [type(cause) for cause in causes(group)] == [AnnounceError, KeyError]


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (AnnounceError("x"), False),
        (NotPermittedError("x"), True),
        (ConfigError([]), True),
        (ExceptionGroup("", [NotPermittedError("x")]), True),
        (ExceptionGroup("", [NotPermittedError("x"), OSError()]), False),
    ],
)
def test_only_what_nobody_can_mend_by_waiting_is_permanent(error: BaseException, permanent: bool) -> None:
    assert is_permanent(error) is permanent
