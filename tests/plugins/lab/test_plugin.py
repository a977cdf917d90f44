from __future__ import annotations

import argparse
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml

from kubevip.control import Client
from kubevip.errors import KubevipError
from kubevip_lab import plugin
from kubevip_lab._faults import FAULTS
from kubevip_lab._kubevip import native_file, original_file
from kubevip_lab._lab import plan
from kubevip_lab._peers import PEERS
from kubevip_lab._round import HOLD_SECONDS


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(exit_on_error=False)
    plugin.configure(parser)
    return parser


def test_every_fault_can_be_asked_for() -> None:
    assert set(plugin.FAULT_NAMES) == set(FAULTS)


def test_every_peer_can_be_asked_for_and_all_it_cannot_do_are_faults() -> None:
    assert set(plugin.PEER_NAMES) == set(PEERS)
    assert all(peer.cannot <= set(FAULTS) for peer in PEERS.values())


def test_a_measurement_has_defaults(parser: argparse.ArgumentParser) -> None:
    args = parser.parse_args(["failover", "--fault", "kill"])

    assert (args.rounds, args.nodes, args.interval, args.keep_open, args.json) == (10, 3, 0.001, 0, False)
    assert (args.fault, args.against, args.timing) == (["kill"], None, "default")
    assert args.hold == HOLD_SECONDS


def test_faults_are_measured_in_the_order_in_which_they_are_given(parser: argparse.ArgumentParser) -> None:
    args = parser.parse_args(["failover", "--fault", "move", "--fault", "cut", "--against", "keepalived"])

    assert (args.fault, args.against) == (["move", "cut"], "keepalived")


@pytest.mark.parametrize("command", ["idle", "load"])
def test_rest_and_load_last_a_minute_unless_told_otherwise(parser: argparse.ArgumentParser, command: str) -> None:
    args = parser.parse_args([command])

    assert (args.seconds, args.nodes, args.timing, args.json) == (60, 3, "default", False)


def test_the_original_format_cannot_say_the_timing(parser: argparse.ArgumentParser) -> None:
    args = parser.parse_args(["failover", "--fault", "kill", "--timing", "fast", "--format", "original"])

    with pytest.raises(KubevipError, match="use --format native"):
        plugin.run(args, Client("/nowhere"))


@pytest.mark.parametrize(("text", "seconds"), [("10ms", 0.01), ("1ms", 0.001), ("2s", 2.0), ("0.5s", 0.5)])
def test_times_have_units(parser: argparse.ArgumentParser, text: str, seconds: float) -> None:
    assert parser.parse_args(["failover", "--fault", "cut", "--interval", text]).interval == seconds


@pytest.mark.parametrize(
    "arguments",
    [
        ["failover"],
        ["failover", "--fault", "rain"],
        ["failover", "--fault", "kill", "--rounds", "0"],
        ["failover", "--fault", "kill", "--interval", "10"],
        ["failover", "--fault", "kill", "--interval", "0.1ms"],
        ["failover", "--fault", "kill", "--nodes", "10"],
        ["failover", "--fault", "kill", "--timing", "now"],
        ["failover", "--fault", "kill", "--against", "luck"],
        ["demo", "--rounds", "3"],
        ["chaos", "--nodes", "2"],
        ["chaos", "--format", "original"],
        [],
    ],
)
def test_what_cannot_be_done_is_refused_on_the_command_line(
    parser: argparse.ArgumentParser, arguments: list[str]
) -> None:
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        parser.parse_args(arguments)


def test_the_original_file_of_a_node_names_its_peers_and_the_backends() -> None:
    assert yaml.safe_load(original_file(plan(3, 2), "n2")) == {
        "localPeer": {"id": "n2", "address": "10.77.0.12", "port": 10000},
        "remotePeers": [
            {"id": "n1", "address": "10.77.0.11", "port": 10000},
            {"id": "n3", "address": "10.77.0.13", "port": 10000},
        ],
        "vip": "10.77.0.100",
        "gratuitousARP": True,
        "singleNode": False,
        "startAsLeader": False,
        "interface": "e0",
        "loadBalancers": [
            {
                "name": "Lab HTTP service",
                "type": "tcp",
                "port": 80,
                "bindToVip": True,
                "backends": [{"port": 8080, "address": "10.77.0.21"}, {"port": 8080, "address": "10.77.0.22"}],
            }
        ],
    }


def test_each_nodes_file_names_its_keys() -> None:
    assert yaml.safe_load(original_file(plan(3), "n2", Path("/run/keys/n2")))["pki"] == "/run/keys/n2"
    native = yaml.safe_load(native_file(plan(3), pki=Path("/run/keys/n2")))
    assert native["elections"]["raft"]["pki"] == "/run/keys/n2"


def test_a_node_alone_is_a_single_node() -> None:
    document = yaml.safe_load(original_file(plan(1), "n1"))

    assert (document["singleNode"], document["remotePeers"], document["startAsLeader"]) == (True, [], True)


@pytest.mark.parametrize(("nodes", "election"), [(3, "raft"), (1, "single")])
def test_the_native_file_elects_by_the_number_of_nodes(nodes: int, election: str) -> None:
    document = yaml.safe_load(native_file(plan(nodes)))

    assert document["groups"] == {"web": {"election": election}}
    assert ("elections" in document) == (nodes > 1)


def test_the_native_file_bears_the_timing() -> None:
    assert yaml.safe_load(native_file(plan(3), "fast"))["elections"]["raft"]["timing"] == "fast"


def test_no_two_hosts_of_a_plan_share_an_address() -> None:
    most = plan(9, 9)
    addresses = [
        *most.nodes.values(),
        *most.backends.values(),
        most.vip,
        ip_address("10.77.0.2"),
        ip_address("10.77.0.3"),
    ]

    assert len(set(addresses)) == len(addresses)
