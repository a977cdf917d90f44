from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from kubevip import Kind, Severity, structure
from kubevip.errors import ConfigError
from kubevip_election_k8s._config import LeaseConfig
from kubevip_source_k8s._config import K8sSourceConfig, Mode
from kubevip_source_k8s._description import describe
from kubevip_source_k8s._environment import from_environment
from kubevip_source_k8s._terms import terms_of
from kubevip_source_k8s.plugin import K8S


def test_the_variables_of_a_pod_are_a_configuration() -> None:
    section = from_environment({"vip_interface": "eth1", "vip_arp": "true", "vip_configmap": "mine"})
    assert section is not None
    config = structure(section, K8S.config)
    assert (config.mode, config.config_map, config.interface) == (Mode.CONFIG_MAP, "mine", "eth1")
    assert config.announce == ("address", "arp")


def test_the_config_map_has_its_usual_name_and_announcing_is_asked_for() -> None:
    section = from_environment({"vip_interface": "eth1"})
    assert section is not None
    config = structure(section, K8S.config)
    assert (config.config_map, config.announce) == ("plndr", ("address",))
    assert from_environment({}) is None


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"vip_address": "10.0.0.9"}, "environment: vip_address: belongs to a configuration file, and there is none"),
        ({"vip_singlenode": "true"}, "environment: vip_singlenode: belongs to a configuration file"),
        ({"vip_arp": "maybe"}, 'environment: vip_arp: expected true or false, got "maybe"'),
        ({"vip_configmap": "a b"}, "environment: vip_configmap: expected the name of a ConfigMap"),
        ({"vip_interface": "a/b"}, "environment: vip_interface: expected the name of a network device"),
    ],
)
def test_variables_of_the_control_plane_and_wrong_ones_are_refused(variables: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as refused:
        section = from_environment({"vip_interface": "eth0", **variables})
        assert section is not None
        structure(section, K8S.config)
    assert any(str(it).startswith(problem) for it in refused.value.problems)


def test_a_variable_of_the_control_plane_that_says_no_is_passed_over() -> None:
    assert from_environment({"vip_interface": "eth0", "vip_singlenode": "false", "lb_enable": ""}) is not None


@pytest.mark.parametrize("mode", list(Mode))
def test_the_elections_of_its_own_are_accepted_by_their_provider(mode: Mode) -> None:
    terms = terms_of(K8sSourceConfig(mode=mode, namespaces=("shop",), server="https://127.0.0.1:6443"), "n1")
    for instance in (*terms.instances, *terms.local_instances):
        assert (instance.kind, instance.section.provider) == (Kind.ELECTION, "k8s")
        config = structure(instance.section, LeaseConfig)
        lease = "shop/plunder-lock" if mode is Mode.CONFIG_MAP else "kube-system/plndr-svcs-lock"
        assert (config.lease, config.server) == (lease, "https://127.0.0.1:6443")


def test_a_group_or_election_of_the_file_takes_the_place_of_its_own() -> None:
    of_group = terms_of(K8sSourceConfig(group="apps"), "n1")
    assert (of_group.group, of_group.groups, of_group.instances) == ("apps", (), ())
    of_election = terms_of(K8sSourceConfig(election="raft"), "n1")
    assert ([group.election for group in of_election.groups], of_election.local_election) == (["raft"], "raft")


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": Mode.CONFIG_MAP, "namespaces": ("a", "b")},
        {"lease": "a/b", "group": "apps"},
        {"announce": ()},
    ],
)
def test_what_contradicts_itself_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises((ValueError, ConfigError)):
        K8sSourceConfig(**wrong)


@pytest.mark.parametrize(
    ("config", "lines"),
    [
        (
            {},
            [
                "Services of type LoadBalancer in all namespaces; addresses: any; `addresses` limits them",
                "held by Lease kube-system/plndr-svcs-lock; announced by address and arp; balanced by kube-proxy",
            ],
        ),
        (
            {"namespaces": ("a", "b"), "addresses": (ip_network("192.168.0.64/27"),), "group": "apps"},
            [
                "Services of type LoadBalancer in namespace a, b; addresses: 192.168.0.64/27",
                "held by group apps; announced by address and arp; balanced by kube-proxy",
            ],
        ),
        (
            {"mode": Mode.CONFIG_MAP, "namespaces": ("shop",), "election": "raft"},
            [
                "the entries of ConfigMap shop/plndr",
                "held by election raft; announced by address and arp; balanced by kubevip's listeners",
            ],
        ),
    ],
)
def test_a_plan_says_what_would_be_read_and_who_would_hold_it(config: dict[str, Any], lines: list[str]) -> None:
    assert list(describe(K8sSourceConfig(**config)).lines) == lines


def test_a_kubeconfig_that_is_not_there_is_told_at_its_place(tmp_path: Path) -> None:
    (problem,) = describe(K8sSourceConfig(kubeconfig=tmp_path / "none")).problems
    assert (problem.place.path, problem.severity) == (("kubeconfig",), Severity.WARNING)
