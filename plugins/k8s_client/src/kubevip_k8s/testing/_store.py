"""The objects of the fake cluster, their versions and what was changed in which order: etcd's part."""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip_k8s.testing._status import bad_request, expired

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubevip_k8s._resources import Resource
    from kubevip_k8s.testing._document import Document
    from kubevip_k8s.testing._selectors import Selection

_FIRST_VERSION = 100


@frozen(kw_only=True)
class Key:
    """Which object; the namespace of a cluster's own object is ""."""

    resource: Resource
    namespace: str = ""
    name: str


@frozen(kw_only=True)
class Change:
    """One write: `old` is None for a creation, `new` for a deletion. Neither is changed afterwards."""

    version: int
    key: Key
    old: Document | None
    new: Document | None


@frozen(kw_only=True)
class Page:
    """A part of a list: its objects, the version it is of, where the next begins ("" if nowhere), how many are left."""

    items: tuple[Document, ...]
    version: int
    token: str = ""
    remaining: int = 0


def _token(version: int, key: Key) -> str:
    return base64.urlsafe_b64encode(json.dumps([version, key.namespace, key.name]).encode()).decode()


def _of_token(token: str) -> tuple[int, tuple[str, str]]:
    try:
        version, namespace, name = json.loads(base64.urlsafe_b64decode(token))
        return int(version), (str(namespace), str(name))
    except (binascii.Error, ValueError, TypeError):
        raise bad_request("continue key is not valid: it cannot be decoded") from None


class Store:
    """Objects by key. Every write has a version of its own; they rise over all resources, never repeat, may skip."""

    def __init__(self) -> None:
        self.version = _FIRST_VERSION
        self.compacted = _FIRST_VERSION
        self._objects: dict[Key, Document] = {}
        self._log: list[Change] = []

    def get(self, key: Key) -> Document | None:
        """Return the stored object itself, or None."""
        return self._objects.get(key)

    def all_keys(self) -> tuple[Key, ...]:
        """Return what there is."""
        return tuple(self._objects)

    def write(self, key: Key, document: Document | None) -> Change:
        """Store an object under the next version, which is written into it; None deletes."""
        self.version += 1
        old = self._objects.get(key)
        if document is None:
            self._objects.pop(key, None)
            if old is not None:  # what a watch says was deleted carries the version of its deletion
                old = old | {"metadata": old["metadata"] | {"resourceVersion": str(self.version)}}
        else:
            document["metadata"]["resourceVersion"] = str(self.version)
            self._objects[key] = document
        change = Change(version=self.version, key=key, old=old, new=document)
        self._log.append(change)
        return change

    def compact(self) -> None:
        """Forget the past: lists and watches from before now are answered with 410."""
        self.compacted = self.version
        self._log.clear()

    def since(self, version: int) -> list[Change]:
        """Return the changes after a version.

        :raises Refusal: 410: it is compacted.
        """
        if version < self.compacted:
            raise expired(f"too old resource version: {version} ({self.compacted})")
        return [change for change in self._log if change.version > version]

    def _at(self, version: int) -> dict[Key, Document]:
        objects = dict(self._objects)
        for change in reversed(self._log):
            if change.version <= version:
                break
            if change.old is None:
                objects.pop(change.key, None)
            else:
                objects[change.key] = change.old
        return objects

    def page(self, selection: Selection, *, limit: int = 0, token: str = "", version: int | None = None) -> Page:
        """Return the first or the next part of a list; all parts are of one version.

        :param limit: at most so many objects; 0 is all of them.
        :raises Refusal: 410: that version is compacted; 400: not a token.
        """
        after: tuple[str, str] | None = None
        if token:
            version, after = _of_token(token)
        version = self.version if version is None else version
        if version < self.compacted:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. You can start a new "
                "list without the continue parameter."
            )
        found = sorted(_selected(selection, self._at(version)), key=lambda pair: (pair[0].namespace, pair[0].name))
        if after is not None:
            found = [pair for pair in found if (pair[0].namespace, pair[0].name) > after]
        part = found[:limit] if limit else found
        remaining = len(found) - len(part)
        return Page(
            items=tuple(document for _, document in part),
            version=version,
            token=_token(version, part[-1][0]) if remaining else "",
            remaining=0 if selection.is_narrow else remaining,
        )


def _selected(selection: Selection, objects: dict[Key, Document]) -> Iterable[tuple[Key, Document]]:
    return [(key, document) for key, document in objects.items() if selection.selects(key.resource, document)]
