"""Every plugin of the repository keeps the rules of entry modules."""

from __future__ import annotations

from importlib import import_module, metadata

import pytest

from kubevip.testing import check_plugin

MODULES = sorted({point.value for point in metadata.entry_points(group="kubevip")})


def test_there_are_plugins_to_check() -> None:
    expected = {
        f"kubevip_{name}.plugin" for name in ("announce_arp", "election_raft", "proxy_tcp", "source_file", "lab")
    }
    assert expected <= {*MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_a_plugin_keeps_the_rules(module: str) -> None:
    assert check_plugin(import_module(module)).names
