"""Kubernetes Events: what happened to an object, where its user looks for it (`kubectl describe`).

Pure. All nodes see the same problem of an object. The name of an Event is made of what it says, so whoever comes second
is told that it is there already, and there is one.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip_source_k8s._fields import key_of, text

if TYPE_CHECKING:
    from kubevip_k8s import JsonObject

CONTROLLER = "kubevip.io/source-k8s"
#: events.k8s.io/v1 takes 1024 bytes of note.
LONGEST_NOTE = 1000
#: At most so many at once, and so many a second after that: 5,000 Services may change their holder in one moment.
BURST, PER_SECOND = 25, 1.0
#: So many that were said are remembered, in order not to ask the server for each.
MOST_REMEMBERED = 10_000


@frozen(kw_only=True)
class Said:
    """Something to tell about an object: `reason` is one CamelCase word, `note` a sentence."""

    about: JsonObject
    kind: str
    reason: str
    note: str
    is_warning: bool = True


def event_of(said: Said, *, node: str, now: str) -> JsonObject:
    """Return the Event to create.

    :param now: wall-clock time as "2026-11-22T10:15:02.123456Z".
    """
    namespace, name = key_of(said.about)
    uid = text(said.about, "metadata", "uid")
    digest = zlib.crc32(f"{uid} {said.reason} {said.note}".encode())
    regarding = {"apiVersion": "v1", "kind": said.kind, "namespace": namespace, "name": name, "uid": uid}
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{name[:220]}.kubevip-{digest:08x}", "namespace": namespace},
        "eventTime": now,
        "type": "Warning" if said.is_warning else "Normal",
        "reason": said.reason,
        "action": said.reason,
        "note": said.note[:LONGEST_NOTE],
        "regarding": regarding,
        "reportingController": CONTROLLER,
        "reportingInstance": node[:128],
    }


class Register:
    """What has been said already, and whether more may be said now."""

    def __init__(self) -> None:
        self._said: OrderedDict[tuple[str, str, str], None] = OrderedDict()
        self._tokens, self._at = float(BURST), 0.0
        self.dropped = 0
        """How many were not told because there were too many."""

    def permits(self, said: Said, now: float) -> bool:
        """Take note of `said` at `now` (seconds); return whether it is to be told."""
        key = (text(said.about, "metadata", "uid") or repr(key_of(said.about)), said.reason, said.note)
        if key in self._said:
            return False
        self._tokens = min(float(BURST), self._tokens + (now - self._at) * PER_SECOND)
        self._at = now
        if self._tokens < 1:
            self.dropped += 1
            return False
        self._tokens -= 1
        self._said[key] = None
        if len(self._said) > MOST_REMEMBERED:
            self._said.popitem(last=False)
        return True
