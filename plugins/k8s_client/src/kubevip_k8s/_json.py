"""Reading JSON whose shape nobody vouches for: what is not as expected is as good as absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import cast

_EMPTY: Mapping[str, object] = MappingProxyType({})


def as_mapping(value: object) -> Mapping[str, object]:
    """Return `value` if it is a JSON object, else an empty one."""
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else _EMPTY


def as_sequence(value: object) -> Sequence[object]:
    """Return `value` if it is a JSON array, else an empty one."""
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()


def as_text(value: object) -> str:
    """Return `value` if it is a JSON string, else ""."""
    return value if isinstance(value, str) else ""
