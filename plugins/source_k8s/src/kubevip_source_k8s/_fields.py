"""Reading the fields of API objects, which may lack any of them or have anything in their place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from kubevip_k8s import JsonObject

_NOTHING: Mapping[str, object] = {}

#: Namespace and name of an object.
Key = tuple[str, str]


def inner(value: JsonObject, *path: str) -> JsonObject:
    """Return the mapping at `path`; an empty one where there is none."""
    for step in path:
        found = value.get(step)
        if not isinstance(found, Mapping):
            return _NOTHING
        value = cast("JsonObject", found)
    return value


def text(value: JsonObject, *path: str) -> str:
    """Return the text at `path`; "" where there is none."""
    found = inner(value, *path[:-1]).get(path[-1])
    return found if isinstance(found, str) else ""


def number(value: JsonObject, *path: str) -> int:
    """Return the whole number at `path`; 0 where there is none."""
    found = inner(value, *path[:-1]).get(path[-1])
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def objects(value: JsonObject, *path: str) -> list[JsonObject]:
    """Return the mappings of the list at `path`; what else is in it is passed over."""
    found = inner(value, *path[:-1]).get(path[-1])
    if not isinstance(found, Sequence) or isinstance(found, str):
        return []
    return [cast("JsonObject", item) for item in cast("Sequence[object]", found) if isinstance(item, Mapping)]


def texts(value: JsonObject, *path: str) -> list[str]:
    """Return the texts of the list at `path`."""
    found = inner(value, *path[:-1]).get(path[-1])
    if not isinstance(found, Sequence) or isinstance(found, str):
        return []
    return [item for item in cast("Sequence[object]", found) if isinstance(item, str)]


def key_of(value: JsonObject) -> Key:
    """Return namespace and name of an object."""
    return text(value, "metadata", "namespace"), text(value, "metadata", "name")
