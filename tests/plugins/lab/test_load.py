from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kubevip_lab._holding import Stretch
from kubevip_lab._load import UnderLoad, breaks, signs

if TYPE_CHECKING:
    from pathlib import Path

VIP = "10.77.0.100"
BEFORE = "2026-11-22T10:15:02.123Z INFO raft leading term=1 members=n1,n2,n3\n"


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("2026-11-22T10:15:03.123Z INFO raft leading term=2 members=n1,n2,n3", "elections"),
        ("2026-11-22T10:15:03.123Z INFO leadership leading group=vip term=2", "lapses"),
        ("2026-11-22T10:15:03.123Z INFO vip withdrawn vip=vip address=10.77.0.100", "lapses"),
        (
            "2026-11-22T10:15:03.123Z WARNING address fence: group=vip was silent for a moment, its renewal came late",
            "lapses",
        ),
    ],
)
def test_the_nodes_own_words_tell_of_elections_and_lapses(line: str, what: str, tmp_path: Path) -> None:
    log = tmp_path / "n1.log"
    log.write_text(BEFORE + line + "\n2026-11-22T10:15:04.123Z INFO raft.transport connected to peer=n2\n")

    found = signs({"n1": log}, {"n1": len(BEFORE)})

    assert found == {"elections": [], "lapses": [], what: [f"n1 {line}"]}


def held(host: str, start: float, end: float) -> Stretch:
    return Stretch(address=VIP, host=host, start=start, end=end)


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        pytest.param([held("n1", 0.002, 9.998)], (0, 0), id="held throughout, but for the first and last question"),
        pytest.param([held("n1", 0.002, 4), held("n1", 4.5, 9.998)], (1, 0.5), id="a silence of the holder"),
        pytest.param([held("n1", 0.002, 4), held("n2", 4.25, 9.998)], (1, 0.25), id="another holder"),
        pytest.param([held("n1", 2, 8)], (2, 2), id="late to begin, early to end"),
        pytest.param([], (1, 10), id="never held"),
    ],
)
def test_breaks_are_counted_and_the_longest_is_told(stretches: list[Stretch], expected: tuple[int, float]) -> None:
    assert breaks(stretches, VIP, 0, 10) == pytest.approx(expected)


def example(**fields: Any) -> UnderLoad:
    return UnderLoad(
        **{
            "subject": "kubevip",
            "timing": "default",
            "seconds": 60.0,
            "processors": 2,
            "requests_per_second": 9000.0,
            "elections": 0,
            "lapses": 0,
            "signs": (),
            "breaks": 0,
            "longest_break_ms": 0.0,
            "blind_moments": 0,
            "watcher_late_ms": 0.0,
            **fields,
        }
    )


@pytest.mark.parametrize(
    ("fields", "is_good"),
    [
        ({}, True),
        ({"elections": 1}, False),
        ({"lapses": 1}, False),
        ({"breaks": 1}, False),
        ({"blind_moments": 1}, True),
        ({"requests_per_second": 0.0}, False),
    ],
)
def test_it_is_good_when_nobody_lost_anything_while_there_was_a_load(fields: dict[str, Any], is_good: bool) -> None:
    assert example(**fields).is_good is is_good
