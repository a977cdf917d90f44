"""A list is decoded object by object, with pauses, and what is no list is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_k8s import BadAnswer
from kubevip_k8s._listing import SLICE_CHARACTERS, Listing


def decoded(text: str | bytes) -> tuple[list[object], dict[str, object]]:
    items: list[object] = []
    listing = Listing("GET /things", text.encode() if isinstance(text, str) else text)
    while listing.decode(items.append):
        pass
    return items, listing.rest


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    items=st.lists(JSON), more=st.dictionaries(st.text().filter(lambda key: key != "items"), JSON), indent=st.booleans()
)
def test_it_says_what_the_json_library_says(items: list[Any], more: dict[str, Any], indent: bool) -> None:
    whole = {**more, "items": items, "metadata": {"resourceVersion": "5"}}
    assert decoded(json.dumps(whole, indent=1 if indent else None)) == (
        items,
        {**more, "metadata": {"resourceVersion": "5"}},
    )


def test_items_that_are_no_array_are_left_to_the_reader() -> None:
    assert decoded('{"items": null}') == ([], {"items": None})
    assert decoded('{"items": "x"}\n') == ([], {"items": "x"})
    assert decoded("{}") == ([], {})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        "<html>",
        '{"a"',
        '{"a": }',
        '{"a": 1',
        '{"a": 1,}',
        '{"a": 1 "b": 2}',
        "{1: 2}",
        '{"items": [1 2]}',
        '{"items": [1,]}',
        '{"items": [1',
        '{"items": [1]',
        '{"items": [1}]',
        '{"a": 1} {}',
        b"\xff\xfe",
        '{"items": [' + "[" * 100_000,
    ],
)
def test_what_is_no_object_in_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadAnswer, match="GET /things: not a list in JSON"):
        decoded(text)


def test_no_more_than_a_slice_and_an_object_is_decoded_without_a_pause() -> None:
    item = {"x": "y" * 1000}
    listing = Listing("GET /things", json.dumps({"items": [item] * 500}).encode())
    taken: list[object] = []
    between: list[int] = []
    while listing.decode(taken.append):
        between.append(len(taken) - sum(between))
    assert len(taken) == 500
    assert max(between) <= SLICE_CHARACTERS // 1000 + 1
