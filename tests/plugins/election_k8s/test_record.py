from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_election_k8s._record import Record, micro_time, read_record, write_record

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["holderIdentity", "leaseDurationSeconds", "acquireTime", "renewTime", "leaseTransitions"]


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_micro_time_has_six_digits_of_a_second(moment: datetime) -> None:
    assert re.fullmatch(r"\d{1,4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", micro_time(moment))


def test_a_micro_time_is_in_utc() -> None:
    moscow = timezone(timedelta(hours=3))
    assert micro_time(datetime(2026, 11, 25, 10, 0, tzinfo=moscow)) == "2026-11-25T07:00:00.000000Z"


@given(st.dictionaries(st.sampled_from(KEYS), JSON) | JSON)
def test_whatever_a_lease_says_it_can_be_read(spec: object) -> None:
    record = read_record({"spec": spec})
    assert record.transitions >= 0
    assert record.duration_seconds is None or record.duration_seconds > 0


def test_what_others_keep_in_a_lease_stays_in_it() -> None:
    lease = {
        "metadata": {"name": "lock", "resourceVersion": "7", "annotations": {"a": "b"}},
        "spec": {"holderIdentity": "n1", "strategy": "OldestEmulationVersion"},
    }
    record = Record(holder="n2_1", duration_seconds=5, acquire_time="a", renew_time="r", transitions=3)
    written = write_record(lease, record)
    assert read_record(written) == record
    assert written["metadata"] == lease["metadata"]
    assert written["spec"]["strategy"] == "OldestEmulationVersion"  # type: ignore[index]


@pytest.mark.parametrize(
    ("identity", "node"), [("n1_7-00c0ffee00", "n1"), ("kube-vip-node", "kube-vip-node"), ("", None)]
)
def test_the_node_of_a_holder_is_read_from_identities_of_others_too(identity: str, node: str | None) -> None:
    assert Record(holder=identity).holder_node == node
