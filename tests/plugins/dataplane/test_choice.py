"""Smooth weighted round robin: shares, spread, ties."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_dataplane.worker import RoundRobin

weights = st.lists(st.integers(1, 20), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("given_weights", "turns"),
    [
        ([1], "aaaa"),
        ([1, 1, 1], "abcabc"),
        ([5, 1, 1], "aabacaaaabacaa"),
        ([2, 1], "abaaba"),
    ],
)
def test_turns_are_spread(given_weights: list[int], turns: str) -> None:
    """Scenario 83."""
    robin = RoundRobin(given_weights)
    everybody = range(len(given_weights))
    assert "".join("abc"[robin.choose(everybody) or 0] for _ in turns) == turns


@given(weights, st.integers(1, 3))
def test_a_cycle_gives_each_its_weight(given_weights: list[int], cycles: int) -> None:
    """Scenario 83."""
    robin = RoundRobin(given_weights)
    everybody = range(len(given_weights))
    counts = Counter(robin.choose(everybody) for _ in range(cycles * sum(given_weights)))
    assert counts == {index: cycles * weight for index, weight in enumerate(given_weights)}


@given(weights, st.data())
def test_only_candidates_are_chosen_and_always_one(given_weights: list[int], data: st.DataObject) -> None:
    robin = RoundRobin(given_weights)
    subsets = st.sets(st.integers(0, len(given_weights) - 1))
    for _ in range(20):
        candidates = sorted(data.draw(subsets))
        chosen = robin.choose(candidates)
        assert (chosen in candidates) if candidates else chosen is None


@given(weights)
def test_nobody_waits_longer_than_a_cycle(given_weights: list[int]) -> None:
    robin, total = RoundRobin(given_weights), sum(given_weights)
    everybody = range(len(given_weights))
    turns = [robin.choose(everybody) for _ in range(3 * total)]
    for index in everybody:
        places = [place for place, chosen in enumerate(turns) if chosen == index]
        assert max(b - a for a, b in zip([-1, *places], [*places, len(turns)], strict=True)) <= total


def test_a_weight_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        RoundRobin([1, 0])
