from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_lab._holding import Overlap, Stretch, Tracker, longest_gap, overlaps, without_blind_moments
from kubevip_lab._measure import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable

VIP = "10.77.0.100"


def stretch(host: str, start: float, end: float, address: str = VIP) -> Stretch:
    return Stretch(address=address, host=host, start=start, end=end)


def tracked(**numbers: Iterable[int]) -> list[Stretch]:
    tracker = Tracker()
    for host, answered in numbers.items():
        for number in answered:
            tracker.add(VIP, host, Answer(number=number, sent=number - 0.5, received=float(number)))
    return tracker.stretches()


def test_a_host_holds_from_the_first_answer_of_an_unbroken_row_to_the_last() -> None:
    assert tracked(n1=[*range(3, 8), *range(9, 12)], n2=[20]) == [
        stretch("n1", 3, 7),
        stretch("n1", 9, 11),
        stretch("n2", 20, 20),
    ]


NODE = "10.77.0.11"


@pytest.mark.parametrize(
    ("own", "stretches"),
    [
        pytest.param([(0, 9)], [(0, 4), (5, 9)], id="it could have answered"),
        pytest.param([(0, 4), (5, 9)], [(0, 9)], id="it did not answer for its own address either"),
        pytest.param([(0, 4.5), (4.6, 9)], [(0, 4), (5, 9)], id="its own was silent for a part of it only"),
        pytest.param([(0, 4.008), (4.995, 9)], [(0, 9)], id="nearly the same"),
        pytest.param([], [(0, 4), (5, 9)], id="it was never asked for its own"),
    ],
)
def test_what_nobody_could_have_answered_is_no_silence(
    own: list[tuple[float, float]], stretches: list[tuple[float, float]]
) -> None:
    held = [Stretch(address=VIP, host="n1", start=0, end=4), Stretch(address=VIP, host="n1", start=5, end=9)]
    references = [Stretch(address=NODE, host="n1", start=start, end=end) for start, end in own]
    joined, blind = without_blind_moments(held, references)
    assert [(each.start, each.end) for each in joined] == stretches
    assert blind == 2 - len(stretches)


def test_another_holder_is_never_taken_for_a_blind_moment() -> None:
    held = [Stretch(address=VIP, host="n1", start=0, end=4), Stretch(address=VIP, host="n2", start=5, end=9)]
    assert without_blind_moments(held, []) == (held, 0)


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        pytest.param([stretch("n1", 0, 5), stretch("n2", 6, 9)], [], id="one after the other"),
        pytest.param([stretch("n1", 0, 5), stretch("n1", 4, 9)], [], id="the same host"),
        pytest.param([stretch("n1", 0, 5), stretch("n2", 4, 9, "10.77.0.101")], [], id="another address"),
        pytest.param([stretch("n1", 0, 5), stretch("n2", 4, 9)], [(4, 5)], id="at the edge"),
        pytest.param([stretch("n2", 4, 9), stretch("n1", 0, 5)], [(4, 5)], id="in whatever order"),
        pytest.param([stretch("n1", 0, 5), stretch("n2", 5, 9)], [(5, 5)], id="an instant"),
        pytest.param([stretch("n1", 0, 9), stretch("n2", 4, 5)], [(4, 5)], id="within"),
        pytest.param(
            [stretch("n1", 0, 9), stretch("n2", 1, 2), stretch("n3", 3, 4)], [(1, 2), (3, 4)], id="twice within one"
        ),
    ],
)
def test_two_stretches_that_overlap_are_two_holders(
    stretches: list[Stretch], expected: list[tuple[float, float]]
) -> None:
    assert [(each.start, each.end) for each in overlaps(stretches)] == expected


def test_an_overlap_names_address_and_hosts() -> None:
    assert overlaps([stretch("n1", 0, 5), stretch("n2", 4, 9)]) == [
        Overlap(address=VIP, hosts=("n1", "n2"), start=4, end=5)
    ]


def test_what_is_shorter_than_the_tolerance_is_left_out() -> None:
    stretches = [stretch("n1", 0, 5), stretch("n2", 4, 9), stretch("n3", 8.9, 12)]

    assert [each.hosts for each in overlaps(stretches, tolerance=0.5)] == [("n1", "n2")]


@given(
    st.lists(st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.integers(1, 5)), max_size=20),
    st.sets(st.integers(0, 100)),
)
def test_holders_one_after_the_other_are_never_two(turns: list[tuple[str, int]], lost: set[int]) -> None:
    tracker, number = Tracker(), 0
    for host, length in turns:
        for _ in range(length):
            number += 1
            if number not in lost:
                tracker.add(VIP, host, Answer(number=number, sent=number - 0.5, received=float(number)))

    assert overlaps(tracker.stretches()) == []


@pytest.mark.parametrize(
    ("stretches", "expected"),
    [
        pytest.param([], (10, 10), id="never held"),
        pytest.param([stretch("n1", -5, 20)], (0, 0), id="held throughout"),
        pytest.param([stretch("n1", 1, 4), stretch("n2", 6, 10)], (2, 3), id="a gap and a late beginning"),
        pytest.param([stretch("n1", 0, 9), stretch("n2", 2, 3)], (1, 1), id="a longer one goes on over a shorter one"),
    ],
)
def test_gaps_are_between_all_holders(stretches: list[Stretch], expected: tuple[float, float]) -> None:
    assert longest_gap(stretches, VIP, 0, 10) == expected
