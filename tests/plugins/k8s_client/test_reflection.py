"""The copy of a collection: what lists and events make of it."""

from __future__ import annotations

from typing import Any

import pytest

from kubevip_k8s import BadAnswer, ChangeKind, Gone, JsonObject
from kubevip_k8s._lines import Lines
from kubevip_k8s._reflection import Reflection


def thing(name: str, version: int, **more: object) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": str(version)}, **more}


def page(*items: dict[str, Any], version: int = 9, token: str = "") -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version), "continue": token}, "items": list(items)}


def mirror() -> Reflection[JsonObject]:
    return Reflection(lambda found: found)


def take_page(reflection: Reflection[JsonObject], page: dict[str, Any]) -> str | None:
    """What an Api does with a list, and a reflector with the rest of it."""
    rest = dict(page)
    if isinstance(rest.get("items"), list):
        for item in rest.pop("items"):
            reflection.take_item(item)
    return reflection.end_page(rest)


def listed(reflection: Reflection[JsonObject], *items: dict[str, Any], version: int = 9) -> list[tuple[str, str]]:
    reflection.begin_list()
    assert take_page(reflection, page(*items, version=version)) is None
    return [(change.kind.value, change.key[1]) for change in reflection.end_list()]


def test_a_list_comes_in_pages_and_counts_when_it_is_whole() -> None:
    reflection = mirror()
    reflection.begin_list()
    assert take_page(reflection, page(thing("a", 1), token="more")) == "more"
    assert reflection.objects == {}
    assert take_page(reflection, page(thing("b", 2))) is None
    assert [change.key for change in reflection.end_list()] == [("shop", "a"), ("shop", "b")]
    assert reflection.version == "9"


def test_a_second_list_tells_the_difference_only() -> None:
    reflection = mirror()
    listed(reflection, thing("a", 1), thing("b", 2), thing("c", 3))
    assert listed(reflection, thing("b", 2), thing("c", 7), thing("d", 8)) == [
        ("deleted", "a"),
        ("modified", "c"),
        ("added", "d"),
    ]


def test_what_is_copied_stays_while_a_list_is_under_way() -> None:
    reflection = mirror()
    listed(reflection, thing("a", 1))
    reflection.begin_list()
    take_page(reflection, page(token="more"))
    assert list(reflection.objects) == [("shop", "a")]


def test_an_event_says_what_was_before() -> None:
    reflection = mirror()
    listed(reflection, thing("a", 1))
    change = reflection.take_event({"type": "MODIFIED", "object": thing("a", 10, data={"x": "1"})})
    assert change is not None
    assert (change.kind, change.old) == (ChangeKind.MODIFIED, thing("a", 1))
    assert reflection.version == "10"


def test_an_object_that_was_deleted_is_told_once() -> None:
    reflection = mirror()
    listed(reflection, thing("a", 1))
    gone = {"type": "DELETED", "object": thing("a", 11)}
    assert reflection.take_event(gone) is not None
    assert reflection.take_event(gone) is None


def test_a_bookmark_moves_the_version_and_changes_nothing() -> None:
    reflection = mirror()
    listed(reflection, thing("a", 1))
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "77"}}}
    assert reflection.take_event(bookmark) is None
    assert reflection.version == "77"
    assert list(reflection.objects) == [("shop", "a")]


def test_a_version_that_is_no_longer_kept_is_an_error_of_its_own() -> None:
    with pytest.raises(Gone):
        mirror().take_event({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}})


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"type": "ADDED"},
        {"type": "ADDED", "object": "text"},
        {"type": "ADDED", "object": {"metadata": {}}},
        {"type": "RENAMED", "object": thing("a", 1)},
    ],
)
def test_what_is_no_event_is_refused_and_changes_nothing(event: dict[str, Any]) -> None:
    reflection = mirror()
    listed(reflection, thing("a", 1))
    with pytest.raises(BadAnswer):
        reflection.take_event(event)
    assert (list(reflection.objects), reflection.version) == ([("shop", "a")], "9")


@pytest.mark.parametrize("answer", [{}, {"items": []}, {"metadata": {"resourceVersion": "1"}, "items": "x"}])
def test_what_is_no_list_is_refused(answer: dict[str, Any]) -> None:
    with pytest.raises(BadAnswer):
        take_page(mirror(), answer)


def test_an_empty_list_may_come_as_null() -> None:
    reflection = mirror()
    assert take_page(reflection, {"metadata": {"resourceVersion": "5"}, "items": None}) is None
    assert reflection.end_list() == []


def test_lines_are_cut_wherever_the_network_cuts_the_stream() -> None:
    lines = Lines(100)
    assert lines.feed(b'{"a":') == []
    assert lines.feed(b'1}\n\n{"b":2}\r\n{"c"') == [b'{"a":1}', b'{"b":2}']
    assert lines.feed(b":3}\n") == [b'{"c":3}']


def test_a_line_without_end_is_refused_before_it_fills_the_memory() -> None:
    lines = Lines(10)
    lines.feed(b"12345")
    with pytest.raises(BadAnswer, match="more than 10 bytes"):
        lines.feed(b"678901")
