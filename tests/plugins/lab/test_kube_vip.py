"""The lab against kube-vip, whose failings are known."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from attrs import asdict

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab._api_server import open_api_server
from kubevip_lab._faults import FAULTS
from kubevip_lab._kube_vip import KubeVip, find_kube_vip, kube_vip_environment, prepare_kube_vip
from kubevip_lab._lab import open_lab, plan
from kubevip_lab._round import Round, run_round, wait_until_whole
from kubevip_lab._sandbox import call
from kubevip_lab._watch import open_watch

if TYPE_CHECKING:
    from pathlib import Path

    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network

TIMEOUT_SECONDS = 60.0


@pytest.mark.netns
@pytest.mark.skipif(shutil.which("kube-vip") is None, reason="kube-vip is not on PATH")
def test_its_stop_takes_seconds_and_it_is_started_again(tmp_path: Path) -> None:
    def body() -> dict[str, Any]:
        def make(network: Network, what: Plan) -> KubeVip:
            server = stack.enter_context(open_api_server(network, tmp_path))
            return prepare_kube_vip(network, what, tmp_path, server.kubeconfig)

        with ExitStack() as stack, open_lab(plan(serves_on_nodes=True), make) as lab, open_watch(lab, 0.01) as watch:
            holder = wait_until_whole(lab, watch, TIMEOUT_SECONDS)
            return asdict(run_round(lab, watch, FAULTS["term"], holder, TIMEOUT_SECONDS))

    stopped = Round(**call(body))
    assert stopped.is_good
    assert stopped.outage_ms > 500  # its first announcement waits


def test_where_it_is_not_found_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    with pytest.raises(NotPermittedError, match="not on PATH"):
        find_kube_vip()


def test_a_node_is_set_up_as_a_control_plane_with_arp_and_no_timings_of_ours() -> None:
    environment = kube_vip_environment(plan(), "n2")

    assert environment["address"] == "10.77.0.100"
    assert environment["vip_nodename"] == "n2"
    assert {name for name, value in environment.items() if value == "true"} == {
        "vip_arp",
        "cp_enable",
        "vip_leaderelection",
    }
    assert not [name for name in environment if "duration" in name or "deadline" in name]


def test_who_ended_is_started_again_as_a_kubelet_would() -> None:
    daemon = FakeDaemon()

    KubeVip(daemons={"n1": daemon}).revive()  # type: ignore[dict-item]  # all that is asked of a daemon here

    assert daemon.starts == 1


class FakeDaemon:
    starts = 0

    def start(self) -> None:
        self.starts += 1


def test_it_cannot_be_told_to_move() -> None:
    with pytest.raises(KubevipError, match="cannot be told"):
        KubeVip().move("n1", "n2")
