"""Each distribution declares what it imports and imports what it declares; plugins use the public core only."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PARTS = (ROOT / "core", *sorted(file.parent for file in ROOT.glob("plugins/*/pyproject.toml")))
PLUGINS = [part for part in PARTS if list(part.glob("src/*/plugin.py"))]
PUBLIC = ("kubevip", "kubevip.abc", "kubevip.control", "kubevip.errors", "kubevip.hookspecs", "kubevip.testing")

HEAVY = ("pyroute2", "scapy", "yaml", "rich", "kubernetes", "grpclib", "cryptography", "ssl", "asyncio.base_events")
TYPES_ONLY = {"_typeshed"}  # exists for type checkers alone

each_part = pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)


def project_of(part: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((part / "pyproject.toml").read_text())["project"]
    return project


def own_packages(part: Path) -> set[str]:
    return {path.parent.name for path in part.glob("src/*/__init__.py")}


def imports(part: Path) -> Iterator[tuple[Path, str]]:
    """Yield every absolute module name that an import statement of the source names, wherever it stands."""
    for file in sorted(part.glob("src/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                yield file, node.module


def distribution_of(package: str) -> str:
    for part in PARTS:  # installed editable, whose packages the metadata does not list
        if package in own_packages(part):
            return str(project_of(part)["name"])
    (name,) = {canonicalize_name(name) for name in metadata.packages_distributions()[package]}
    return name


def declared(part: Path) -> set[str]:
    project = project_of(part)
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})
    texts = [*project["dependencies"], *(text for extra in extras.values() for text in extra)]
    return {canonicalize_name(Requirement(text).name) for text in texts}


@each_part
def test_declared_are_the_dependencies_that_are_imported(part: Path) -> None:
    packages = {module.partition(".")[0] for _, module in imports(part)}
    foreign = packages - set(sys.stdlib_module_names) - own_packages(part) - TYPES_ONLY
    assert {distribution_of(package) for package in foreign} == declared(part)


@pytest.mark.parametrize("part", PARTS[1:], ids=lambda part: part.name)
def test_plugins_import_the_public_core_only(part: Path) -> None:
    private = [
        f"{file.relative_to(ROOT)}: {module}"
        for file, module in imports(part)
        if module.partition(".")[0] == "kubevip" and module not in PUBLIC
    ]
    assert private == []


@pytest.mark.parametrize("part", PLUGINS, ids=lambda part: part.name)
def test_entry_module_loads_nothing_heavy(part: Path) -> None:
    (package,) = own_packages(part)
    code = (
        f"import sys; import kubevip; before = set(sys.modules); import {package}.plugin; "
        f"print(*(name for name in {HEAVY!r} if name in sys.modules and name not in before))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == []


SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "commands.getoutput"}


@each_part
def test_nothing_runs_a_shell(part: Path) -> None:
    """Scenario 153: what comes from a file, a peer or a service never reaches one."""
    found: list[str] = []
    for file in sorted(part.glob("src/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                has_shell = any(keyword.arg == "shell" for keyword in node.keywords)
                if name in SHELLS or has_shell:
                    found.append(f"{file.relative_to(ROOT)}:{node.lineno}: {name}")
    assert found == []
