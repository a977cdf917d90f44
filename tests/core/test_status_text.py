"""What `kubevip status` prints: whole texts, and what counts as degraded."""

from __future__ import annotations

import json
from calendar import timegm
from copy import deepcopy
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread
from attrs import evolve, frozen
from hypothesis import given
from hypothesis import strategies as st

from kubevip import BackendHealth, Health, Level, ListenerHealth
from kubevip._control import Request, serve
from kubevip._model import Backend
from kubevip._status import GroupStatus, ListenerStatus, Outage, ServiceStatus, Snapshot, VipStatus
from kubevip._status_json import status_of
from kubevip._status_text import degraded, render, show, unready
from kubevip._status_values import clock, millis, span

if TYPE_CHECKING:
    from pathlib import Path


def moment(day: int, hour: int, minute: int, second: int) -> float:
    return float(timegm((2026, 11, day, hour, minute, second)))


NOW = moment(22, 10, 21, 0)


@frozen
class Refusal:
    at: float
    problems: tuple[object, ...]


RAFT = {
    "leader": "n1",
    "term": 7,
    "quorum": "3/3",
    "members": [
        {"name": "n1", "address": "192.168.0.70:10000", "state": "leader", "heard_ms": 18, "rtt_ms": 0.3,
         "version": "0.1.0", "config": "5f0c1a9e"},
        {"name": "n2", "address": "192.168.0.71:10000", "state": "follower", "heard_ms": None, "rtt_ms": None,
         "version": "0.1.0", "config": "5f0c1a9e"},
        {"name": "n3", "address": "192.168.0.72:10000", "state": "follower", "heard_ms": 31, "rtt_ms": 0.4,
         "version": "0.1.0", "config": "9b77e310"},
    ],
}  # fmt: skip

SNAPSHOT = Snapshot(
    node="n2",
    instance="default",
    config_digest="5f0c1a9e77aa",
    services=(
        ServiceStatus(kind="election", name="raft", provider="raft", state="open"),
        ServiceStatus(kind="election", name="services", provider="k8s", state="open"),
        ServiceStatus(kind="announcer", name="address", provider="address", state="open"),
    ),
    groups=(
        GroupStatus(name="api", election="raft", leader="n1"),
        GroupStatus(name="apps", election="services", is_leading=True, term=12, lease_seconds_left=2.4),
    ),
    vips=(
        VipStatus(
            name="api4",
            address=ip_address("192.168.0.75"),
            group="api",
            holder="n1",
            held_since=moment(22, 10, 14, 58),
            why="n3 link lost",
            last_outage=Outage(milliseconds=171, parts=(164, 5, 1, 1)),
        ),
        VipStatus(
            name="web",
            address=ip_address("192.168.0.76"),
            group="web",
            is_held=True,
            holder="n2",
            held_since=moment(19, 8, 0, 12),
            why="preferred",
            last_outage=Outage(milliseconds=3, how="moved"),
        ),
    ),
    listeners=(
        ListenerStatus(
            name="shop",
            on="192.168.0.76:80",
            proxy="http",
            is_listening=True,
            health=ListenerHealth(
                connections=212,
                backends=(
                    BackendHealth(backend=Backend(address="192.168.0.81", port=8080)),
                    BackendHealth(
                        backend=Backend(address="192.168.0.82", port=8080),
                        is_up=False,
                        reason="connect refused",
                        since=NOW - 245,
                    ),
                ),
            ),
        ),
    ),
)


def sample() -> dict[str, Any]:
    status = status_of(
        SNAPSHOT,
        {("election", "raft"): RAFT, ("announcer", "address"): {"fence": "nft"}},
        since=moment(22, 10, 15, 2),
        refused=Refusal(
            moment(22, 10, 20, 11),
            ("config.yaml:23: loadBalancers[0].port: expected an integer 1-65535, got 70000",),
        ),
        now=NOW,
        up_seconds=3 * 86400 + 4 * 3600 + 59,
    )
    copy: dict[str, Any] = json.loads(json.dumps(status))  # as it comes out of the socket
    return copy


def healthy() -> dict[str, Any]:
    status = sample()
    status["config"]["refused"] = None
    status["elections"][0]["members"][2]["config"] = "5f0c1a9e"
    status["listeners"][0]["backends"][1]["is_up"] = True
    return status


