from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_lab._schedule import Step, schedule

NODES = ("n1", "n2", "n3", "n4", "n5")
PROCESSES = {"term", "kill", "killall", "freeze", "poweroff"}
LINKS = {"cut", "partition", "oneway", "poweroff"}
PARTITIONS = {"partition", "oneway"}


def end(step: Step) -> float:
    return step.at if step.until is None else step.until


def test_the_same_seed_gives_the_same_faults() -> None:
    assert schedule(7, NODES, 60, 3) == schedule(7, NODES, 60, 3)
    assert schedule(7, NODES, 60, 3) != schedule(8, NODES, 60, 3)


def test_every_fault_comes_up_on_every_node_and_several_at_once() -> None:
    steps = schedule(1, NODES, 3600, 3)

    assert {(step.fault, step.node) for step in steps} == {
        (fault, node) for fault in PROCESSES | LINKS | {"move"} for node in NODES
    }
    assert {step.number for step in steps if step.fault == "move"} == {0, 1, 2}
    assert max(sum(other.at <= step.at < end(other) for other in steps) for step in steps) >= 3


@given(st.integers(0, 2**32 - 1), st.integers(3, 9))
def test_nothing_is_done_twice_at_once_to_what_it_concerns(seed: int, count: int) -> None:
    nodes = [f"n{number}" for number in range(count)]
    steps = schedule(seed, nodes, 30)

    assert [step.at for step in steps] == sorted(step.at for step in steps)
    for number, step in enumerate(steps):
        assert step.node not in step.others
        assert 0 <= step.at <= end(step) <= 30
        for later in steps[number + 1 :]:
            if later.node == step.node and any({step.fault, later.fault} <= layer for layer in (PROCESSES, LINKS)):
                assert later.at > end(step)
            if {step.fault, later.fault} <= PARTITIONS:
                assert later.at > end(step)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        (Step(at=1.5, fault="kill", node="n1"), "   1.50 s  n1 kill"),
        (Step(at=12.0, fault="cut", node="n2", until=12.25), "  12.00 s  n2 cut for 0.25 s"),
        (Step(at=0.0, fault="move", node="n2", others=("n3",), number=1), "   0.00 s  n2 move to n3 (address 2)"),
        (
            Step(at=0.0, fault="oneway", node="n2", others=("n1", "n3"), until=1.0),
            "   0.00 s  n2 oneway towards n1 n3 for 1.00 s",
        ),
    ],
)
def test_a_step_is_one_line(step: Step, text: str) -> None:
    assert str(step) == text
