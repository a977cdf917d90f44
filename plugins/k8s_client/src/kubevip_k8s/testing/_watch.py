"""A watch: what of the changes it is told, and when it has to end."""

from __future__ import annotations

import copy
from collections import deque
from typing import TYPE_CHECKING

from attrs import field, mutable

from kubevip_k8s.testing._document import Document
from kubevip_k8s.testing._status import Refusal

if TYPE_CHECKING:
    from kubevip_k8s.testing._selectors import Selection
    from kubevip_k8s.testing._store import Change


@mutable(kw_only=True, eq=False)
class Watch:
    """An open watch: whoever serves it takes `events`, and ends it after `timeout_seconds` or when it `is_over`."""

    selection: Selection
    version: int
    wants_bookmarks: bool = False
    timeout_seconds: float
    is_over: bool = False
    is_cut: bool = False  #: its connection breaks instead of ending in order
    user: str = ""
    _pending: deque[Document] = field(factory=lambda: deque[Document]())

    def start_with(self, documents: tuple[Document, ...]) -> None:
        """Tell of what there is already, as a watch without a version is told."""
        self._pending.extend(_event("ADDED", document) for document in documents)

    def follow(self, change: Change) -> None:
        """Take notice of a change: what comes into the selection was added, what leaves it was deleted."""
        self.version = change.version
        was = self.selection.selects(change.key.resource, change.old)
        now = self.selection.selects(change.key.resource, change.new)
        if change.new is not None and now:
            self._pending.append(_event("MODIFIED" if was else "ADDED", change.new))
        elif change.old is not None and was:
            version = {"resourceVersion": str(change.version)}
            self._pending.append(_event("DELETED", change.old | {"metadata": change.old["metadata"] | version}))

    def refuse(self, refusal: Refusal) -> None:
        """End it with an ERROR event."""
        self._pending.append({"type": "ERROR", "object": refusal.document})
        self.is_over = True

    def bookmark(self) -> Document:
        """Return an event that says no more than how far this watch has come."""
        resource = self.selection.resource
        metadata = {"resourceVersion": str(self.version), "creationTimestamp": None}
        document = {"kind": resource.kind, "apiVersion": resource.api_version, "metadata": metadata}
        return {"type": "BOOKMARK", "object": document}

    def take(self) -> tuple[Document, ...]:
        """Return the events that were not taken yet, oldest first."""
        events = tuple(self._pending)
        self._pending.clear()
        return events


def _event(kind: str, document: Document) -> Document:
    return {"type": kind, "object": copy.deepcopy(document)}
