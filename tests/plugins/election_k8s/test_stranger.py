"""A Lease that is held by somebody else than kubevip, or for very long, is told with the remedy."""

from __future__ import annotations

import pytest

from kubevip_election_k8s._lease_name import LeaseName
from kubevip_election_k8s._record import Record
from kubevip_election_k8s._stranger import shown_holder, warning_about

LEASE, OURS = LeaseName("kube-system", "lock"), "n2_7-0123456789"


@pytest.mark.parametrize(
    ("holder", "shown"),
    [
        ("", None),
        (OURS, "n2"),
        ("n2", "n2 (foreign)"),
        ("host_3f2c5b1e-0d7e-4a70-9a57-1a2b3c4d5e6f", "host_3f2c5b1e-0d7e-4a70-9a57-1a2b3c4d5e6f (foreign)"),
    ],
)
def test_a_foreign_holder_is_shown_as_it_calls_itself(holder: str, shown: str | None) -> None:
    assert shown_holder(Record(holder=holder)) == shown


def test_who_holds_a_lease_that_is_not_there_is_nobody() -> None:
    assert shown_holder(None) is None


@pytest.mark.parametrize(
    "record",
    [None, Record(), Record(holder=OURS, duration_seconds=5), Record(holder=OURS, duration_seconds=60)],
)
def test_nobody_and_another_node_are_no_strangers(record: Record | None) -> None:
    assert warning_about(LEASE, record) == ""


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Record(holder="intruder2", duration_seconds=5), "is held by 'intruder2', which is none of kubevip's; if"),
        (
            Record(holder="intruder2", duration_seconds=100_000),
            "is held by 'intruder2', which is none of kubevip's, for 100000 s after each renewal; if",
        ),
        (Record(holder=OURS, duration_seconds=61), f"is held by '{OURS}' for 61 s after each renewal; if"),
    ],
)
def test_a_stranger_and_a_long_wait_are_told_with_the_remedy(record: Record, said: str) -> None:
    warning = warning_about(LEASE, record)
    assert warning.startswith(f"Lease kube-system/lock {said}")
    assert warning.endswith("if that is gone for good, delete the Lease")
