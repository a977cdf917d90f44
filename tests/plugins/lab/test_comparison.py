from __future__ import annotations

from typing import Any

import pytest

from kubevip_lab._comparison import Comparison, Row, compare
from kubevip_lab._failover import Figures
from kubevip_lab._machine import Machine
from kubevip_lab._round import Round

MACHINE = Machine(kernel="6.1.0", processors=2, tick_ms=4.0, sync_p99_ms=0.81)


def figures(fault: str, subject: str, *outages: float, **fields: Any) -> Figures:
    rounds = tuple(
        Round(
            **{
                "fault": fault,
                "at": "2026-11-22T10:15:02.123Z",
                "holder_before": "n1",
                "holder_after": "n2",
                "outage_ms": outage,
                "outage_after_ms": 0.0,
                "tcp_outage_ms": outage + 1,
                "tcp_outage_after_ms": 0.0,
                "follower_outage_ms": 0.0,
                "repair_outage_ms": 0.0,
                "two_holders_ms": 0.0,
                "unanswered": (),
                "refused": 0,
                "kept_open": 0,
                "ended": 0,
                "ended_ms": 0.0,
                "prober_late_ms": 0.0,
                **fields,
            }
        )
        for outage in outages
    )
    return Figures(fault=fault, subject=subject, interval_ms=1.0, rounds=rounds)


def test_the_first_subject_is_compared_with_the_second_per_fault_and_way_of_asking() -> None:
    ours = figures("cut", "kubevip", 10.0, 30.0, 20.0)
    theirs = figures("cut", "keepalived", 40.0, two_holders_ms=7.0)
    alone = figures("move", "kubevip", 5.0)

    assert compare((ours, theirs, alone)) == [
        Row(
            case="cut, ping",
            subject="kubevip",
            median=20.0,
            worst=30.0,
            unit="ms",
            two_holders=0.0,
            peer="keepalived",
            ratio=0.5,
        ),
        Row(case="cut, ping", subject="keepalived", median=40.0, worst=40.0, unit="ms", two_holders=7.0),
        Row(
            case="cut, HTTP",
            subject="kubevip",
            median=21.0,
            worst=31.0,
            unit="ms",
            two_holders=0.0,
            peer="keepalived",
            ratio=0.51,
        ),
        Row(case="cut, HTTP", subject="keepalived", median=41.0, worst=41.0, unit="ms", two_holders=7.0),
        Row(case="move, ping", subject="kubevip", median=5.0, worst=5.0, unit="ms", two_holders=0.0),
        Row(case="move, HTTP", subject="kubevip", median=6.0, worst=6.0, unit="ms", two_holders=0.0),
    ]


def test_one_measurement_is_reported_as_the_object_that_scripts_read() -> None:
    ours = figures("cut", "kubevip", 10.0)
    report = Comparison(machine=MACHINE, timing="fast", figures=(ours,)).report()

    assert {key: report[key] for key in ours.report()} == ours.report()
    assert (report["timing"], report["machine"]) == (
        "fast",
        {"kernel": "6.1.0", "processors": 2, "tick_ms": 4.0, "sync_p99_ms": 0.81},
    )


def test_several_are_reported_as_rows_beside_their_rounds() -> None:
    measured = (figures("cut", "kubevip", 10.0), figures("cut", "keepalived", 20.0))
    report: dict[str, Any] = Comparison(machine=MACHINE, timing="default", figures=measured).report()

    assert [(row["case"], row["subject"], row["ratio"]) for row in report["rows"]] == [
        ("cut, ping", "kubevip", 0.5),
        ("cut, ping", "keepalived", None),
        ("cut, HTTP", "kubevip", 0.52),
        ("cut, HTTP", "keepalived", None),
    ]
    assert report["measurements"] == [each.report() for each in measured]


@pytest.mark.parametrize(
    ("ours", "theirs", "is_good"),
    [({}, {}, True), ({}, {"two_holders_ms": 500.0}, True), ({"two_holders_ms": 1.0}, {}, False)],
)
def test_what_counts_is_how_the_first_subject_fared(
    ours: dict[str, Any], theirs: dict[str, Any], is_good: bool
) -> None:
    measured = (figures("cut", "kubevip", 10.0, **ours), figures("cut", "keepalived", 20.0, **theirs))

    assert Comparison(machine=MACHINE, timing="default", figures=measured).is_good is is_good


def test_the_table_shows_each_row_under_its_heading() -> None:
    measured = (figures("cut", "kubevip", 10.0), figures("cut", "keepalived", 20.0, two_holders_ms=530.0))
    heading, *lines = Comparison(machine=MACHINE, timing="default", figures=measured).table()

    assert heading.split() == ["CASE", "SUBJECT", "MEDIAN", "WORST", "RATIO", "TWO", "HOLDERS"]
    assert [line.split() for line in lines[:2]] == [
        ["cut,", "ping", "kubevip", "10.0", "ms", "10.0", "ms", "0.50", "0", "ms"],
        ["cut,", "ping", "keepalived", "20.0", "ms", "20.0", "ms", "530", "ms"],
    ]
