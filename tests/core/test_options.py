from __future__ import annotations

from pathlib import Path

import pytest

from kubevip._options import Options, options_from, split_names
from kubevip_keeper._place import PlaceError


def test_nothing_given_means_the_defaults() -> None:
    assert options_from({}, {}) == Options(config=Path("/etc/kubevip/config.yaml"), is_config_named=False)


def test_the_environment_gives_what_the_command_line_does_not() -> None:
    environment = {
        "KUBEVIP_CONFIG": "/c.yaml",
        "KUBEVIP_PLUGINS": "raft, arp,,raft",
        "KUBEVIP_NODE": "n1",
        "NODE_NAME": "n2",
        "KUBEVIP_INSTANCE": "web",
        "KUBEVIP_LOG_LEVEL": "DEBUG",
        "KUBEVIP_LOG_FORMAT": "json",
    }
    assert options_from({"config": None, "insecure": True}, environment) == Options(
        config=Path("/c.yaml"),
        plugins=("raft", "arp"),
        node="n1",
        node_from="KUBEVIP_NODE",
        instance="web",
        state_dir=Path("/var/lib/kubevip-web"),
        log_level="debug",
        log_format="json",
        insecure=True,
    )


def test_the_command_line_outranks_the_environment() -> None:
    given = {"config": "a", "node": "n3", "instance": "x", "state_dir": "/s", "plugins": "", "log_level": "error"}
    environment = {"KUBEVIP_CONFIG": "b", "KUBEVIP_NODE": "n1", "KUBEVIP_INSTANCE": "y", "KUBEVIP_STATE_DIR": "/t"}
    found = options_from(given, environment)
    assert (found.config, found.node, found.node_from) == (Path("a"), "n3", "--node")
    assert (found.instance, found.state_dir, found.plugins, found.log_level) == ("x", Path("/s"), (), "error")


def test_the_name_that_kubernetes_gives_comes_after_our_own() -> None:
    found = options_from({}, {"NODE_NAME": "n2"})
    assert (found.node, found.node_from) == ("n2", "NODE_NAME")


def test_a_long_instance_is_cut_and_hashed() -> None:
    found = options_from({"instance": "a-very-long-instance"}, {}).instance
    assert len(found) == 12
    assert found.startswith("a-very-")


@pytest.mark.parametrize("instance", ["A", "a b", "a/b", "../x"])
def test_an_instance_has_a_plain_name(instance: str) -> None:
    with pytest.raises(PlaceError, match="lower-case letters"):
        options_from({"instance": instance}, {})


def test_a_wrong_choice_names_where_it_was_made() -> None:
    with pytest.raises(ValueError, match=r"--log-level: expected one of debug, info, warning, error, got 'x'"):
        options_from({"log_level": "x"}, {"KUBEVIP_LOG_LEVEL": "info"})
    with pytest.raises(ValueError, match=r"KUBEVIP_LOG_FORMAT: expected one of text, json, got 'x'"):
        options_from({}, {"KUBEVIP_LOG_FORMAT": "x"})


def test_names_are_separated_by_commas() -> None:
    assert split_names(" b, a ,,b") == ("b", "a")
