"""What the configuration accepts, and what `kubevip plan` says of it."""

from __future__ import annotations

import shutil
from ipaddress import IPv4Interface, ip_address
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from kubevip import Duration, Interface, Machine, Outlook, Port, Severity
from kubevip_election_raft._config import MemberConfig, Profile, RaftConfig, TimingConfig
from kubevip_election_raft._consensus.timing import DEFAULT, FAST, RELAXED, Timing
from kubevip_election_raft.plugin import RAFT

from .certificates import make_keys

MACHINE = Machine(interfaces=(Interface(name="ens18", addresses=(IPv4Interface("192.168.0.71/24"),)),))


def member(number: int, **options: Any) -> MemberConfig:
    return MemberConfig(name=f"n{number}", address=ip_address(f"192.168.0.{69 + number}"), **options)


def config(size: int = 3, **options: Any) -> RaftConfig:
    return RaftConfig(members=tuple(member(number + 1) for number in range(size)), **options)


def outlook(node: str = "n2", **options: Any) -> Outlook:
    return Outlook(node_name=node, instance="default", machine=MACHINE, **options)


def test_the_plan_of_three() -> None:
    assert RAFT.describe is not None
    description = RAFT.describe(config(insecure=True), outlook())
    assert description.lines == (
        "n2 of n1 n2 n3, quorum 2, listens 192.168.0.71:10000/tcp (plain TCP)",
        "client waits: stop 15 ms, node lost 170-250 ms; no quorum = no VIP",
    )
    assert description.firewall == ("in 10000/tcp from 192.168.0.70 192.168.0.72",)
    assert description.problems == ()


def test_the_plan_of_a_witness_holds_nothing() -> None:
    assert RAFT.describe is not None
    three = config(insecure=True)
    members = tuple(evolve(member, witness=member.name == "n2") for member in three.members)
    description = RAFT.describe(evolve(three, members=members), outlook())
    assert description.holds_nothing
    assert description.lines[0].startswith("n2 of n1 n2 n3, witness, quorum 2")
    assert not RAFT.describe(evolve(three, members=members), outlook("n1")).holds_nothing


def test_the_plan_of_one() -> None:
    assert RAFT.describe is not None
    description = RAFT.describe(config(1), Outlook(node_name="n1", instance="default", machine=Machine()))
    assert description.lines[0] == "n1 alone, quorum 1, listens nowhere"
    assert description.firewall == ()
    assert [problem.severity for problem in description.problems] == [Severity.WARNING]


def test_the_plan_says_what_is_wrong_and_where() -> None:
    assert RAFT.describe is not None
    stranger = RAFT.describe(config(insecure=True), outlook("n9"))
    assert [(it.place.path, it.message) for it in stranger.problems] == [
        (("members",), "node n9 is none of n1 n2 n3; name it with --node")
    ]
    elsewhere = RAFT.describe(config(insecure=True), outlook("n1"))
    assert [(it.place.path, it.severity) for it in elsewhere.problems] == [
        (("members", 0, "address"), Severity.WARNING)
    ]


def test_the_plan_judges_the_keys_of_this_machine(tmp_path: Path) -> None:
    assert RAFT.describe is not None
    keys = make_keys(tmp_path / "keys")
    good = RAFT.describe(config(pki=keys / "n2"), outlook())
    assert good.problems == ()
    assert good.lines[0] == "n2 of n1 n2 n3, quorum 2, listens 192.168.0.71:10000/tcp (mTLS)"

    (none,) = RAFT.describe(config(pki=tmp_path / "nowhere"), outlook()).problems
    assert (none.place.path, none.severity) == (("pki",), Severity.ERROR)
    assert "nowhere: there are no keys (ca.crt, tls.crt, tls.key): make them anywhere with" in none.message
    assert "`kubevip raft keys init --members n1,n2,n3 --out keys` and copy keys/n2 there" in none.message

    (keys / "n2" / "tls.key").chmod(0o644)
    (bad,) = RAFT.describe(config(pki=keys / "n2"), outlook()).problems
    assert "others can read it (mode 0644): chmod 600" in bad.message
    assert RAFT.describe(config(), outlook(allow_insecure=True)).problems == ()


def test_the_plan_of_another_machine_warns_of_the_keys_that_are_not_here(tmp_path: Path) -> None:
    assert RAFT.describe is not None
    described = RAFT.describe(config(pki=tmp_path), outlook("n1"))
    assert {it.severity for it in described.problems} == {Severity.WARNING}


