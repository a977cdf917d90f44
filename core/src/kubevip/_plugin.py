"""One plugin: where it comes from, and loading it with every check that needs no other plugin."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from importlib import metadata
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
import pluggy
from attrs import field, frozen

from kubevip import hookspecs
from kubevip._model import Kind
from kubevip.abc import Command, Provider
from kubevip.errors import PluginError

if TYPE_CHECKING:
    from kubevip.abc import AnyProvider

ENTRY_POINT_GROUP = "kubevip"
CORE_DISTRIBUTION = "kubevip-core"

#: The hook that yields the providers of a kind.
HOOKS: Mapping[Kind, str] = {
    Kind.ELECTION: "kubevip_elections",
    Kind.ANNOUNCER: "kubevip_announcers",
    Kind.PROXY: "kubevip_proxies",
    Kind.SOURCE: "kubevip_config_sources",
    Kind.AGENT: "kubevip_agents",
    Kind.CHECK: "kubevip_checks",
    Kind.OBSERVER: "kubevip_observers",
}
COMMANDS_HOOK = "kubevip_commands"

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")

DescriptorT = TypeVar("DescriptorT", "Provider[Any, Any]", Command)


@frozen(kw_only=True)
class Origin:
    """A plugin to load: its name, the distribution it came with, and how to import it."""

    name: str
    distribution: str
    version: str = ""
    load: Callable[[], object] = field(eq=False)

    def error(self, message: str) -> PluginError:
        """Make an error that names this plugin."""
        return PluginError(self.name, self.distribution, message)


@frozen(kw_only=True)
class Plugin:
    """A plugin that was loaded, and all that it provides."""

    origin: Origin
    providers: tuple[tuple[Kind, AnyProvider], ...] = ()
    commands: tuple[Command, ...] = ()

    @property
    def names(self) -> tuple[tuple[str, str], ...]:
        """What it provides, as ("election", "raft"), ("command", "lab")."""
        return (
            *((kind.value, provider.name) for kind, provider in self.providers),
            *(("command", command.name) for command in self.commands),
        )


def installed() -> list[Origin]:
    """Return every entry point of the group `kubevip`, by name and distribution."""
    found = [
        Origin(
            name=point.name,
            distribution=point.dist.name if point.dist is not None else "unknown",
            version=point.dist.version if point.dist is not None else "",
            load=point.load,
        )
        for point in metadata.entry_points(group=ENTRY_POINT_GROUP)
    ]
    return sorted(found, key=lambda origin: (origin.name, origin.distribution))


def built_in() -> Origin:
    """Return the core's own plugin, which cannot be left out."""
    from kubevip import __version__  # which imports much of the core, and so comes last

    def load() -> object:
        from kubevip._builtin import plugin

        return plugin

    return Origin(name="built-in", distribution=CORE_DISTRIBUTION, version=__version__, load=load)


def load_plugin(origin: Origin) -> Plugin:
    """Import a plugin, call its hooks and check what they return.

    :raises PluginError: for whatever goes wrong with it.
    """
    try:
        module = origin.load()
    except Exception as exc:
        raise origin.error(f"cannot be imported: {type(exc).__name__}: {exc}") from exc
    manager = pluggy.PluginManager("kubevip")  # one for each plugin: whose result it is needs no guessing
    manager.add_hookspecs(hookspecs)
    _refuse_unmarked(origin, module)
    try:
        manager.register(module, origin.name)
        manager.check_pending()
    except pluggy.PluginValidationError as exc:
        raise origin.error(f"implements a hook that does not exist, or with other parameters: {exc}") from exc
    providers = [
        (kind, _checked(origin, hook, provider))
        for kind, hook in HOOKS.items()
        for provider in _collect(origin, manager, hook, Provider)
    ]
    commands = _collect(origin, manager, COMMANDS_HOOK, Command)
    plugin = Plugin(origin=origin, providers=tuple(providers), commands=tuple(commands))
    for (kind, name), count in Counter(plugin.names).items():
        if count > 1:
            raise origin.error(f"provides the {kind} {name!r} {count} times")
    return plugin


def _refuse_unmarked(origin: Origin, module: object) -> None:
    """Refuse a hook without its marker, which pluggy would pass over in silence."""
    for name in (*HOOKS.values(), COMMANDS_HOOK):
        function = getattr(module, name, None)
        if function is not None and not hasattr(function, "kubevip_impl"):
            raise origin.error(f"{name}() lacks the @hookimpl marker")


def _collect(origin: Origin, manager: pluggy.PluginManager, hook: str, wanted: type[DescriptorT]) -> list[DescriptorT]:
    caller: pluggy.HookCaller = getattr(manager.hook, hook)
    try:
        results = caller()
        values: list[object] = [value for result in results for value in result]
    except Exception as exc:
        raise origin.error(f"{hook}() raised {type(exc).__name__}: {exc}") from exc
    if len(results) < len(caller.get_hookimpls()):  # pluggy drops None
        raise origin.error(f"{hook}() returned None, expected an iterable of {wanted.__name__}")
    descriptors: list[DescriptorT] = []
    for value in values:
        if not isinstance(value, wanted):
            raise origin.error(f"{hook}() yielded {value!r}, expected a {wanted.__name__}")
        name: object = value.name
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise origin.error(f"{hook}() yielded the name {name!r}; use a-z, 0-9 and dashes")
        descriptors.append(value)
    return descriptors


def _checked(origin: Origin, hook: str, provider: AnyProvider) -> AnyProvider:
    if not callable(provider.open):
        raise origin.error(f"{hook}(): open of {provider.name!r} is {provider.open!r}, expected a function")
    for role, cls in (("config", provider.config), ("options", provider.options)):
        if cls is None and role == "options":
            continue
        if not isinstance(cls, type) or not attrs.has(cls):
            raise origin.error(f"{hook}(): {role} of {provider.name!r} is {cls!r}, expected an attrs class")
        try:
            attrs.resolve_types(cls)
        except NameError as exc:
            raise origin.error(f"{cls.__name__}: {exc}; types of its fields are needed at run time") from exc
    return provider
