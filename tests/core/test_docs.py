"""What plugin authors and users read is there: every public name, every hook, every setting says what it means."""

from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import attrs
import pytest

import kubevip
from kubevip import abc, errors, hookspecs, testing
from kubevip.testing import undocumented_fields

ROOT = Path(__file__).parents[2]

#: Names that are not classes or functions of ours: type aliases, new types, markers.
PLAIN = {"IPAddress", "Leadership", "Port", "Duration", "__version__", "hookimpl"}


def public(module: Any) -> dict[str, object]:
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
    return {f"{module.__name__}.{name}": getattr(module, name) for name in names if name not in PLAIN}


NAMES = {name: value for module in (kubevip, abc, errors, testing) for name, value in public(module).items()}
HOOKS = {name: value for name, value in vars(hookspecs).items() if name.startswith("kubevip_")}
PLUGINS = sorted(path.stem for path in (ROOT / "plugins").glob("*/src/kubevip_*") if (path / "plugin.py").exists())


def is_alias(value: object) -> bool:
    """An alias is described where it is defined."""
    return not inspect.isclass(value) and not inspect.isroutine(value)


@pytest.mark.parametrize("name", sorted(name for name, value in NAMES.items() if not is_alias(value)))
def test_every_public_name_has_a_docstring(name: str) -> None:
    value = NAMES[name]
    own = vars(value).get("__doc__") if inspect.isclass(value) else value.__doc__
    assert own
    assert own.strip().splitlines()[0].rstrip().endswith((".", ":", "?")), own


@pytest.mark.parametrize("name", sorted(name for name, value in NAMES.items() if inspect.isclass(value)))
def test_every_public_method_has_a_docstring(name: str) -> None:
    cls = NAMES[name]
    silent = [
        member
        for member, value in vars(cls).items()
        if not member.startswith("_")
        and (inspect.isfunction(value) or isinstance(value, property))
        and not value.__doc__
    ]
    if isinstance(cls, type) and attrs.has(cls):
        silent = [member for member in silent if member not in {field.name for field in attrs.fields(cls)}]
    assert not silent


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_has_a_complete_example(name: str) -> None:
    text = inspect.getdoc(HOOKS[name])
    assert text is not None
    _, found, example = text.partition("Example::")
    assert found
    tree = ast.parse(inspect.cleandoc(example))
    (hook,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert hook.name == name
    assert [ast.unparse(marker) for marker in hook.decorator_list] == ["hookimpl"]
    assert any(isinstance(node, ast.Yield) for node in ast.walk(hook))


def providers_of(module: str) -> list[abc.AnyProvider]:
    values = vars(import_module(f"{module}.plugin")).values()
    return [value for value in values if isinstance(value, abc.Provider)]


def test_there_are_plugins_to_look_at() -> None:
    assert {"kubevip_proxy_tcp", "kubevip_election_raft", "kubevip_source_file", "kubevip_announce_arp"} <= {*PLUGINS}


@pytest.mark.parametrize("module", ["kubevip._builtin", *PLUGINS])
def test_every_setting_is_described_below_it(module: str) -> None:
    silent = {
        f"{inner.__name__}.{field}"
        for provider in providers_of(module)
        for cls in (provider.config, provider.options)
        if cls is not None
        for inner in (cls, *nested(cls))
        for field in undocumented_fields(inner)
    }
    assert not silent


def nested(cls: type) -> set[type]:
    """Return the attrs classes of the same plugin that the fields of `cls` are made of, whatever their depth."""
    root = cls.__module__.partition(".")[0]
    found, waiting = set[type](), [cls]
    while waiting and root != "kubevip":  # the core's own values are documented as such
        for field in attrs.fields(attrs.resolve_types(waiting.pop())):
            for part in parts(field.type):
                is_own = isinstance(part, type) and attrs.has(part) and part.__module__.startswith(root)
                if is_own and part not in found:
                    found.add(part)
                    waiting.append(part)
    return found


def parts(form: Any) -> list[Any]:
    return [form, *(inner for arg in get_args(form) for inner in parts(arg))]
