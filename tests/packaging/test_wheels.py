"""What `make wheels` builds, and what somebody gets who installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from email.message import Message

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT, ROOT / "core", *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml")))
PROJECTS: dict[str, tuple[Path, dict[str, Any]]] = {
    project["name"]: (folder, project)
    for folder in FOLDERS
    for project in [tomllib.loads((folder / "pyproject.toml").read_text())["project"]]
}
VERSION = PROJECTS["kubevip"][1]["version"]

pytestmark = [pytest.mark.packaging, pytest.mark.slow, pytest.mark.timeout(300)]

each_distribution = pytest.mark.parametrize("name", PROJECTS)


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run to the end, bounded; show everything it said when that fails."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, **options)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `make wheels` fills, elsewhere."""
    if not (ROOT / ".venv" / "bin" / "python").exists():
        pytest.skip("there is no .venv: run make setup")
    folder = tmp_path_factory.mktemp("dist")
    run(ROOT / "tools" / "wheels", folder)
    return folder


def wheel_of(dist: Path, name: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(dist / f"{name.replace('-', '_')}-{VERSION}-py3-none-any.whl")


def metadata_of(dist: Path, name: str) -> Message:
    with wheel_of(dist, name) as wheel:
        return Parser().parsestr(wheel.read(f"{name.replace('-', '_')}-{VERSION}.dist-info/METADATA").decode())


def test_there_is_a_wheel_and_an_sdist_of_each_distribution(dist: Path) -> None:
    stems = [f"{name.replace('-', '_')}-{VERSION}" for name in PROJECTS]
    assert sorted(path.name for path in dist.iterdir()) == sorted(
        [f"{stem}-py3-none-any.whl" for stem in stems] + [f"{stem}.tar.gz" for stem in stems]
    )


@each_distribution
def test_wheel_contains_the_source_and_nothing_else(dist: Path, name: str) -> None:
    folder, _ = PROJECTS[name]
    source = folder / "src"
    expected = {
        str(path.relative_to(source))
        for path in source.glob("**/*")
        if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in path.parts)
    }
    if folder == ROOT:
        expected = set()  # a name and its extras
    with wheel_of(dist, name) as wheel:
        assert {entry for entry in wheel.namelist() if ".dist-info/" not in entry} == expected


@each_distribution
def test_wheel_has_the_licence(dist: Path, name: str) -> None:
    stated = metadata_of(dist, name)
    assert stated["License-Expression"] == "MIT"
    assert stated.get_all("License-File") == ["LICENSE"]
    with wheel_of(dist, name) as wheel:
        text = wheel.read(f"{name.replace('-', '_')}-{VERSION}.dist-info/licenses/LICENSE").decode()
    assert text == (ROOT / "LICENSE").read_text()


@each_distribution
def test_packages_in_wheels_are_typed(dist: Path, name: str) -> None:
    with wheel_of(dist, name) as wheel:
        names = set(wheel.namelist())
    packages = {entry.partition("/")[0] for entry in names if entry.endswith("/__init__.py")}
    assert {f"{package}/py.typed" for package in packages} <= names


@each_distribution
def test_wheel_says_what_the_project_says(dist: Path, name: str) -> None:
    folder, project = PROJECTS[name]
    stated = metadata_of(dist, name)
    assert stated["Requires-Python"] == project["requires-python"]
    assert stated["Summary"] == project["description"]
    assert stated.get_payload() == (folder / "README.md").read_text()
    assert set(stated.get_all("Provides-Extra") or ()) == set(project.get("optional-dependencies", {}))


