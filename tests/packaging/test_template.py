"""The template of a plugin: copied and renamed as its README says, it installs, keeps its duties and is found."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "templates" / "plugin"

pytestmark = [pytest.mark.packaging, pytest.mark.slow]


def run(*command: str | Path, cwd: Path, path: Path | None = None) -> str:
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def commands_of_readme() -> str:
    """The lines of the README that make a plugin of one's own, up to where it is installed."""
    lines = re.findall(r"^    (.*)$", (TEMPLATE / "README.md").read_text(), re.MULTILINE)
    return "\n".join(line for line in lines if "pip install" not in line)


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plugin called "bgp", made as the README says."""
    checkout = tmp_path_factory.mktemp("work") / "kubevip"
    shutil.copytree(
        TEMPLATE, checkout / "templates" / "plugin", ignore=shutil.ignore_patterns("__pycache__", ".*_cache")
    )
    run("sh", "-ec", commands_of_readme(), cwd=checkout)
    return checkout.parent / "kubevip-announce-bgp"


@pytest.fixture(scope="module")
def installed(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the installed plugin."""
    target = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
    run(*pip, "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", target, ".", cwd=plugin)
    return target


def test_nothing_of_the_template_is_left_in_a_copy(plugin: Path) -> None:
    assert (plugin / "src" / "kubevip_announce_bgp" / "plugin.py").exists()
    texts = {path.name: path.read_text() for path in plugin.rglob("*") if path.is_file()}
    assert not [name for name, text in texts.items() if "example" in text.lower()]


def test_its_own_tests_pass_on_what_was_installed(plugin: Path, installed: Path) -> None:
    output = run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=plugin, path=installed)
    assert re.search(r"[5-9] passed", output), output


def test_an_installed_plugin_is_listed(plugin: Path, installed: Path) -> None:
    listed = run(sys.executable, "-m", "kubevip", "plugins", cwd=plugin, path=installed)
    (line,) = (line for line in listed.splitlines() if "bgp" in line)
    assert "announcer" in line
    assert "kubevip-announce-bgp" in listed
