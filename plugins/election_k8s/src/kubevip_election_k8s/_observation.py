"""What is known of a Lease here, and from when on nobody holds it, on this machine's clock."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from kubevip_election_k8s._record import Record


@frozen(kw_only=True)
class Observation:
    """A Lease as last seen.

    `lease` is the object as the API gave it, None when there is none. `since` is when this record was first seen and
    `free_at` from when on others than its holder may take it, on a clock that goes on while the machine sleeps. A
    Lease that was deleted, or emptied by hand, is free only when whoever held it before has stopped.
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


def observe(
    before: Observation | None,
    record: Record | None,
    lease: Mapping[str, object] | None,
    version: str,
    *,
    now: float,
    default_seconds: float,
) -> Observation:
    """Return what is known after `record` was seen at `now`.

    :param version: the resource version of what was seen; a list's, when there is no Lease.
    :param default_seconds: how long a holder holds whose record does not say.
    """
    if before is not None and record == before.record:  # another version of the same record renews nothing
        since, free_at = before.since, before.free_at
    else:
        since = now
        if record is not None and record.holder:
            free_at = now + _seconds_of(record, default_seconds)
        elif (record is not None and record.was_released) or before is None:
            free_at = now
        elif before.record is not None and before.record.holder:
            # It may have been renewed since it was last seen, right before it was deleted or emptied.
            free_at = now + _seconds_of(before.record, default_seconds)
        else:
            free_at = max(now, before.free_at)
    return Observation(record=record, lease=lease, version=version, since=since, free_at=free_at)


def is_older(version: str, than: str) -> bool:
    """Return whether `version` is known to precede `than`; versions that are no numbers cannot be compared."""
    return version.isdecimal() and than.isdecimal() and int(version) < int(than)


def _seconds_of(record: Record, default_seconds: float) -> float:
    return default_seconds if record.duration_seconds is None else record.duration_seconds
