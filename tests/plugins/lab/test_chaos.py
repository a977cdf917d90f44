"""Random faults against a subject whose failings are known, and the report of what was seen."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import pytest

from kubevip_lab import _chaos
from kubevip_lab._chaos import run_chaos
from kubevip_lab._chaos_report import ChaosReport
from kubevip_lab._holding import Overlap, Stretch
from kubevip_lab._lab import VIP, open_lab, plan
from kubevip_lab._sandbox import call
from kubevip_lab._schedule import Step, schedule
from kubevip_lab._show import Quiet

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network
    from kubevip_lab._subject import Subject

ADDRESS = "10.77.0.100"
NODES = ("n1", "n2", "n3")


def on_every_node(fault: str, *, lasts: float | None = 0.5) -> list[Step]:
    return [
        Step(at=at, fault=fault, node=node, until=None if lasts is None else at + lasts)
        for at, node in zip((0.2, 1.7, 3.2), NODES, strict=True)
    ]


@pytest.fixture
def outcome(
    prepare_lock_subject: Callable[[Network, Plan, Path], Subject], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[list[Step]], dict[str, Any]]:
    def run(steps: list[Step]) -> dict[str, Any]:
        monkeypatch.setattr(_chaos, "schedule", lambda *_: steps)

        def body() -> dict[str, Any]:
            with open_lab(plan(3), lambda network, what: prepare_lock_subject(network, what, tmp_path)) as lab:
                result = run_chaos(lab, Quiet(), [VIP], seed=1, seconds=4.5, timeout=15.0)
                ET.fromstring(result.svg())
                return result.report()

        return call(body)

    return run


@pytest.mark.netns
def test_hand_overs_and_deaths_that_are_cleaned_up_are_good(outcome: Callable[[list[Step]], dict[str, Any]]) -> None:
    report = outcome([*on_every_node("term"), Step(at=4.2, fault="kill", node="n1")])

    assert report["two_holders"] == []
    assert report["is_good"], report
    assert report["addresses"][0]["holders"] >= 1
    assert 0 < report["addresses"][0]["longest_ms"] < 1000


@pytest.mark.netns
@pytest.mark.parametrize("with_cut", [False, True])
def test_a_dead_node_that_keeps_the_address_is_found_out_be_its_link_up_or_not(
    with_cut: bool, outcome: Callable[[list[Step]], dict[str, Any]]
) -> None:
    steps = on_every_node("killall")
    if with_cut:
        steps = [*on_every_node("cut"), *steps]
    report = outcome(steps)

    assert not report["is_good"]
    assert {each["address"] for each in report["two_holders"]} == {ADDRESS}
    assert max(each["end"] - each["start"] for each in report["two_holders"]) > 0.2


def example(**fields: Any) -> ChaosReport:
    return ChaosReport(
        **{
            "subject": "kubevip",
            "nodes": NODES,
            "addresses": (ADDRESS,),
            "seed": 7,
            "start": 100.0,
            "end": 110.0,
            "steps": (Step(at=2.0, fault="freeze", node="n1", until=3.0), Step(at=5.0, fault="kill", node="n2")),
            "stretches": (
                Stretch(address=ADDRESS, host="n1", start=100.0, end=102.0),
                Stretch(address=ADDRESS, host="n2", start=102.2, end=110.0),
            ),
            "overlaps": (),
            "trouble": "",
            "recovery_seconds": 1.25,
            "ended": (),
            "late_seconds": 0.0015,
            **fields,
        }
    )


TWICE = Overlap(address=ADDRESS, hosts=("n1", "n2"), start=104.0, end=104.002)


@pytest.mark.parametrize(
    ("fields", "is_good"),
    [
        ({}, True),
        ({"overlaps": (TWICE,)}, False),
        ({"ended": ("n1 ended by itself with status 1",)}, False),
        ({"trouble": "0 nodes answer for 10.77.0.100"}, False),
    ],
)
def test_it_is_good_when_never_two_held_and_all_came_back(fields: dict[str, Any], is_good: bool) -> None:
    assert example(**fields).is_good is is_good


def test_the_report_has_what_a_script_wants() -> None:
    assert example(overlaps=(TWICE,)).report() == {
        "is_good": False,
        "subject": "kubevip",
        "seed": 7,
        "seconds": 10.0,
        "nodes": NODES,
        "faults": ["   2.00 s  n1 freeze for 1.00 s", "   5.00 s  n2 kill"],
        "addresses": [{"address": ADDRESS, "holders": 1, "unheld_percent": 2.0, "longest_ms": 200.0}],
        "two_holders": [{"address": ADDRESS, "hosts": ("n1", "n2"), "start": 4.0, "end": 4.002}],
        "recovery_seconds": 1.25,
        "trouble": "",
        "ended": (),
        "watcher_late_ms": 1.5,
    }


def test_the_summary_is_what_a_person_wants() -> None:
    assert list(example(overlaps=(TWICE,)).summary()) == [
        "2 faults in 10 s, seed 7",
        "10.77.0.100: 1 times a new holder, nobody for 2.0 % of the time, at most 200.0 ms",
        "TWO HOLDERS of 10.77.0.100: n1 and n2 at 4.0000 s for 2.0 ms",
        "whole again 1.2 s after the last repair",
        "1 times two held one",
    ]


def test_the_picture_has_a_bar_for_each_stretch_and_fault_and_two_red_ones_for_two_holders() -> None:
    def colours(report: ChaosReport) -> list[str]:
        root = ET.fromstring(report.svg())
        return [bar.attrib["fill"] for bar in root.iter("{http://www.w3.org/2000/svg}rect") if len(bar)]

    before, after = colours(example()), colours(example(overlaps=(TWICE,)))
    assert (len(before), before.count("#ff0000")) == (4, 0)
    assert (len(after), after.count("#ff0000")) == (6, 2)


def test_the_picture_says_which_colour_is_which_fault() -> None:
    root = ET.fromstring(example().svg())
    texts = [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]

    assert {step.fault for step in schedule(1, NODES, 1000)} <= set(texts)


def test_the_picture_is_well_formed_whatever_the_names_are() -> None:
    ET.fromstring(example(subject="a<b>&c").svg())
