"""JSON objects, and how to look into them without trusting their shape."""

from __future__ import annotations

from typing import Any, cast

#: A JSON object. Any: what a client sends is judged by `_validation`, not by a type checker.
Document = dict[str, Any]


def mapping(value: object) -> Document:
    """Return an object as it is, and an empty one instead of anything else."""
    return cast("Document", value) if isinstance(value, dict) else {}


def items(value: object) -> list[Any]:
    """Return the items of a list, and none of anything else."""
    return list(cast("list[object]", value)) if isinstance(value, list) else []


def at(document: Document, *path: str) -> Any:
    """Return what is at a place, None if there is no such place."""
    value: Any = document
    for step in path:
        value = mapping(value).get(step)
    return value


def metadata_of(document: Document) -> Document:
    """Return an object's metadata, made if there is none."""
    return cast("Document", document.setdefault("metadata", {}))
