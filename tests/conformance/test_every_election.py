"""Every election of the repository keeps the duties of `kubevip.abc.Election`, on both event loops."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen
from tests.plugins.election_k8s.leases import LoopClock

from kubevip import Duration, Port
from kubevip._builtin.plugin import SINGLE, SingleConfig
from kubevip.abc import Election
from kubevip.testing import check_election, check_handover, make_host
from kubevip_election_k8s._config import LeaseConfig
from kubevip_election_k8s._instance import open_election
from kubevip_election_raft._config import MemberConfig, RaftConfig, TimingConfig
from kubevip_election_raft.plugin import RAFT
from kubevip_k8s.testing import FakeCluster

pytestmark = pytest.mark.anyio

Make = Callable[[], AbstractAsyncContextManager[Election]]


@frozen(kw_only=True)
class Rig:
    """An election: `open` gives what opens each of `nodes` nodes; it runs in virtual time where it has no I/O."""

    name: str
    open: Callable[[Path, int], Sequence[Make]]
    is_virtual: bool = False


def single(folder: Path, nodes: int) -> Sequence[Make]:
    return [lambda: SINGLE.open(SingleConfig(), make_host(folder))]


def raft(folder: Path, nodes: int) -> Sequence[Make]:
    """Members with loopback addresses of their own, slower than usual because other tests may keep the machine busy."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = Port(probe.getsockname()[1])
    names = [f"n{number}" for number in range(1, nodes + 1)]
    members = tuple(
        MemberConfig(name=name, address=IPv4Address(f"127.0.0.{number}")) for number, name in enumerate(names, 1)
    )
    timing = TimingConfig(heartbeat=Duration(0.1), promise=Duration(0.6))
    config = RaftConfig(members=members, port=port, timing=timing, insecure=True)

    def make(name: str) -> AbstractAsyncContextManager[Election]:
        (folder / name).mkdir(exist_ok=True)
        return RAFT.open(config, make_host(folder / name, node_name=name))

    return [partial(make, name) for name in names]


def lease(folder: Path, nodes: int) -> Sequence[Make]:
    cluster = FakeCluster()
    config = LeaseConfig(lease="kube-system/lock")

    def make(name: str) -> AbstractAsyncContextManager[Election]:
        (folder / name).mkdir(exist_ok=True)
        host = make_host(folder / name, node_name=name)
        return open_election(config, host, cluster.api(cluster.admin_token), LoopClock())

    return [partial(make, f"n{number}") for number in range(1, nodes + 1)]


LEASE_RIG = Rig(name="k8s", open=lease, is_virtual=True)
SINGLE_RIG, RAFT_RIG = Rig(name="single", open=single, is_virtual=True), Rig(name="raft", open=raft)


@pytest.fixture
def rig(request: pytest.FixtureRequest) -> Rig:
    found: Rig = request.param
    return found


@pytest.fixture
def anyio_backend(rig: Rig, virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time if rig.is_virtual else (virtual_time[0], {})


@pytest.mark.parametrize("rig", [SINGLE_RIG, RAFT_RIG, LEASE_RIG], indirect=True, ids=lambda rig: rig.name)
async def test_an_election_that_wins_keeps_its_duties(rig: Rig, tmp_path: Path) -> None:
    (make,) = rig.open(tmp_path, 1)
    await check_election(make)


@pytest.mark.parametrize("rig", [RAFT_RIG, LEASE_RIG], indirect=True, ids=lambda rig: rig.name)
async def test_nodes_that_compete_hand_over_one_at_a_time(rig: Rig, tmp_path: Path) -> None:
    await check_handover(rig.open(tmp_path, 3))
