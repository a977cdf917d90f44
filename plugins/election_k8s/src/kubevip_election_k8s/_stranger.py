"""Who holds a Lease without being kubevip: another program's elector, or one that is long gone."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubevip_election_k8s._lease_name import LeaseName
    from kubevip_election_k8s._record import Record

#: As `identity_of` makes them: node, underscore, incarnation, and ten digits that nobody else draws.
_OURS = re.compile(r"[^_]+_[0-9]+-[0-9a-f]{10}")

#: Four times what kube-vip's electors and Kubernetes' own ask for: nobody who fails over waits for so long.
LONG_SECONDS = 60
_LONGEST_SHOWN = 80


def shown_holder(record: Record | None) -> str | None:
    """Return who holds a Lease, for people: the node of one of kubevip's, anybody else as it calls itself."""
    if record is None or not record.holder:
        return None
    is_ours = _OURS.fullmatch(record.holder) is not None
    return record.holder_node if is_ours else f"{record.holder[:_LONGEST_SHOWN]} (foreign)"


def warning_about(lease: LeaseName, record: Record | None) -> str:
    """Return what people have to know of a Lease's holder, "" for nothing."""
    if record is None or not record.holder:
        return ""
    is_ours, seconds = _OURS.fullmatch(record.holder) is not None, record.duration_seconds or 0
    if is_ours and seconds <= LONG_SECONDS:
        return ""
    stranger = "" if is_ours else ", which is none of kubevip's,"
    spell = f" for {seconds} s after each renewal" if seconds > LONG_SECONDS else ""
    held = f"{record.holder[:_LONGEST_SHOWN]!r}{stranger}{spell}".removesuffix(",")
    return f"Lease {lease} is held by {held}; if that is gone for good, delete the Lease"
