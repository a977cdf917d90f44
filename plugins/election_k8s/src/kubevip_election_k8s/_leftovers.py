"""Leases of groups that are gone. No input or output, no clock.

With `scope: service` each group leaves a Lease behind. One that somebody holds is renewed every few seconds, and one
that nobody holds is taken within seconds by whoever stands for it: so one that has not changed for a long time is
nobody's. It is deleted as it is known; whoever stands for it again finds none, as if it had never been there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from attrs import frozen

from kubevip_election_k8s._record import uid_of, version_of

#: Far longer than any Lease lasts, or any API is slow.
FORGOTTEN_SECONDS = 600.0


@frozen(kw_only=True)
class Leftover:
    """A Lease as it was when it was last changed, which was seen at `since`."""

    name: str
    uid: str
    version: str
    since: float

    def delete_options(self) -> dict[str, object]:
        """Return what deletes exactly this state of it."""
        preconditions = {"uid": self.uid, "resourceVersion": self.version}
        return {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}


class Leftovers:
    """Keeps an eye on the Leases of an election that this process does not stand for."""

    def __init__(self) -> None:
        self._seen: dict[str, Leftover] = {}

    def told(self, name: str, lease: Mapping[str, object] | None, now: float) -> None:
        """Take note of what became of a Lease."""
        if lease is None:
            self._seen.pop(name, None)
        elif (seen := self._seen.get(name)) is None or seen.version != version_of(lease):
            self._seen[name] = Leftover(name=name, uid=uid_of(lease), version=version_of(lease), since=now)

    def listed(self, names: Collection[str]) -> None:
        """Take note of which Leases there are."""
        for name in [name for name in self._seen if name not in names]:
            del self._seen[name]

    def due(self, now: float, used: Collection[str]) -> Iterator[Leftover]:
        """Yield those that are to be deleted, but for those that are used here."""
        for seen in self._seen.values():
            if seen.name not in used and now - seen.since >= FORGOTTEN_SECONDS:
                yield seen
