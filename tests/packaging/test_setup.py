"""`tools/setup` on machines that differ from the author's, and uv in its place; both in copies of the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
LIGHT = "iniconfig\n"  # in place of all that development needs

pytestmark = [pytest.mark.packaging, pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, **options)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what git knows or would take, that asks for little: what is tried is the way, not the weight."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = run("git", "ls-files", "-co", "--exclude-standard", cwd=ROOT)
    assert listed.returncode == 0, listed.stderr
    copy = tmp_path / "kubevip checkout"  # a space, as in many a home
    for line in listed.stdout.splitlines():
        if (ROOT / line).is_file():
            (copy / line).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / line, copy / line)
    (copy / "requirements-dev.txt").write_text(LIGHT)
    return copy


@pytest.fixture
def small(checkout: Path) -> Path:
    """A copy with one plugin, where it does not matter how many there are."""
    for plugin in (checkout / "plugins").iterdir():
        if plugin.name != "source_file":
            shutil.rmtree(plugin)
    return checkout


@pytest.fixture
def index(tmp_path: Path) -> None:
    """Skip where third-party parts cannot be had, in one line; fail where everything is required."""
    result = run(sys.executable, "-m", "pip", "download", "-q", "-d", tmp_path / "index", "iniconfig")
    if result.returncode == 0:
        return
    reason = f"no package index can be reached: {(result.stderr.strip().splitlines() or ['pip failed'])[-1]}"
    if os.environ.get("KUBEVIP_TEST_NETNS") == "require":
        pytest.fail(reason)
    pytest.skip(reason)


def environment(**added: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("VIRTUAL_ENV", "PYTHONPATH", "PYTHON")}
    return kept | {"PYTHON": _python_outside_of_environments()} | added


def _python_outside_of_environments() -> str:
    return str(Path(getattr(sys, "_base_executable", sys.executable)).resolve())


def without(folder: Path, *modules: str) -> dict[str, str]:
    """Return an environment in which Python lacks `modules`, as Debian's does ensurepip without python3-venv."""
    for module in modules:
        package = folder / "without" / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f"raise ModuleNotFoundError('No module named {module!r}')\n")
    return environment(PYTHONPATH=str(folder / "without"))


def set_up(checkout: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return run(checkout / "tools" / "setup", env=env, cwd=checkout.parent)


def plugins_of(checkout: Path) -> set[str]:
    code = "from importlib.metadata import entry_points; print(*(p.name for p in entry_points(group='kubevip')))"
    listed = run(checkout / ".venv" / "bin" / "python", "-I", "-c", code)
    assert listed.returncode == 0, listed.stderr
    return set(listed.stdout.split())


def test_it_makes_an_environment_with_every_plugin_of_the_checkout(checkout: Path, index: None) -> None:
    result = set_up(checkout, environment())
    assert result.returncode == 0, result.stderr
    assert {"raft", "arp", "tcp", "file", "lab"} <= plugins_of(checkout)
    code = "import kubevip; print(kubevip.__file__)"
    found = run(checkout / ".venv" / "bin" / "python", "-I", "-c", code).stdout
    assert Path(found.strip()) == checkout / "core" / "src" / "kubevip" / "__init__.py"


def test_it_does_it_again_only_when_something_changed(small: Path, index: None) -> None:
    result = set_up(small, environment())
    assert result.returncode == 0, result.stderr

    again = set_up(small, environment(PIP_NO_INDEX="1", PIP_FIND_LINKS="/nonexistent"))
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")

    (small / "requirements-dev.txt").write_text(f"{LIGHT}sortedcontainers\n")
    changed = set_up(small, environment())
    assert changed.returncode == 0, changed.stderr
    probe = run(small / ".venv" / "bin" / "python", "-I", "-c", "import sortedcontainers")
    assert probe.returncode == 0, probe.stderr


def test_it_works_where_ensurepip_is_missing(small: Path, index: None, tmp_path: Path) -> None:
    env = without(tmp_path, "ensurepip")
    assert run(env["PYTHON"], "-m", "ensurepip", "--version", env=env).returncode != 0, "it is not missing"
    result = set_up(small, env)
    assert result.returncode == 0, result.stderr
    assert "file" in plugins_of(small)


def test_no_pip_anywhere_is_said_with_the_remedy(checkout: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("sh", "dirname", "find", "touch", "env"):
        (folder / tool).symlink_to(str(shutil.which(tool)))
    env = without(tmp_path, "ensurepip", "pip") | {"PATH": str(folder)}
    result = set_up(checkout, env)
    assert result.returncode == 1
    assert "no pip: install it for" in result.stderr


def test_a_python_that_is_too_old_is_refused_by_name(checkout: Path, tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = set_up(checkout, environment(PYTHON=str(old)))
    assert result.returncode == 1
    assert "Python 3.11 or later" in result.stderr
    assert not (checkout / ".venv").exists()


def test_plain_pip_installs_the_checkout(checkout: Path, index: None, tmp_path: Path) -> None:
    place = tmp_path / "env"
    assert run(_python_outside_of_environments(), "-m", "venv", "--without-pip", place).returncode == 0
    parts = ("./core", "./plugins/source_file", "./plugins/election_raft", ".")
    editable = [argument for part in parts for argument in ("-e", part)]
    pip = (sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", "-q")
    result = run(*pip, "-c", "constraints.txt", *editable, cwd=checkout)
    assert result.returncode == 0, result.stderr
    listed = run(place / "bin" / "kubevip", "plugins", cwd=tmp_path)
    assert listed.returncode == 0, listed.stderr
    assert {"raft", "file"} <= set(listed.stdout.split())


def test_uv_sync_makes_the_same_environment(checkout: Path, index: None) -> None:
    if (uv := shutil.which("uv")) is None:
        pytest.skip("uv is not on PATH")
    env = environment(UV_PYTHON=_python_outside_of_environments(), UV_PROJECT_ENVIRONMENT=str(checkout / ".venv"))
    result = run(uv, "sync", "-q", "--all-packages", "--all-extras", "--no-dev", cwd=checkout, env=env)
    if result.returncode != 0 and "error sending request" in result.stderr:
        pytest.skip("uv reaches no package index: it has a configuration of its own")
    assert result.returncode == 0, result.stderr
    assert {"raft", "arp", "tcp", "file", "lab"} <= plugins_of(checkout)
