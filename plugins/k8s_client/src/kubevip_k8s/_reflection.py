"""The copy of a collection of objects, and what has to be asked to keep it. Sans-IO.

List in pages, watch from the version of the list, follow bookmarks; when the server no longer has the version, list
again and tell the difference ("Efficient detection of changes", Kubernetes API concepts).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip_k8s._errors import BadAnswer, error_of_status
from kubevip_k8s._json import as_mapping, as_sequence, as_text

if TYPE_CHECKING:
    from kubevip_k8s._api import JsonObject

#: An object's namespace ("" without one) and name.
Key = tuple[str, str]


class ChangeKind(enum.Enum):
    """What became of an object."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


@frozen(kw_only=True)
class Change:
    """One object that changed: as it is now (when it was deleted: as it was last seen), and as it was before."""

    kind: ChangeKind
    key: Key
    object: JsonObject
    old: JsonObject | None = None


class Reflection:
    """The copy. `version` is the resourceVersion to watch from; None: it has to be listed (again)."""

    def __init__(self) -> None:
        self.objects: dict[Key, JsonObject] = {}
        self.version: str | None = None
        self._listed: dict[Key, JsonObject] = {}

    def begin_list(self) -> None:
        """Forget a list that was begun; what is copied stays until the next one is whole."""
        self.version, self._listed = None, {}

    def take_page(self, page: JsonObject) -> str | None:
        """Take a page of a list; return the token of the next, None when this was the last.

        :raises BadAnswer: it is not a page of a list.
        """
        metadata = as_mapping(page.get("metadata"))
        if not isinstance(page.get("items", []), list | type(None)) or "resourceVersion" not in metadata:
            raise BadAnswer("expected a list of objects")
        for item in as_sequence(page.get("items")):
            found = _object(item)
            self._listed[key_of(found)] = found
        if token := as_text(metadata.get("continue")):
            return token
        self.version = as_text(metadata["resourceVersion"])
        return None

    def end_list(self) -> list[Change]:
        """Make the list the copy, and return the difference."""
        changes = [
            Change(kind=ChangeKind.DELETED, key=key, object=old, old=old)
            for key, old in self.objects.items()
            if key not in self._listed
        ]
        for key, new in self._listed.items():
            old = self.objects.get(key)
            if old is None:
                changes.append(Change(kind=ChangeKind.ADDED, key=key, object=new))
            elif version_of(old) != version_of(new):
                changes.append(Change(kind=ChangeKind.MODIFIED, key=key, object=new, old=old))
        self.objects, self._listed = self._listed, {}
        return changes

    def take_event(self, event: JsonObject) -> Change | None:
        """Take an event of a watch; None: nothing changed.

        :raises Gone: the server no longer has the version; list again.
        :raises ApiError: what the server says went wrong with the watch.
        :raises BadAnswer: it is no event.
        """
        kind, found = event.get("type"), event.get("object")
        if kind == "ERROR":
            code = as_mapping(found).get("code")
            raise error_of_status(code if isinstance(code, int) else 500, found)
        new = _object(found)
        if kind == "BOOKMARK":
            self.version = version_of(new)
            return None
        key = key_of(new)
        if kind == "DELETED":
            self.version = version_of(new)
            old = self.objects.pop(key, None)
            return Change(kind=ChangeKind.DELETED, key=key, object=new, old=old) if old is not None else None
        if kind not in ("ADDED", "MODIFIED"):
            raise BadAnswer(f"a watch sent an event of the type {kind!r}")
        self.version = version_of(new)
        old = self.objects.get(key)
        self.objects[key] = new
        return Change(kind=ChangeKind.ADDED if old is None else ChangeKind.MODIFIED, key=key, object=new, old=old)


def key_of(found: JsonObject) -> Key:
    """Return the namespace and name of an object.

    :raises BadAnswer: it has no name.
    """
    metadata = as_mapping(found.get("metadata"))
    if not (name := as_text(metadata.get("name"))):
        raise BadAnswer("an object without a name")
    return (as_text(metadata.get("namespace")), name)


def version_of(found: JsonObject) -> str:
    """Return an object's resourceVersion, "" if it has none."""
    return as_text(as_mapping(found.get("metadata")).get("resourceVersion"))


def _object(value: object) -> JsonObject:
    if not isinstance(value, dict):
        raise BadAnswer(f"expected an object, got {type(value).__name__}")
    return as_mapping(value)  # pyright: ignore[reportUnknownArgumentType] -- JSON's keys are strings
