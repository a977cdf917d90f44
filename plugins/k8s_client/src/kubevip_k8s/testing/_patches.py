"""The four ways to change a part of an object: merge patch, JSON Patch, strategic merge, apply.

Apply is a strategic merge here: field managers, their conflicts and the removal of fields that a manager no longer
names are not modelled.
"""

from __future__ import annotations

import copy
from typing import Any, cast

from kubevip_k8s.testing._document import Document, items, mapping
from kubevip_k8s.testing._status import Refusal, bad_request, unprocessable

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

#: What identifies an item of a list that strategic merge merges instead of replacing.
_KEYS = {
    "ports": "port",
    "conditions": "type",
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "secrets": "name",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
}
_CONTAINER_PORTS = "containerPort"
_SETS = ("finalizers", "podCIDRs")


def patched(content_type: str, document: Document, patch: object) -> Document:
    """Return `document` as `patch` leaves it; `document` is not touched.

    :raises Refusal: 415, 400 or 422, as the server refuses.
    """
    document = copy.deepcopy(document)
    if content_type == JSON_PATCH:
        if not isinstance(patch, list):
            raise bad_request("error decoding patch: a JSON Patch is a list of operations")
        return _json_patched(document, cast("list[Document]", patch))
    if not isinstance(patch, dict):
        raise bad_request("error decoding patch: it is not an object")
    changes = copy.deepcopy(mapping(cast("object", patch)))
    if content_type == MERGE_PATCH:
        return cast("Document", merged(document, changes))
    if content_type in (STRATEGIC_MERGE_PATCH, APPLY_PATCH):
        return _strategically(document, changes)
    raise Refusal(
        415,
        "UnsupportedMediaType",
        "the body of the request was in an unknown format - accepted media types include: "
        f"{JSON_PATCH}, {MERGE_PATCH}, {STRATEGIC_MERGE_PATCH}, {APPLY_PATCH}",
    )


def merged(target: object, patch: object) -> object:
    """Return `target` with `patch` merged into it: RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    result = dict(cast("Document", target)) if isinstance(target, dict) else {}
    for name, value in cast("Document", patch).items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value)
    return result


def _steps(pointer: object) -> list[str]:
    """RFC 6901 3: "~1" is "/", "~0" is "~", in this order."""
    if not isinstance(pointer, str) or (pointer and not pointer.startswith("/")):
        raise unprocessable()
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]


def _child(container: Any, step: str) -> Any:
    try:
        return container[int(step) if isinstance(container, list) else step]
    except (KeyError, IndexError, ValueError, TypeError):
        raise unprocessable() from None


def _value_at(document: Document, steps: list[str]) -> Any:
    value: Any = document
    for step in steps:
        value = _child(value, step)
    return value


def _remove(document: Document, steps: list[str]) -> Any:
    container = _value_at(document, steps[:-1])
    _child(container, steps[-1])
    return container.pop(int(steps[-1]) if isinstance(container, list) else steps[-1])


def _add(document: Document, steps: list[str], value: object) -> None:
    container = _value_at(document, steps[:-1])
    if isinstance(container, list):
        items = cast("list[object]", container)
        place = len(items) if steps[-1] == "-" else int(steps[-1]) if steps[-1].isdigit() else -1
        if not 0 <= place <= len(items):
            raise unprocessable()
        items.insert(place, value)
    elif isinstance(container, dict):
        container[steps[-1]] = value
    else:
        raise unprocessable()


def _json_patched(document: Document, operations: list[Document]) -> Document:
    """RFC 6902 4: all operations apply, or none does."""
    for operation in operations:
        steps = _steps(operation.get("path"))
        match operation.get("op"):
            case "test":
                if _or_missing(document, steps) != operation.get("value"):
                    raise unprocessable()
            case "add":
                _add(document, steps, operation.get("value"))
            case "remove":
                _remove(document, steps)
            case "replace":  # RFC 6902 4.3 wants a value there; the server does not in an object, only in a list
                if isinstance(_value_at(document, steps[:-1]), list):
                    _remove(document, steps)
                _add(document, steps, operation.get("value"))
            case "move":
                _add(document, steps, _remove(document, _steps(operation.get("from"))))
            case "copy":
                _add(document, steps, copy.deepcopy(_value_at(document, _steps(operation.get("from")))))
            case _:
                raise unprocessable()
    return document


def _or_missing(document: Document, steps: list[str]) -> Any:
    """A test for null holds where nothing is: so does the server's library."""
    container = _value_at(document, steps[:-1])
    return _child(container, steps[-1]) if isinstance(container, list) else mapping(container).get(steps[-1])


def _key_of(name: str, both: list[Any]) -> str | None:
    if name == "ports" and any(isinstance(item, dict) and _CONTAINER_PORTS in item for item in both):
        return _CONTAINER_PORTS
    return _KEYS.get(name)


def _strategically(target: Document, patch: Document) -> Document:
    """Merge with the directives that kubectl sends: $patch, $deleteFromPrimitiveList; the others order, no more."""
    if patch.get("$patch") == "replace":
        return {name: value for name, value in patch.items() if name != "$patch"}
    for name, value in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            target[field] = [item for item in target.get(field, []) if item not in value]
        elif name.startswith("$"):
            continue
        elif value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            inner = target.get(name)
            target[name] = _strategically(inner if isinstance(inner, dict) else {}, cast("Document", value))  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, list):
            target[name] = _list_merged(name, target.get(name) or [], items(cast("object", value)))
        else:
            target[name] = value
    return target


def _list_merged(name: str, present: list[Any], changes: list[Any]) -> list[Any]:
    if name in _SETS:
        return present + [item for item in changes if item not in present]
    if (key := _key_of(name, [*present, *changes])) is None:
        return changes
    if any(change.get("$patch") == "replace" for change in changes):
        return [change for change in changes if "$patch" not in change]
    result = list(present)
    for change in changes:
        place = next((n for n, item in enumerate(result) if item.get(key) == change.get(key)), None)
        if change.get("$patch") == "delete":
            result = [item for item in result if item.get(key) != change.get(key)]
        elif place is None:
            result.append(change)
        else:
            result[place] = _strategically(result[place], change)
    return result