# The page that fixes the format, word for word.
EXPECTED = """\
n2  kubevip 0.1.0  up 3d 4h  config 5f0c1a9e since 10:15:02  fence nft
last configuration refused 10:20:11: config.yaml:23: loadBalancers[0].port: expected an integer 1-65535, got 70000
ELECTION  LEADER  TERM  QUORUM  LEASE LEFT
raft      n1      7     3/3     -
services  n2      12    -       2.4 s
MEMBER  ADDRESS             STATE     HEARD  RTT     VERSION  CONFIG
n1      192.168.0.70:10000  leader    18 ms  0.3 ms  0.1.0    5f0c1a9e
n2      192.168.0.71:10000  follower  -      -       0.1.0    5f0c1a9e
n3      192.168.0.72:10000  follower  31 ms  0.4 ms  0.1.0    9b77e310  differs
VIP   ADDRESS       GROUP  HOLDER  SINCE            WHY           LAST OUTAGE (detect+elect+add+announce)
api4  192.168.0.75  api    n1      11-22 10:14:58Z  n3 link lost  171 ms (164+5+1+1)
web   192.168.0.76  web    n2      11-19 08:00:12Z  preferred     3 ms (moved)
LISTENER  ON               PROXY  CONNS  BACKENDS
shop      192.168.0.76:80  http   212    1/2  192.168.0.82:8080 down 4m: connect refused"""


def test_a_whole_status_looks_as_it_is_fixed() -> None:
    assert render(sample()) == EXPECTED


def test_everything_that_is_not_as_it_should_be_is_degraded() -> None:
    assert degraded(sample()) == [
        "last configuration refused 10:20:11: config.yaml:23: loadBalancers[0].port: expected an integer 1-65535, got "
        "70000",
        "election raft: member n3 has other members, groups, virtual IPs or load balancers in its file (9b77e310)",
        "listener shop: 192.168.0.82:8080 down 4m: connect refused",
    ]


def test_what_a_check_counts_is_in_the_text_of_the_check() -> None:
    status = sample()
    status["elections"][0]["members"][2]["state"] = "unreachable"
    text = render(status, check=True).splitlines()
    assert render(sample(), check=True) == "\n".join(
        [
            EXPECTED,
            "degraded: election raft: member n3 has other members, groups, virtual IPs or load balancers in its file "
            "(9b77e310)",
            "degraded: listener shop: 192.168.0.82:8080 down 4m: connect refused",
        ]
    )
    for problem in degraded(status):
        assert problem in text or f"degraded: {problem}" in text
    assert render(healthy(), check=True) == render(healthy())


def test_who_does_not_hold_an_address_is_not_named_as_its_holder() -> None:
    """Whatever the election says: this node knows best what it holds itself."""
    vip = evolve(SNAPSHOT.vips[1], is_held=False, held_since=None, why="")
    status = status_of(evolve(SNAPSHOT, vips=(vip,)), {}, now=NOW)
    (row,) = (line for line in render(status).splitlines() if line.startswith("web"))
    assert row.split() == ["web", "192.168.0.76", "web", "-", "-", "-", "-"]
    assert "vip web has no holder that this node knows of" in degraded(status)


def test_an_address_that_somebody_else_claims_is_degraded_though_another_node_would_do_no_better() -> None:
    vip = evolve(SNAPSHOT.vips[1], health=Health(reason="192.168.0.76 is claimed by 02:00:00:00:00:09 too"))
    status = status_of(evolve(SNAPSHOT, vips=(vip,)), {}, now=NOW)
    remark = "vip web: 192.168.0.76 is claimed by 02:00:00:00:00:09 too"
    assert f"degraded: {remark}" in render(status)
    assert remark in degraded(status)


def test_a_healthy_status_is_not_degraded() -> None:
    assert degraded(healthy()) == []


def test_a_node_without_anything_has_no_tables() -> None:
    status = status_of(Snapshot(node="n1"), {}, now=NOW, up_seconds=5)
    assert render(status) == "n1  kubevip 0.1.0  up 5s  config -"
    assert degraded(status) == []


def test_a_node_that_waits_says_for_whom_and_why() -> None:
    status = healthy()
    status["elections"][0] |= {
        "leader": None,
        "waiting": {
            "for": 1,
            "members": [
                {"name": "n1", "address": "192.168.0.70:10000", "why": "wrong CA"},
                {"name": "n3", "address": "192.168.0.72:10000", "why": "refused"},
            ],
        },
    }
    line = "waiting for 1 of n1 at 192.168.0.70:10000 (wrong CA), n3 at 192.168.0.72:10000 (refused)"
    assert render(status).splitlines()[1] == line
    assert degraded(status) == [line]


