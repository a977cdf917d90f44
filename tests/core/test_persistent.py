"""A map that shares with its successors what did not change; held against a dict."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip._persistent import PersistentMap

STEPS = st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 3)))


def applied(map_: PersistentMap[int, str], steps: list[tuple[int, int | None]]) -> PersistentMap[int, str]:
    for key, value in steps:
        map_ = map_.without(key) if value is None else map_.with_item(key, "abcd"[value])
    return map_


@given(steps=STEPS)
def test_it_is_what_a_dict_would_be_in_the_same_order(steps: list[tuple[int, int | None]]) -> None:
    beside: dict[int, str] = {}
    for key, value in steps:
        if value is None:
            beside.pop(key, None)
        else:
            beside[key] = "abcd"[value]
    map_ = applied(PersistentMap(), steps)
    assert list(map_.items()) == list(beside.items())
    assert len(map_) == len(beside)
    assert all(key in map_ for key in beside)


@given(first=STEPS, second=STEPS)
def test_it_says_which_keys_differ_and_the_one_before_is_as_it_was(
    first: list[tuple[int, int | None]], second: list[tuple[int, int | None]]
) -> None:
    before = applied(PersistentMap(), first)
    was = dict(before)
    after = applied(before, second)
    now = dict(after)
    assert dict(before) == was
    changed = {key for key in was.keys() | now.keys() if was.get(key) != now.get(key)}
    assert set(after.changed_since(before)) == set(before.changed_since(after)) == changed
    assert (before == after) is (was == now)


def test_a_value_that_is_there_already_changes_nothing() -> None:
    map_ = PersistentMap[str, list[int]]().with_item("a", value := [1])
    assert map_.with_item("a", value) is map_
    assert map_.without("b") is map_
    assert list(map_.with_item("a", [1]).changed_since(map_)) == ["a"]  # another object, though an equal one
    assert map_.with_item("a", [1]) == map_
    assert map_ == {"a": [1]} != map_.without("a")


def test_what_is_not_there_is_missed() -> None:
    with pytest.raises(KeyError, match="b"):
        PersistentMap[str, int]().with_item("a", 1)["b"]
    assert repr(PersistentMap[str, int]().with_item("a", 1)) == "PersistentMap({'a': 1})"


class Counted:
    """A key that counts how often it is compared or hashed."""

    looks = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __hash__(self) -> int:
        Counted.looks += 1
        return hash(self.number * 2654435761)

    def __eq__(self, other: object) -> bool:
        Counted.looks += 1
        return isinstance(other, Counted) and self.number == other.number


@pytest.mark.parametrize("size", [10, 5000])
def test_a_change_and_the_search_for_it_touch_as_few_keys_among_thousands_as_among_ten(size: int) -> None:
    map_ = PersistentMap[Counted, int]()
    for number in range(size):
        map_ = map_.with_item(Counted(number), 0)
    Counted.looks = 0
    after = map_.with_item(Counted(3), 1)
    assert [key.number for key in after.changed_since(map_)] == [3]
    assert Counted.looks < 50
