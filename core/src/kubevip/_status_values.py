"""Reading single values out of the JSON status, and writing times and durations for people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST = 1e15  # whatever is counted or measured here, more is a mistake
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def text(fields: Mapping[str, object], key: str, unknown: str = "") -> str:
    """Return a text or number as printable text; `unknown` for anything else, and for an empty text."""
    match fields.get(key):
        case bool():
            return unknown
        case str() | int() | float() as value:
            return printable(value) or unknown
        case _:
            return unknown


def printable(value: object) -> str:
    """Return a value as one line; what a peer or a backend put into it must not steer the terminal."""
    return "".join(char if char.isprintable() else "?" for char in str(value))


def number(fields: Mapping[str, object], key: str) -> float | None:
    """Return a number of sensible size, or None."""
    return _number(fields.get(key))


def numbers(fields: Mapping[str, object], key: str) -> list[float]:
    """Return the numbers of a list."""
    return [found for it in items(fields, key) if (found := _number(it)) is not None]


def one(fields: Mapping[str, object], key: str) -> Mapping[str, object]:
    """Return an object, or an empty one."""
    value = fields.get(key)
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def rows(fields: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    """Return the objects of a list."""
    return [cast("Mapping[str, object]", it) for it in items(fields, key) if isinstance(it, dict)]


def items(fields: Mapping[str, object], key: str) -> list[object]:
    """Return a list, or an empty one."""
    value = fields.get(key)
    return cast("list[object]", value) if isinstance(value, list) else []


def span(seconds: float | None, *, units: int = 2) -> str:
    """Write a duration in its `units` largest units: "3d 4h", "4m"."""
    if seconds is None:
        return "-"
    left, parts = max(0, int(seconds)), list[str]()
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts[:units])


def millis(milliseconds: float | None) -> str:
    """Write milliseconds: "0.3 ms", "171 ms", "12 s", "4m 3s"."""
    if milliseconds is None:
        return "-"
    if milliseconds < 10:
        shown = f"{milliseconds:.1f}"
        return f"{shown.removesuffix('.0')} ms"
    if milliseconds < 10_000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.0f} s" if milliseconds < 60_000 else span(milliseconds / 1000)


def clock(seconds: float | None, now: float | None) -> str:
    """Write a moment of the same day (UTC) as "10:15:02", another one with its date."""
    if seconds is None:
        return "-"
    if now is not None and int(now // 86400) == int(seconds // 86400):
        return date(seconds)[6:-1]
    return date(seconds)


def date(seconds: float | None) -> str:
    """Write a moment as "11-22 10:14:58Z"."""
    if seconds is None:
        return "-"
    try:
        return time.strftime("%m-%d %H:%M:%SZ", time.gmtime(seconds))
    except (OverflowError, ValueError, OSError):  # a year that the calendar does not have
        return "?"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < _LARGEST else None  # not a NaN either