def test_an_election_may_say_in_its_own_words_for_whom_it_waits() -> None:
    status = healthy()
    status["elections"][0]["waiting"] = "waiting for 1 of n2, n3 at 192.168.0.71:10000 (no answer)"
    assert degraded(status) == ["waiting for 1 of n2, n3 at 192.168.0.71:10000 (no answer)"]


def test_what_no_table_shows_is_said_below_them() -> None:
    snapshot = Snapshot(
        node="n1",
        services=(
            ServiceStatus(
                kind="election", name="raft", provider="raft", state="waiting", problem="port 10000 is taken"
            ),
        ),
        agents=(ServiceStatus(kind="agent", name="star", provider="starboard", state="failed"),),
        groups=(
            GroupStatus(name="api", election="raft", fitness=0, problem="ens18 is missing"),
            GroupStatus(name="web", election="raft", problem="drained by hand"),
        ),
        vips=(
            VipStatus(
                name="api",
                address=ip_address("2001:db8::75"),
                group="api",
                health=Health(level=Level.FAILED, reason="ens18 is missing"),
            ),
        ),
        listeners=(
            ListenerStatus(name="shop", on="*:80", proxy="tcp", health=ListenerHealth(problem="port 80 is taken")),
        ),
        problems=("config.yaml:4: warning",),
    )
    status = status_of(
        snapshot,
        {("announcer", "a"): {"fence": "nft"}, ("announcer", "b"): {"fence": "unfenced: no nf_tables"}},
        now=NOW,
        up_seconds=61,
    )
    remarks = [
        "config.yaml:4: warning",
        "unfenced: no nf_tables; a frozen process may keep its addresses longer than its lease",
        "election raft is waiting: port 10000 is taken",
        "agent star is failed",
        "vip api is failed: ens18 is missing",
        "vip api has no holder that this node knows of",
        "listener shop on *:80: port 80 is taken",
        "group web: drained by hand",
    ]
    assert degraded(status) == remarks
    assert render(status).splitlines() == [
        "n1  kubevip 0.1.0  up 1m 1s  config -  unfenced",
        "ELECTION  LEADER  TERM  QUORUM  LEASE LEFT",
        "raft      -       -     -       -",
        "VIP  ADDRESS       GROUP  HOLDER  SINCE  WHY  LAST OUTAGE (detect+elect+add+announce)",
        "api  2001:db8::75  api    -       -      -    -",
        "LISTENER  ON    PROXY  CONNS   BACKENDS",
        "shop      *:80  tcp    closed  -",
        *[f"degraded: {remark}" for remark in remarks],
    ]


def refusing(*problems: str) -> dict[str, Any]:
    snapshot = evolve(
        SNAPSHOT, services=(*SNAPSHOT.services, ServiceStatus(kind="source", name="k8s", provider="k8s", state="open"))
    )
    return status_of(snapshot, {("election", "raft"): RAFT, ("source", "k8s"): {"problems": list(problems)}})


def test_objects_that_a_source_refuses_are_shown_and_degraded_and_bounded() -> None:
    refused = "Service shop/bad: spec.loadBalancerIP: 127.0.0.1 is a loopback address"
    assert f"degraded: source k8s: {refused}" in render(refusing(refused))
    assert f"source k8s: {refused}" in degraded(refusing(refused))
    assert sum(line.startswith("source k8s: ") for line in degraded(refusing(*map(str, range(1000))))) == 30


def test_a_node_is_ready_that_takes_part_whatever_else_is_degraded() -> None:
    status = refusing("Service shop/bad: refused")
    assert any("down" in line for line in degraded(status))
    assert unready(status) == []


def test_a_node_is_not_ready_that_waits_or_cannot_open_what_it_needs() -> None:
    closed = ServiceStatus(kind="proxy", name="tcp", provider="tcp", state="waiting", problem="no right")
    waiting = {**RAFT, "waiting": "waiting for 1 of n2 at 192.0.2.2:10000 (no answer)"}
    status = status_of(evolve(SNAPSHOT, services=(*SNAPSHOT.services, closed)), {("election", "raft"): waiting})
    assert unready(status) == [
        "waiting for 1 of n2 at 192.0.2.2:10000 (no answer)",
        "proxy tcp is waiting: no right",
    ]


