from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_announce_arp._carrier import CarrierFilter
from kubevip_announce_arp._schedule import AnnouncementSchedule, ConflictPolicy, TokenBucket


@pytest.mark.parametrize(
    ("count", "interval", "refresh", "times"),
    [
        (3, 1.1, 60.0, [10.0, 11.1, 12.2, 72.2, 132.2]),
        (1, 1.1, 60.0, [10.0, 70.0, 130.0]),
        (2, 0.5, 0.0, [10.0, 10.5, math.inf]),
    ],
)
def test_the_first_announcement_is_at_once_then_repeats_then_refreshes(
    count: int, interval: float, refresh: float, times: list[float]
) -> None:
    schedule = AnnouncementSchedule(count, interval, refresh, 10.0)
    due: list[float] = []
    for _ in times:
        due.append(schedule.due_at)
        if schedule.due_at < math.inf:
            schedule.sent(schedule.due_at)
    assert due == pytest.approx(times)


def test_a_restart_announces_at_once_with_all_repeats() -> None:
    schedule = AnnouncementSchedule(2, 1.0, 60.0, 0.0)
    schedule.sent(0.0)
    schedule.sent(1.0)
    schedule.restart(30.0)
    assert schedule.due_at == 30.0
    schedule.sent(30.0)
    assert schedule.due_at == 31.0


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(1, 5)), min_size=1, max_size=100))
def test_no_more_than_the_rate_passes(takes: list[tuple[float, int]]) -> None:
    rate, burst = 50.0, 20.0
    bucket = TokenBucket(rate, burst, 0.0)
    now = 0.0
    sent: list[tuple[float, int]] = []
    for pause, frames in takes:
        now += pause
        sent.append((now + bucket.take(now, frames), frames))
    for first, (start, _) in enumerate(sent):
        total = 0
        for at, frames in sent[first:]:
            total += frames
            assert total <= burst + (at - start) * rate + 5 + 1e-6


def test_a_conflict_is_answered_once_in_ten_seconds() -> None:
    policy = ConflictPolicy(may_defend=True)
    seen = {now: policy.saw(now) for now in (0.0, 0.1, 9.9, 10.0, 15.0, 20.0)}
    assert seen == {
        0.0: (True, True),
        0.1: (False, False),
        9.9: (False, False),
        10.0: (True, True),
        15.0: (False, False),
        20.0: (True, True),
    }
    assert policy.settled_at == 80.0


def test_a_polite_holder_tells_and_does_not_answer() -> None:
    policy = ConflictPolicy(may_defend=False)
    assert policy.saw(0.0) == (True, False)


DOWN = "link e0 has no carrier"


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([(0.0, DOWN), (0.05, "")], [(1.0, ""), (5.0, "")]),  # a flap
        ([(0.0, DOWN)], [(0.05, ""), (0.1, DOWN), (9.0, DOWN)]),
        ([(0.0, DOWN), (2.0, "")], [(2.5, DOWN), (3.0, "")]),
        ([(0.0, DOWN), (2.0, ""), (2.5, DOWN)], [(3.0, DOWN), (9.0, DOWN)]),
        ([(0.0, DOWN), (0.05, "gone")], [(0.1, "gone")]),
    ],
)
def test_flaps_are_not_told(events: list[tuple[float, str]], told: list[tuple[float, str]]) -> None:
    carrier = CarrierFilter("", down_seconds=0.1, up_seconds=1.0)
    timeline = sorted([(at, trouble) for at, trouble in events] + [(at, None) for at, _ in told], key=lambda e: e[0])
    seen: list[tuple[float, str]] = []
    trouble = ""
    for at, new in timeline:
        while carrier.due_at < at:
            carrier.step(carrier.due_at, trouble)
        trouble = trouble if new is None else new
        said = carrier.step(at, trouble)
        if new is None:
            seen.append((at, said))
    assert seen == told
