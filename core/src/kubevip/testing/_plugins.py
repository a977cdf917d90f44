"""Checks of a plugin's entry module and of the providers it offers."""

from __future__ import annotations

import ast
import inspect
import os
import subprocess
import sys
import textwrap
from itertools import pairwise
from types import ModuleType

import attrs

from kubevip._model import Kind, Places, Section
from kubevip._plugin import Origin, Plugin, load_plugin
from kubevip._structure import structure
from kubevip.abc import AnyProvider
from kubevip.errors import ConfigError, PluginError
from kubevip.testing._duty import require

#: Parts of the standard library that cost a node memory or time to import and that an entry module can do without.
HEAVY = frozenset(
    ("asyncio", "email", "http", "multiprocessing", "pydoc", "sqlite3", "ssl", "tkinter", "unittest", "xml")
)

_LIGHT = "a plugin's entry module imports kubevip, the standard library and its own configuration class only"
_DOCUMENTED = "every field of a configuration class is documented below it"

_PROBE = """
import importlib, sys
import kubevip
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print("\\n".join(sorted(set(sys.modules) - before)))
"""


def check_plugin(module: ModuleType) -> Plugin:
    """Check an entry module: its hooks, what they yield, each provider, and what importing it loads.

    Starts a Python process of its own to see what an import loads. Return what the plugin provides.

    :raises AssertionError: naming what is broken.
    """
    name = module.__name__
    try:
        plugin = load_plugin(Origin(name=name, distribution="the module under test", load=lambda: module))
    except PluginError as error:
        raise AssertionError(str(error)) from error
    require(bool(plugin.names), "a plugin provides something", f"no hook of {name} yields anything")
    for kind, provider in plugin.providers:
        check_provider(provider)
        require(
            kind is not Kind.PROXY or bool(provider.protocols),
            "a proxy lists its protocols, or nothing can use it",
            f"protocols of {provider.name!r} is empty",
        )
    for command in plugin.commands:
        _one_line(command.name, command.summary)
    _check_imports(name)
    return plugin


def check_provider(provider: AnyProvider) -> None:
    """Check what a provider says of itself; opens nothing.

    Its configuration classes compare by value (or each reload would restart the instance), refuse what they do not
    know, and say below each field what it means.

    :raises AssertionError: naming what is broken.
    """
    _one_line(provider.name, provider.summary)
    for cls in filter(None, (provider.config, provider.options)):
        require(
            "__eq__" in vars(cls),
            "a configuration compares by value, or each reload restarts the instance",
            f"{cls.__name__} compares by identity",
        )
        require(_refuses_unknown_keys(provider, cls), "what is not known is refused", f"{cls.__name__} takes any key")
        missing = undocumented_fields(cls)
        require(not missing, _DOCUMENTED, f"{cls.__name__} says nothing of {', '.join(missing)}")
    _takes(provider, "open", "config, host")
    if provider.describe is not None:
        _takes(provider, "describe", "config, outlook")
    for name in ("claims", "foresee"):
        if getattr(provider, name) is not None:
            _takes(provider, name, "config")
    if provider.cleanup is not None:
        _takes(provider, "cleanup", "instance, state_dir")


def undocumented_fields(cls: type) -> tuple[str, ...]:
    """Return the fields of an attrs class that have no string below them in the source."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    body = tree.body if isinstance(tree, ast.ClassDef) else []
    documented = {
        field.target.id
        for field, below in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
        and isinstance(below.value.value, str)
    }
    own = {field.target.id for field in body if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)}
    return tuple(
        field.name for field in attrs.fields(cls) if field.name in own and field.name not in documented and field.init
    )


def _one_line(name: str, summary: str) -> None:
    require(
        bool(summary.strip()) and "\n" not in summary,
        "a summary is one line for people",
        f"the summary of {name!r} is {summary!r}",
    )


def _refuses_unknown_keys(provider: AnyProvider, cls: type) -> bool:
    key = "noSuchKeyOfAnyProvider"
    try:
        structure(Section(provider=provider.name, data={key: 1}, places=Places()), cls)
    except ConfigError as error:
        return any(key in str(problem) for problem in error.problems)
    return False


def _takes(provider: AnyProvider, what: str, parameters: str) -> None:
    try:
        inspect.signature(getattr(provider, what)).bind(*parameters.split(", "))
    except TypeError as error:
        raise AssertionError(f"{what} of {provider.name!r} is called with ({parameters}): {error}") from None


def _check_imports(name: str) -> None:
    """Import the module in a process that has nothing but kubevip, and look at what came with it."""
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    result = subprocess.run(
        [sys.executable, "-c", _PROBE, name],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    require(result.returncode == 0, "a plugin's entry module can be imported by itself", result.stderr.strip()[-500:])
    own = name.partition(".")[0]
    loaded = {module.partition(".")[0] for module in result.stdout.split()} - {own, "kubevip"}
    foreign = sorted(loaded - sys.stdlib_module_names)
    require(not foreign, _LIGHT, f"importing {name} loads {', '.join(foreign)}; import them inside open_x")
    heavy = sorted(loaded & HEAVY)
    require(not heavy, _LIGHT, f"importing {name} loads {', '.join(heavy)}, which is heavy; import it inside open_x")
