"""The copy of a collection of objects, and what has to be asked to keep it. Sans-IO.

List in pages, watch from the version of the list, follow bookmarks; when the server no longer has the version, list
again and tell the difference ("Efficient detection of changes", Kubernetes API concepts).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Generic, TypeVar

from attrs import frozen

from kubevip_k8s._errors import BadAnswer, error_of_event
from kubevip_k8s._json import as_mapping, as_text

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubevip_k8s._api import JsonObject

#: What is kept of an object.
KeptT = TypeVar("KeptT")

#: An object's namespace ("" without one) and name.
Key = tuple[str, str]


class ChangeKind(enum.Enum):
    """What became of an object."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"


@frozen(kw_only=True)
class Change(Generic[KeptT]):
    """One object that changed: as it is now (when it was deleted: as it was last seen), and as it was before.

    Of either there is what `keep` made of it.
    """

    kind: ChangeKind
    key: Key
    object: KeptT
    old: KeptT | None = None


class Reflection(Generic[KeptT]):
    """The copy. `version` is the resourceVersion to watch from; None: it has to be listed (again).

    :param keep: returns what is kept of an object; the rest is not needed again. Pure; of any JSON object.
    """

    def __init__(self, keep: Callable[[JsonObject], KeptT]) -> None:
        self.objects: dict[Key, KeptT] = {}
        self.version: str | None = None
        self._keep = keep
        self._versions: dict[Key, str] = {}
        self._listed: dict[Key, KeptT] = {}
        self._listed_versions: dict[Key, str] = {}

    def begin_list(self) -> None:
        """Forget a list that was begun; what is copied stays until the next one is whole."""
        self.version, self._listed, self._listed_versions = None, {}, {}

    def take_item(self, item: object) -> None:
        """Take an object of a list.

        :raises BadAnswer: it is none.
        """
        found = _object(item)
        key = key_of(found)
        self._listed[key], self._listed_versions[key] = self._keep(found), version_of(found)

    def end_page(self, page: JsonObject) -> str | None:
        """Take what a page says besides its items; return the token of the next, None when this was the last.

        :raises BadAnswer: it is not a page of a list.
        """
        metadata = as_mapping(page.get("metadata"))
        if page.get("items") is not None or "resourceVersion" not in metadata:
            raise BadAnswer("expected a list of objects")
        if token := as_text(metadata.get("continue")):
            return token
        self.version = as_text(metadata["resourceVersion"])
        return None

    def end_list(self) -> list[Change[KeptT]]:
        """Make the list the copy, and return the difference."""
        changes = [
            Change(kind=ChangeKind.DELETED, key=key, object=old, old=old)
            for key, old in self.objects.items()
            if key not in self._listed
        ]
        for key, new in self._listed.items():
            if key not in self.objects:
                changes.append(Change(kind=ChangeKind.ADDED, key=key, object=new))
            elif self._versions[key] != self._listed_versions[key]:
                changes.append(Change(kind=ChangeKind.MODIFIED, key=key, object=new, old=self.objects[key]))
        self.objects, self._listed = self._listed, {}
        self._versions, self._listed_versions = self._listed_versions, {}
        return changes

    def take_event(self, event: JsonObject) -> Change[KeptT] | None:
        """Take an event of a watch; None: nothing changed.

        :raises Gone: the server no longer has the version; list again.
        :raises ApiError: what the server says went wrong with the watch.
        :raises BadAnswer: it is no event.
        """
        kind, found = event.get("type"), event.get("object")
        if kind == "ERROR":
            raise error_of_event(found)
        new = _object(found)
        version = version_of(new)
        if kind == "BOOKMARK":
            self.version = version
            return None
        key = key_of(new)
        if kind == "DELETED":
            self.version = version
            self._versions.pop(key, None)
            if key not in self.objects:
                return None
            return Change(kind=ChangeKind.DELETED, key=key, object=self._keep(new), old=self.objects.pop(key))
        if kind not in ("ADDED", "MODIFIED"):
            raise BadAnswer(f"a watch sent an event of the type {kind!r}")
        self.version = self._versions[key] = version
        is_new, old = key not in self.objects, self.objects.get(key)
        self.objects[key] = kept = self._keep(new)
        return Change(kind=ChangeKind.ADDED if is_new else ChangeKind.MODIFIED, key=key, object=kept, old=old)


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
