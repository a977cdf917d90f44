from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_lab._measure import Answer, longest_silence, two_holders_seconds

INTERVAL = 0.01


def received_at(*moments: float) -> list[Answer]:
    return [
        Answer(number=number, sent=moment - 0.001, received=moment) for number, moment in enumerate(sorted(moments))
    ]


def claims(**numbers: object) -> list[Answer]:
    return [
        Answer(number=number, sent=number * INTERVAL, received=number * INTERVAL, by=by)
        for by, answered in numbers.items()
        for number in list(answered)  # type: ignore[call-overload]  # ranges and lists
    ]


@pytest.mark.parametrize(
    ("moments", "start", "end", "expected"),
    [
        pytest.param((1.0, 1.1, 1.4, 1.5), 1.0, 1.5, (1.1, 1.4), id="between two answers"),
        pytest.param((1.0, 1.1, 1.4, 1.5), 1.2, 1.3, (1.1, 1.4), id="counts whole though the window is inside it"),
        pytest.param((0.1, 1.0, 1.1, 1.2), 1.0, 1.2, (1.0, 1.1), id="an earlier silence does not count"),
        pytest.param((1.0, 1.1, 1.2, 9.0), 1.0, 1.15, (1.0, 1.1), id="a later silence does not count"),
        pytest.param((1.0, 1.1), 1.0, 3.0, (1.1, 3.0), id="never answered again: to the end of the window"),
        pytest.param((1.5, 1.6), 1.0, 1.6, (1.0, 1.5), id="not answered before: from the start of the window"),
        pytest.param((), 1.0, 3.0, (1.0, 3.0), id="no answer at all"),
    ],
)
def test_silence_is_between_receipts(
    moments: tuple[float, ...], start: float, end: float, expected: tuple[float, float]
) -> None:
    silence = longest_silence(received_at(*moments), start, end)

    assert (silence.start, silence.end) == pytest.approx(expected)


@given(st.lists(st.floats(0, 10), min_size=2, max_size=50))
def test_silence_over_all_answers_is_the_largest_step(moments: list[float]) -> None:
    moments.sort()

    assert longest_silence(received_at(*moments), moments[0], moments[-1]).seconds == pytest.approx(
        max(b - a for a, b in pairwise(moments))
    )


@given(st.lists(st.floats(0, 10), max_size=50), st.floats(0, 10), st.floats(0, 10))
def test_order_of_answers_does_not_matter(moments: list[float], a: float, b: float) -> None:
    start, end = sorted((a, b))
    answers = received_at(*moments)

    assert longest_silence(answers, start, end) == longest_silence(list(reversed(answers)), start, end)


@pytest.mark.parametrize(
    ("answers", "questions"),
    [
        pytest.param(claims(a=range(100)), 0, id="one holder"),
        pytest.param([], 0, id="none"),
        pytest.param(claims(a=range(50), b=range(50, 100)), 0, id="hand-over from one question to the next"),
        pytest.param(claims(a=range(50), b=range(70, 100)), 0, id="hand-over with a silence"),
        pytest.param(claims(a=range(51), b=range(50, 100)), 1, id="one question answered by both"),
        pytest.param(claims(a=range(60), b=range(50, 100)), 10, id="both for ten questions"),
        pytest.param(claims(a=[0, 1, 2, 6, 7], b=[4]), 1, id="one answer between two of the other's"),
        pytest.param(
            claims(a=[1, 3, 5, 7], b=[2, 4, 6, 8]), 6, id="in turn: from the second's first to the first's last"
        ),
        pytest.param(claims(a=range(100), b=range(20, 30), c=range(25, 40)), 20, id="three at once count once"),
        pytest.param(claims(a=[*range(10), *range(60, 70)], b=range(20, 50)), 0, id="back again after letting go"),
        pytest.param(claims(a=[*range(10), *range(60, 70)], b=range(20, 100)), 10, id="back without being let"),
    ],
)
def test_two_holders_are_counted_by_questions(answers: list[Answer], questions: int) -> None:
    assert two_holders_seconds(answers, INTERVAL) == pytest.approx(questions * INTERVAL)


@given(st.integers(1, 200), st.integers(0, 50), st.integers(1, 200))
def test_a_clean_hand_over_never_counts(first: int, silence: int, second: int) -> None:
    answers = claims(a=range(first), b=range(first + silence, first + silence + second))

    assert two_holders_seconds(answers, INTERVAL) == 0


@given(st.sets(st.integers(0, 300), min_size=1), st.sets(st.integers(0, 300), min_size=1))
def test_a_question_that_two_answered_always_counts(a: set[int], b: set[int]) -> None:
    both = len(a & b)

    assert two_holders_seconds(claims(a=a, b=b), INTERVAL) >= both * INTERVAL - 1e-9
