"""What is known of a Lease here, and from when on others may take it, on this machine's clock."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import evolve, frozen

from kubevip_election_k8s._record import Record


@frozen(kw_only=True)
class Observation:
    """A Lease as last seen.

    `lease` is the object as the API gave it, None when there is none. `since` is when this record was first seen and
    `free_at` from when on others than its holder may write it, on a clock that goes on while the machine sleeps.
    """

    record: Record | None
    lease: Mapping[str, object] | None
    version: str
    since: float
    free_at: float

    @property
    def holder(self) -> str:
        """The identity that holds it, "" for nobody."""
        return self.record.holder if self.record is not None else ""

    @property
    def is_vacant(self) -> bool:
        """Whether it is not there, or was emptied by hand: nothing says then that nobody holds, or how long ago."""
        return self.record is None or not (self.record.holder or self.record.was_released)


def observe(
    before: Observation | None,
    record: Record | None,
    lease: Mapping[str, object] | None,
    version: str,
    *,
    now: float,
    default_seconds: float,
    vacant_seconds: float,
) -> Observation:
    """Return what is known after `record` was seen at `now`.

    :param version: the resource version of what was seen; a list's, when there is no Lease.
    :param default_seconds: how long a holder holds whose record does not say.
    :param vacant_seconds: how long a vacant Lease is left to its holder, who writes it again when it finds it so.
    """
    if before is not None and record == before.record:  # another version of the same record renews nothing
        return evolve(before, lease=lease, version=version)
    free_at = now
    if record is not None and record.holder:
        free_at += default_seconds if record.duration_seconds is None else record.duration_seconds
    seen = Observation(record=record, lease=lease, version=version, since=now, free_at=free_at)
    return evolve(seen, free_at=now + vacant_seconds) if seen.is_vacant else seen


def is_older(version: str, than: str) -> bool:
    """Return whether `version` is known to precede `than`; versions that are no numbers cannot be compared."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)
