"""What a member says of who answers, for `kubevip status`."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import pytest

from kubevip_election_raft import _status
from kubevip_election_raft._consensus.ready import Role

PROMISE = 0.18


@pytest.fixture
def described(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what node n1 says at 100 s of a group whose members were heard at `heard`."""
    monkeypatch.setattr(_status, "of_others", lambda node, now: ())
    monkeypatch.setattr(_status, "waits", lambda node, endpoint: None)
    monkeypatch.setattr(_status, "count_of", lambda epoch: 0)

    def describe(leader: str | None, **heard: float) -> Any:
        role = Role.LEADER if leader == "n1" else Role.FOLLOWER if leader else Role.CANDIDATE
        names = ("n1", *heard)
        node = SimpleNamespace(
            members=names,
            records=(),
            epoch=None,
            process=SimpleNamespace(name="n1"),
            state=SimpleNamespace(leader=leader, term=7, role=role),
            timing=SimpleNamespace(promise_seconds=PROMISE),
            offers=SimpleNamespace(promise_seconds=0.0),
        )
        link = SimpleNamespace(round_trip_seconds=lambda: None, software="", config="", problem="")
        transport = SimpleNamespace(
            links=dict.fromkeys(heard, link),
            heard_at=lambda name: heard.get(name, -math.inf),
            refused_count=0,
            warnings=(),
        )
        return _status.describe_members(cast("Any", node), cast("Any", transport), dict.fromkeys(names), 100.0)  # type: ignore[arg-type] # addresses are not asked for

    return describe


def states(described: Any) -> list[str]:
    return [row["state"] for row in described["members"]]


def test_a_leader_counts_out_who_has_not_answered_for_a_promise(described: Any) -> None:
    said = described("n1", n2=99.9, n3=100 - PROMISE - 0.01)
    assert (said["quorum"], states(said)) == ("2/3", ["leader", "follower", "unreachable"])


def test_two_followers_that_only_ping_each_other_are_given_three_pings(described: Any) -> None:
    assert described("n2", n2=99.95, n3=97.5)["quorum"] == "3/3"
    assert described("n2", n2=99.95, n3=96.9)["quorum"] == "2/3"


def test_a_follower_does_not_count_a_leader_that_it_does_not_hear(described: Any) -> None:
    assert described("n2", n2=100 - PROMISE - 0.01, n3=99.5)["quorum"] == "2/3"


def test_without_a_leader_only_who_takes_part_in_the_rounds_counts_and_the_others_are_waited_for(
    described: Any,
) -> None:
    said = described(None, n2=99.5, n3=99.0)
    assert said["quorum"] == "1/3"
    assert said["waiting"].startswith("waiting for 1 of n2 at ")
