"""Reading single values out of the JSON status, and writing times and durations for people."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


def text(fields: Mapping[str, object], key: str, unknown: str = "") -> str:
    """Return a text or number as text; `unknown` for anything else, and for an empty text.

    Control characters, which a peer or a backend may have put into it, become question marks.
    """
    match fields.get(key):
        case bool() | None:
            return unknown
        case str(value):
            return "".join(char if char.isprintable() else "?" for char in value) or unknown
        case int() | float() as value:
            return str(value)
        case _:
            return unknown


def number(fields: Mapping[str, object], key: str) -> float | None:
    """Return a number, or None."""
    value = fields.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


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
    at = time.gmtime(seconds)
    if now is not None and time.gmtime(now)[:3] == at[:3]:
        return time.strftime("%H:%M:%S", at)
    return date(seconds)


def date(seconds: float | None) -> str:
    """Write a moment as "11-22 10:14:58Z"."""
    return "-" if seconds is None else time.strftime("%m-%d %H:%M:%SZ", time.gmtime(seconds))
