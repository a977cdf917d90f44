from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve

from kubevip import Duration, Outlook
from kubevip._machine import Machine
from kubevip_election_k8s import _instance
from kubevip_election_k8s._config import LeaseConfig, Scope
from kubevip_election_k8s._description import describe
from kubevip_election_k8s._lease_name import LeaseName, lease_of_group, parse_lease_name
from kubevip_k8s import Access, own_server


def config(lease: float, renew: float, retry: float) -> LeaseConfig:
    return LeaseConfig(lease_duration=Duration(lease), renew_deadline=Duration(renew), retry_period=Duration(retry))


@pytest.mark.parametrize("spans", [(5, 3, 1), (15, 10, 2), (10, 5, 1), (3, 2, 1), (1, 0.6, 0.2)])
def test_time_spans_that_have_been_in_use_are_accepted(spans: tuple[float, float, float]) -> None:
    assert config(*spans).timing.lease_seconds == spans[0]


@pytest.mark.parametrize(
    ("spans", "named"),
    [
        ((5, 5, 1), "leaseDuration"),
        ((5, 6, 1), "leaseDuration"),
        ((2.5, 2, 1), "leaseDuration: a Lease counts whole seconds"),
        ((5, 1.2, 1), "renewDeadline"),
        ((5, 3, 0), "retryPeriod"),
        ((0, 0, 0), "leaseDuration"),
    ],
)
def test_time_spans_that_do_not_go_together_are_refused(spans: tuple[float, float, float], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        config(*spans)


@pytest.mark.parametrize("text", ["lock", "/lock", "kube-system/", "Kube/lock", "a/b/c", "a/B", "a" * 64 + "/b"])
def test_names_that_no_lease_can_have_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lease: "):
        parse_lease_name(text)


@pytest.mark.parametrize("lease", ["kube-system/plndr-cp-lock", "default/plunder-lock"])
def test_the_names_of_kube_vip_are_accepted(lease: str) -> None:
    assert str(LeaseConfig(lease=lease).lease_name) == lease


def test_the_lease_of_a_group_has_a_name_that_is_valid_and_its_own() -> None:
    base = LeaseName("kube-system", "lock")
    groups = ["web", "default/web", "default_web", "Default/Web", "x" * 300, "x" * 301, "ä", "web-", "."]
    leases = [lease_of_group(base, group) for group in groups]
    assert leases[0] == LeaseName("kube-system", "lock-web")
    assert len(set(leases)) == len(groups)
    for lease in leases:
        assert parse_lease_name(str(lease)) == lease


def outlook() -> Outlook:
    return Outlook(node_name="n2", instance="default", machine=Machine(host_name="n2"))


def test_a_plan_names_lease_time_spans_and_how_long_clients_wait() -> None:
    described = describe(LeaseConfig(), outlook())
    assert described.lines == ("Lease kube-system/plndr-cp-lock as n2, 5/3/1 s; node lost 6 s",)
    assert described.problems == ()


def test_a_plan_says_that_there_is_a_lease_for_each_group() -> None:
    (line,) = describe(evolve(LeaseConfig(), scope=Scope.SERVICE), outlook()).lines
    assert line.startswith("a Lease for each group, like kube-system/plndr-cp-lock as n2")


def test_a_plan_warns_of_a_kubeconfig_that_is_not_there(tmp_path: Path) -> None:
    (problem,) = describe(LeaseConfig(kubeconfig=tmp_path / "admin.conf"), outlook()).problems
    assert "admin.conf is not there" in problem.message


def test_an_address_of_the_api_is_a_url() -> None:
    with pytest.raises(ValueError, match="expected a URL"):
        LeaseConfig(server="127.0.0.1:6443")


def test_a_context_belongs_to_a_kubeconfig_that_is_named() -> None:
    with pytest.raises(ValueError, match="context: is one of a kubeconfig"):
        LeaseConfig(control_plane=True, context="admin")
    assert LeaseConfig(control_plane=True, context="admin", kubeconfig=Path("/x")).context == "admin"


def test_on_a_control_plane_every_way_is_to_the_nodes_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr(_instance, "open_control_plane_api", opened.append)
    monkeypatch.setattr(_instance, "open_api", opened.append)
    _instance._open_api(LeaseConfig(control_plane=True))
    _instance._open_api(LeaseConfig(control_plane=True, kubeconfig=Path("/x"), server="https://127.0.0.1:6444"))
    _instance._open_api(LeaseConfig())
    found, configured, plain = opened
    assert found == own_server()
    assert configured == own_server(Path("/x"), server="https://127.0.0.1:6444")
    assert plain == Access()