def test_the_plan_warns_of_a_ca_key_on_a_member(tmp_path: Path) -> None:
    assert RAFT.describe is not None
    keys = make_keys(tmp_path / "keys")
    shutil.copy(keys / "_ca" / "ca.key", keys / "n2")
    (warning,) = RAFT.describe(config(pki=keys / "n2"), outlook()).problems
    assert warning.severity is Severity.WARNING
    assert "keep it on no member" in warning.message


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"pki": Path("keys")}, "expected an absolute path, got keys"),
        ({"pki": Path("/srv/keys"), "insecure": True}, "insecure: excludes pki; leave one of them out"),
    ],
)
def test_keys_that_cannot_be_meant_are_refused(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        config(**options)


@pytest.mark.parametrize(
    ("members", "complaint"),
    [
        ((), "at least one"),
        (tuple(evolve(member(n), witness=True) for n in (1, 2, 3)), "all are witnesses"),
        ((member(1), member(2)), "two cannot fail over.*add a third member.*witness"),
        ((member(1), member(2), member(2)), "n2 is there more than once"),
        ((member(1), member(2), MemberConfig(name="x", address=member(1).address)), "address of more than one member"),
        ((member(1), member(2), MemberConfig(name="x", address=ip_address("2001:db8::1"))), "one family"),
    ],
)
def test_members_that_cannot_work_are_refused(members: tuple[MemberConfig, ...], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        RaftConfig(members=members)


def test_members_of_one_address_differ_by_port() -> None:
    members = tuple(
        MemberConfig(name=f"n{number}", address=ip_address("127.0.0.1"), port=Port(number)) for number in (1, 2, 3)
    )
    assert [RaftConfig(members=members).port_of(it) for it in members] == [1, 2, 3]


@pytest.mark.parametrize("name", ["", "n 1", "n\n1", "n" * 254])
def test_names_that_no_frame_can_carry_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a name"):
        MemberConfig(name=name, address=ip_address("192.168.0.1"))


@pytest.mark.parametrize(
    ("timing", "spans"),
    [
        (Profile.DEFAULT, DEFAULT),
        (Profile.FAST, FAST),
        (Profile.RELAXED, RELAXED),
        (
            TimingConfig(heartbeat=Duration(0.1), promise=Duration(0.6)),
            Timing(heartbeat_seconds=0.1, promise_seconds=0.6),
        ),
    ],
)
def test_a_profile_stands_for_time_spans(timing: Profile | TimingConfig, spans: Timing) -> None:
    assert config(timing=timing).time_spans == spans


@pytest.mark.parametrize(
    ("heartbeat", "promise", "complaint"),
    [
        (0.004, 1.0, "heartbeat 4 ms is too short: at least 5 ms"),
        (0.1, 0.299, "promise 299 ms is too short for a heartbeat of 100 ms: at least 300 ms"),
        (1.0, 61.0, "promise 61000 ms is too long"),
    ],
)
def test_time_spans_that_do_not_fit_together_are_refused(heartbeat: float, promise: float, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        TimingConfig(heartbeat=Duration(heartbeat), promise=Duration(promise))


def test_the_figures_of_the_profiles() -> None:
    assert [round(it.lease_seconds * 1000, 1) for it in (DEFAULT, FAST, RELAXED)] == [150.0, 37.5, 1000.0]
    assert [round(it.rank_seconds * 1000, 1) for it in (DEFAULT, FAST)] == [40.0, 10.0]
    assert [round(it.jitter_seconds * 1000, 1) for it in (DEFAULT, FAST)] == [20.0, 5.0]


@pytest.mark.parametrize(("sync", "promise"), [(0.001, 0.18), (0.045, 0.18), (0.05, 0.2), (100.0, 60.0)])
def test_a_promise_is_never_below_four_syncs(sync: float, promise: float) -> None:
    assert DEFAULT.for_disk(sync).promise_seconds == promise


@pytest.mark.parametrize("cluster", ["", "a\nb", "x" * 254])
def test_a_cluster_that_no_frame_could_carry_is_refused(cluster: str) -> None:
    with pytest.raises(ValueError, match="expected 1 to 253 characters that print"):
        config(cluster=cluster)
