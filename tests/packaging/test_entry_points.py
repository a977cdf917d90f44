"""Entry points of the group "kubevip": those that are installed are those that the plugin folders declare."""

from __future__ import annotations

import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubevip._plugin import installed, load_plugin

if TYPE_CHECKING:
    from kubevip._plugin import Origin

ROOT = Path(__file__).parents[2]
REMEDY = "the environment is not that of this checkout: run make setup"


def declared() -> set[tuple[str, str, str]]:
    """Distribution, name and module of each entry point that this checkout declares."""
    entries = set[tuple[str, str, str]]()
    for file in ROOT.glob("plugins/*/pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        points = project.get("entry-points", {}).get("kubevip", {})
        entries |= {(project["name"], name, module) for name, module in points.items()}
    return entries


def ours(distribution: str) -> bool:
    return distribution.startswith("kubevip-")


def test_installed_are_the_entry_points_of_this_checkout() -> None:
    found = {
        (point.dist.name, point.name, point.value)
        for point in metadata.entry_points(group="kubevip")
        if point.dist is not None and ours(point.dist.name)
    }
    assert found == declared(), REMEDY


def test_every_folder_with_an_entry_module_declares_it() -> None:
    modules = {f"{path.parent.name}.plugin" for path in ROOT.glob("plugins/*/src/*/plugin.py")}
    assert modules == {module for _, _, module in declared()}


@pytest.mark.parametrize(
    "origin", [origin for origin in installed() if ours(origin.distribution)], ids=lambda origin: origin.name
)
def test_each_plugin_loads_and_provides_something(origin: Origin) -> None:
    plugin = load_plugin(origin)
    assert plugin.names