def test_a_member_that_is_not_heard_is_degraded() -> None:
    status = healthy()
    status["elections"][0]["members"][2]["state"] = "unreachable"
    assert degraded(status) == ["election raft: member n3 at 192.168.0.72:10000 is not heard"]


def test_why_a_member_is_not_heard_or_not_spoken_to_is_said() -> None:
    status = healthy()
    members = status["elections"][0]["members"]
    members[1]["problem"], members[2]["problem"] = "no answer", "wrong CA"
    members[2]["state"] = "unreachable"
    assert degraded(status) == [
        "election raft: member n2 at 192.168.0.71:10000 is heard and cannot be spoken to (no answer)",
        "election raft: member n3 at 192.168.0.72:10000 is not heard (wrong CA)",
    ]
    assert "unreachable: wrong CA" in render(status)


def test_what_an_election_warns_of_is_shown() -> None:
    status = healthy()
    status["elections"][0]["warnings"] = ["tls.crt expires soon\x07"]
    assert degraded(status) == ["election raft: tls.crt expires soon?"]
    assert "degraded: election raft: tls.crt expires soon?" in render(status)


def test_text_from_others_cannot_steer_the_terminal() -> None:
    status = healthy()
    status["elections"][0]["members"][2]["version"] = "0.1.0\x1b[2J\nn4"
    status["vips"][0]["why"] = "link\r\x07lost"
    text = render(status)
    assert "0.1.0?[2J?n4" in text
    assert all(line.isprintable() for line in text.splitlines())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
def test_a_status_of_another_version_is_still_shown(data: st.DataObject) -> None:
    status = deepcopy(sample())
    node: Any = status
    while isinstance(node, dict | list) and node:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()):
            node[key] = data.draw(JSON)
            break
        node = node[key]
    lines = [*render(status).split("\n"), *degraded(status)]
    assert all(line.isprintable() for line in lines)
    assert "  kubevip " in lines[0]


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(None, "-"), (0, "0 ms"), (0.04, "0 ms"), (0.31, "0.3 ms"), (9.96, "10 ms"), (171.4, "171 ms"), (12_300, "12 s"),
     (245_000, "4m 5s")],
)  # fmt: skip
def test_milliseconds_are_written_for_people(milliseconds: float | None, shown: str) -> None:
    assert millis(milliseconds) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "-"), (0, "0s"), (59.9, "59s"), (60, "1m 0s"), (3 * 86400, "3d 0h"), (-5, "0s")]
)
def test_durations_are_written_in_two_units(seconds: float | None, shown: str) -> None:
    assert span(seconds) == shown


def test_a_moment_of_another_day_bears_its_date() -> None:
    assert clock(moment(21, 23, 59, 59), NOW) == "11-21 23:59:59Z"
    assert clock(moment(22, 0, 0, 0), NOW) == "00:00:00"


@pytest.mark.anyio
@pytest.mark.parametrize(("check", "exit_status"), [(False, 0), (True, 1)])
@pytest.mark.parametrize("as_json", [False, True])
async def test_show_prints_what_the_daemon_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], check: bool, as_json: bool, exit_status: int
) -> None:
    async def answer(request: Request) -> object:
        assert request == Request(verb="status")
        return sample()

    async with serve(tmp_path / "control.sock", answer):
        with anyio.fail_after(20):
            code = await to_thread.run_sync(lambda: show(tmp_path, as_json=as_json, check=check))
    out, err = capsys.readouterr()
    assert code == exit_status
    assert (json.loads(out) == sample()) if as_json else (out == render(sample(), check=check) + "\n")
    assert err.count("kubevip: degraded: ") == (3 if check and as_json else 0)


@pytest.mark.anyio
@pytest.mark.parametrize(("answer", "code"), [({"vips": []}, 0), ({"elections": [{"waiting": "n2"}]}, 1)])
async def test_ready_says_on_stderr_what_is_missing(
    answer: dict[str, Any], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def answer_it(request: Request) -> object:
        return answer

    async with serve(tmp_path / "control.sock", answer_it):
        with anyio.fail_after(20):
            assert await to_thread.run_sync(lambda: show(tmp_path, ready=True)) == code
    assert capsys.readouterr().err == ("kubevip: not ready: waiting for n2\n" if code else "")


def test_show_without_a_daemon_ends_with_status_69(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show(tmp_path) == 69
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"kubevip: no daemon answers at {tmp_path}/control.sock")
