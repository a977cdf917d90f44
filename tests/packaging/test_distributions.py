"""What the distributions of the workspace say of themselves and of one another, read from their files."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import kubevip

ROOT = Path(__file__).parents[2]
FOLDERS = (ROOT, ROOT / "core", *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml")))
PYPROJECTS: dict[Path, dict[str, Any]] = {
    folder: tomllib.loads((folder / "pyproject.toml").read_text()) for folder in FOLDERS
}
NAMES = {canonicalize_name(pyproject["project"]["name"]): folder for folder, pyproject in PYPROJECTS.items()}
VERSION = PYPROJECTS[ROOT]["project"]["version"]

parts = pytest.mark.parametrize("folder", FOLDERS[1:], ids=lambda folder: str(folder.relative_to(ROOT)))


def pins() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text().split()
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def dependencies(folder: Path) -> list[Requirement]:
    return [Requirement(text) for text in PYPROJECTS[folder]["project"]["dependencies"]]


def third_party() -> list[Requirement]:
    """Everything from elsewhere that some distribution, its build or its development asks for."""
    texts = [*PYPROJECTS[ROOT]["dependency-groups"]["dev"]]
    for pyproject in PYPROJECTS.values():
        texts += [*pyproject["project"]["dependencies"], *pyproject["build-system"]["requires"]]
    return [wanted for wanted in map(Requirement, texts) if canonicalize_name(wanted.name) not in NAMES]


def tracked(*patterns: str) -> list[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / line for line in listed.stdout.splitlines()]


def test_all_distributions_have_one_version() -> None:
    versions = {folder.name: pyproject["project"]["version"] for folder, pyproject in PYPROJECTS.items()}
    assert versions == dict.fromkeys(versions, VERSION)
    assert kubevip.__version__ == VERSION


def test_all_distributions_want_the_same_python_and_licence() -> None:
    said = {(p["project"]["requires-python"], p["project"]["license"]) for p in PYPROJECTS.values()}
    assert said == {(">=3.11", "MIT")}


@parts
def test_each_distribution_carries_the_licence(folder: Path) -> None:
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@parts
def test_each_package_is_typed(folder: Path) -> None:
    packages = [ROOT / folder / package for package in _wheel_packages(folder)]
    assert packages
    assert [package for package in packages if not (package / "py.typed").is_file()] == []


@parts
def test_wheels_contain_every_package_of_the_source_folder(folder: Path) -> None:
    assert {folder / package for package in _wheel_packages(folder)} == {
        path.parent for path in folder.glob("src/*/__init__.py")
    }


def _wheel_packages(folder: Path) -> list[str]:
    packages: list[str] = PYPROJECTS[folder]["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    return packages


def test_the_root_pins_its_own_exactly() -> None:
    project = PYPROJECTS[ROOT]["project"]
    extras = {key: value for key, value in project["optional-dependencies"].items() if key != "all"}
    texts = [*project["dependencies"], *(text for extra in extras.values() for text in extra)]
    assert {str(Requirement(text).specifier) for text in texts} == {f"=={VERSION}"}
    assert {canonicalize_name(Requirement(text).name) for text in texts} <= set(NAMES)


def test_the_extra_all_is_all_extras() -> None:
    extras = PYPROJECTS[ROOT]["project"]["optional-dependencies"]
    (everything,) = map(Requirement, extras["all"])
    assert everything.name == "kubevip"
    assert everything.extras == set(extras) - {"all"}


def test_every_distribution_can_be_had_through_the_root() -> None:
    project = PYPROJECTS[ROOT]["project"]
    reached = {canonicalize_name(Requirement(text).name) for text in project["dependencies"]}
    reached |= {
        canonicalize_name(Requirement(text).name)
        for extra, texts in project["optional-dependencies"].items()
        if extra != "all"
        for text in texts
    }
    for name in tuple(reached):
        reached |= {canonicalize_name(wanted.name) for wanted in dependencies(NAMES[name])} & set(NAMES)
    assert reached == set(NAMES) - {"kubevip"}


@parts
def test_parts_accept_the_core_of_their_own_minor_version_only(folder: Path) -> None:
    major, minor = map(int, VERSION.split(".")[:2])
    own = [wanted for wanted in dependencies(folder) if canonicalize_name(wanted.name) in NAMES]
    assert all(str(wanted.specifier) == f"<{major}.{minor + 1},>={major}.{minor}" for wanted in own)


def test_the_workspace_knows_every_member() -> None:
    uv = PYPROJECTS[ROOT]["tool"]["uv"]
    members = {path for pattern in uv["workspace"]["members"] for path in ROOT.glob(pattern) if path.is_dir()}
    assert {path for path in members if (path / "pyproject.toml").exists()} == set(FOLDERS[1:])
    assert set(uv["sources"]) == set(NAMES) - {"kubevip"}


def test_requirements_dev_are_the_dependency_group() -> None:
    lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
    listed = [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]
    group = [Requirement(text) for text in PYPROJECTS[ROOT]["dependency-groups"]["dev"]]

    def identity(wanted: Requirement) -> tuple[str, frozenset[str]]:
        return canonicalize_name(wanted.name), frozenset(wanted.extras)

    assert sorted(map(identity, listed)) == sorted(map(identity, group))


def test_constraints_pin_all_third_party_requirements_as_they_ask() -> None:
    pinned = pins()
    for wanted in third_party():
        assert canonicalize_name(wanted.name) in pinned, f"{wanted}: run make constraints"
        (pin,) = pinned[canonicalize_name(wanted.name)].specifier
        assert pin.operator == "=="
        assert wanted.specifier.contains(pin.version), f"{wanted}: pinned is {pin.version}"


def test_constraints_pin_what_the_requirements_require() -> None:
    pinned, seen = pins(), set[str]()
    waiting = third_party()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        try:
            required = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # of another platform or Python
        assert name in pinned, f"{name} is not in constraints.txt: run make constraints"
        for text in required:
            requirement = Requirement(text)
            extras = ("", *wanted.extras)
            applies = requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in extras)
            if applies and (key := f"{requirement.name}{sorted(requirement.extras)}") not in seen:
                seen.add(key)
                waiting.append(requirement)


def test_nothing_in_packaging_names_a_host() -> None:
    files = tracked("*pyproject.toml", "*.txt", "Makefile", "tools", ".ci")
    assert ROOT / "constraints.txt" in files
    module = re.compile(r"k8s\.io/[a-z-]+")  # the path of a module of Go, which stands for no address
    found = [
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in files
        for match in re.finditer(r"\S*(://|[a-z0-9]\.(com|org|net|io|dev)\b)\S*", module.sub("", file.read_text()))
    ]
    assert found == []


def test_no_file_names_a_package_registry() -> None:
    registries = ("pypi" + ".org", "pythonhosted" + ".org", "anaconda" + ".org", "npmjs" + ".com")
    found = [
        f"{file.relative_to(ROOT)}: {registry}"
        for file in tracked()
        if file.is_file()
        for registry in registries
        if registry.encode() in file.read_bytes()
    ]
    assert found == []


def test_no_lock_file_of_uv_is_tracked() -> None:
    assert tracked("uv.lock", "*/uv.lock") == []
