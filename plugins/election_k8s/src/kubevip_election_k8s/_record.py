"""What a Lease says, as client-go writes and reads it: the format that all electors on one Lease share."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import cast

from attrs import frozen

#: What a release leaves behind: nobody, and a second that nobody has to wait for. client-go does the same.
RELEASED_DURATION_SECONDS = 1


@frozen(kw_only=True)
class Record:
    """The election's part of a Lease.

    `holder` is an identity, "" for nobody. `duration_seconds` is how long the holder holds after a renewal, None if the
    Lease does not say. Times are the server's text: they are compared and shown, and never computed with, because the
    clocks of two machines differ.
    """

    holder: str = ""
    duration_seconds: int | None = None
    acquire_time: str = ""
    renew_time: str = ""
    transitions: int = 0

    @property
    def was_released(self) -> bool:
        """Whether an elector has let go in good order, and no hand emptied a Lease that is in use."""
        return not self.holder and self.duration_seconds == RELEASED_DURATION_SECONDS

    @property
    def holder_node(self) -> str | None:
        """The node of the holder."""
        return node_of(self.holder) or None


def node_of(identity: str) -> str:
    """Return the node of an identity: what precedes the first underscore, which no name of a node has."""
    return identity.partition("_")[0]


def micro_time(moment: datetime) -> str:
    """Return `moment` with exactly six digits of a second: the API server accepts nothing else as a MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def read_record(lease: Mapping[str, object]) -> Record:
    """Read a Lease as the API gave it; what is not of its type counts as absent."""
    spec = _mapping(lease.get("spec"))
    duration = _count(spec.get("leaseDurationSeconds"))
    return Record(
        holder=_text(spec.get("holderIdentity")),
        duration_seconds=duration or None,
        acquire_time=_text(spec.get("acquireTime")),
        renew_time=_text(spec.get("renewTime")),
        transitions=_count(spec.get("leaseTransitions")) or 0,
    )


def write_record(lease: Mapping[str, object], record: Record) -> dict[str, object]:
    """Return `lease` with `record` in it; everything else that is in it stays, its version included."""
    ours: dict[str, object] = {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": record.duration_seconds,
        "acquireTime": record.acquire_time,
        "renewTime": record.renew_time,
        "leaseTransitions": record.transitions,
    }
    return {**lease, "spec": {**_mapping(lease.get("spec")), **ours}}


def with_labels(lease: Mapping[str, object], labels: Mapping[str, str]) -> dict[str, object]:
    """Return `lease` with these labels besides those that it has."""
    metadata = metadata_of(lease)
    return {**lease, "metadata": {**metadata, "labels": {**_mapping(metadata.get("labels")), **labels}}}


def with_annotations(lease: Mapping[str, object], changes: Mapping[str, str | None]) -> dict[str, object]:
    """Return `lease` with these annotations besides those that it has, and without those that are None."""
    metadata = metadata_of(lease)
    annotations = {**annotations_of(lease), **changes}
    kept = {name: text for name, text in annotations.items() if text is not None}
    return {**lease, "metadata": {**metadata, "annotations": kept}}


def annotations_of(lease: Mapping[str, object]) -> Mapping[str, object]:
    """Return the annotations of an object of the API, empty if it has none."""
    return _mapping(metadata_of(lease).get("annotations"))


def metadata_of(lease: Mapping[str, object]) -> Mapping[str, object]:
    """Return the metadata of an object of the API, empty if it has none."""
    return _mapping(lease.get("metadata"))


def version_of(lease: Mapping[str, object]) -> str:
    """Return the resource version of an object or a list of the API; "" if it has none."""
    return _text(metadata_of(lease).get("resourceVersion"))


def uid_of(lease: Mapping[str, object]) -> str:
    """Return the uid of an object of the API; "" if it has none."""
    return _text(metadata_of(lease).get("uid"))


def name_of(lease: Mapping[str, object]) -> str:
    """Return the name of an object of the API; "" if it has none."""
    return _text(metadata_of(lease).get("name"))


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