@each_distribution
def test_wheel_can_be_built_from_the_sdist(dist: Path, name: str) -> None:
    folder, _ = PROJECTS[name]
    stem = f"{name.replace('-', '_')}-{VERSION}"
    with tarfile.open(dist / f"{stem}.tar.gz") as sdist:
        names = {entry.removeprefix(f"{stem}/") for entry in sdist.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= names
    if folder != ROOT:
        assert {str(path.relative_to(folder)) for path in folder.glob("src/**/*.py")} <= names


# What somebody gets who installs them.


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skip where the third-party parts cannot be had, in one line; fail where everything is required."""
    folder = tmp_path_factory.mktemp("index")
    command = [sys.executable, "-m", "pip", "download", "-q", "-d", str(folder), "pluggy"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    if result.returncode == 0:
        return
    reason = f"no package index can be reached: {(result.stderr.strip().splitlines() or ['pip failed'])[-1]}"
    if os.environ.get("KUBEVIP_TEST_NETNS") == "require":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def install(dist: Path, index: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that installs a requirement into an environment of its own and returns its bin folder."""

    def installed(requirement: str) -> Path:
        place = tmp_path_factory.mktemp("env")
        run(sys.executable, "-m", "venv", "--without-pip", place)
        pip = (sys.executable, "-m", "pip", "--python", place / "bin" / "python", "--disable-pip-version-check")
        run(*pip, "install", "-q", "-c", ROOT / "constraints.txt", "--find-links", dist, requirement)
        run(*pip, "check")
        return place / "bin"

    return installed


@pytest.fixture(scope="module")
def machine(install: Callable[[str], Path]) -> Path:
    """Where the commands are of a machine that holds an address and announces it."""
    return install("kubevip[raft,arp]")


def command(folder: Path, *arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    # -I would ignore what is around; the script itself has no such option, so the surroundings are taken away
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "KUBEVIP"))}
    return run(folder / "kubevip", *arguments, env=environment, cwd=folder, **options)


def plugins_of(folder: Path) -> dict[str, set[str]]:
    """Distribution of each plugin that `kubevip plugins` lists."""
    code = (
        "from importlib.metadata import entry_points; "
        "print(*(f'{p.name}={p.dist.name}' for p in entry_points(group='kubevip')))"
    )
    found = dict[str, set[str]]()
    for pair in run(folder / "python", "-I", "-c", code).stdout.split():
        name, _, distribution = pair.partition("=")
        found.setdefault(name, set()).add(distribution)
    return found


def test_extras_bring_the_plugins_they_name(machine: Path) -> None:
    assert plugins_of(machine) == {
        "raft": {"kubevip-election-raft"},
        "arp": {"kubevip-announce-arp"},
        "file": {"kubevip-source-file"},
    }


def test_without_extras_there_is_the_file_source(install: Callable[[str], Path]) -> None:
    assert set(plugins_of(install("kubevip"))) == {"file"}


def test_all_brings_every_plugin_of_the_workspace(install: Callable[[str], Path]) -> None:
    declared = {name for _, project in PROJECTS.values() for name in project.get("entry-points", {}).get("kubevip", {})}
    assert set(plugins_of(install("kubevip[all]"))) == declared


def test_installed_is_what_was_built(machine: Path) -> None:
    code = "import importlib.metadata as m; print(*sorted(d.version for d in m.distributions() if 'kubevip' in d.name))"
    assert set(run(machine / "python", "-I", "-c", code).stdout.split()) == {VERSION}


def test_kubevip_plugins_lists_exactly_the_chosen_ones(machine: Path) -> None:
    shown = command(machine, "plugins").stdout
    present = {name for _, project in PROJECTS.values() for name in project.get("entry-points", {}).get("kubevip", {})}
    words = set(shown.split())
    assert {name for name in present if name in words} == {"raft", "arp", "file"}


def test_kubevip_version(machine: Path) -> None:
    assert VERSION in command(machine, "version").stdout


def test_module_is_the_command(machine: Path) -> None:
    as_module = run(machine / "python", "-I", "-m", "kubevip", "version").stdout
    assert as_module == command(machine, "version").stdout


def test_kubevip_check_reads_a_file(machine: Path, tmp_path: Path) -> None:
    file = shutil.copy(ROOT / "examples" / "address.yaml", tmp_path)
    command(machine, "check", file, "--node", "n1", "--insecure")


def test_a_plugin_that_is_missing_is_named_with_the_remedy(machine: Path, tmp_path: Path) -> None:
    file = shutil.copy(ROOT / "examples" / "config.yaml", tmp_path)
    shown = subprocess.run(
        [machine / "kubevip", "check", file], capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert shown.returncode == 78
    assert "pip install 'kubevip[tcp]'" in shown.stdout + shown.stderr
