"""The plugins of a process: which are loaded, which are broken, and typed answers about what they provide.

A plugin that cannot be imported or breaks the interface is set aside and listed. It is fatal only for whoever asks for
it: by `--plugins`, or by naming something of it in a configuration. The same holds for a name that two plugins provide.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import TYPE_CHECKING

from kubevip._plugin import Origin, Plugin, built_in, installed, load_plugin
from kubevip.errors import PluginError

if TYPE_CHECKING:
    from kubevip._model import Kind
    from kubevip.abc import AnyProvider, Command

log = logging.getLogger("kubevip.plugins")

ROOT_DISTRIBUTION = "kubevip"


class PluginRegistry:
    """What the loaded plugins provide, by kind and name. An object of its own for each process and test."""

    def __init__(
        self, plugins: Sequence[Plugin], broken: Sequence[PluginError] = (), left_out: Sequence[Origin] = ()
    ) -> None:
        self.plugins = tuple(plugins)
        self.left_out = tuple(left_out)
        """Installed, but not asked for."""
        self._conflicts = dict(_conflicts(plugins))
        self.broken = (*broken, *self._conflicts.values())
        """What is wrong with plugins that nobody may have asked for."""

    @classmethod
    def load(
        cls,
        select: Iterable[str] | None = None,
        *,
        also: Iterable[str] = (),
        origins: Sequence[Origin] | None = None,
        trace: bool = False,
    ) -> PluginRegistry:
        """Load plugins.

        :param select: names of entry points; each selects every entry point called so. None: everything installed.
        :param also: names that are implied if they are installed ("file" where there is a configuration file).
        :param origins: what there is to load; None: the installed entry points.
        :raises PluginError: when a selected plugin is not installed or broken, or two selected ones provide the same
            name. Without a selection nothing is raised: see `broken`.
        """
        available = installed() if origins is None else list(origins)
        names = None if select is None else {*select, *also}
        if select is not None:
            _refuse_unknown(select, available)
        taken = [origin for origin in available if names is None or origin.name in names]
        plugins: list[Plugin] = []
        broken: list[PluginError] = []
        for origin in (built_in(), *taken):
            try:
                plugins.append(load_plugin(origin))
            except PluginError as error:
                if names is not None:
                    raise
                broken.append(error)
            else:
                if trace:
                    _trace(plugins[-1])
        registry = cls(plugins, broken, [origin for origin in available if origin not in taken])
        if names is not None and registry.broken:
            raise registry.broken[0]
        for problem in registry.broken:
            log.warning("%s", problem)
        return registry

    def providers(self, kind: Kind) -> Mapping[str, AnyProvider]:
        """Return the providers of `kind` by name, without those whose name is in conflict."""
        return {
            provider.name: provider
            for plugin in self.plugins
            for its_kind, provider in plugin.providers
            if its_kind is kind and (kind.value, provider.name) not in self._conflicts
        }

    def provider(self, kind: Kind, name: str) -> AnyProvider | None:
        """Return the provider of `kind` that is called `name`, if it is loaded."""
        return self.providers(kind).get(name)

    def commands(self) -> Mapping[str, Command]:
        """Return the subcommands that plugins add, by name."""
        return {
            command.name: command
            for plugin in self.plugins
            for command in plugin.commands
            if ("command", command.name) not in self._conflicts
        }

    def why_missing(self, kind: Kind, name: str) -> str:
        """Say why there is no provider `name` of `kind`, and what would help."""
        if (conflict := self._conflicts.get((kind.value, name))) is not None:
            return str(conflict)
        for error in self.broken:
            if error.plugin == name:
                return f"{kind.value} {name!r} cannot be used: {error}"
        if any(origin.name == name for origin in self.left_out):
            return f"{kind.value} {name!r} is installed but not loaded; add it to --plugins"
        if name in installable():
            return f"{kind.value} {name!r} is not installed; pip install 'kubevip[{name}]'"
        known = f"there is {', '.join(sorted(self.providers(kind))) or 'none'}"
        if self.left_out:
            known += f"; not loaded: {', '.join(origin.name for origin in self.left_out)}"
        if self.broken:
            known += f"; broken: {', '.join(error.plugin for error in self.broken)}"
        return f"no plugin provides the {kind.value} {name!r} ({known})"


def installable() -> frozenset[str]:
    """Return the extras of the distribution `kubevip`, from its own metadata."""
    try:
        extras = metadata.metadata(ROOT_DISTRIBUTION).get_all("Provides-Extra")
    except metadata.PackageNotFoundError:
        return frozenset()
    return frozenset(extras or ())


def _conflicts(plugins: Sequence[Plugin]) -> Iterable[tuple[tuple[str, str], PluginError]]:
    first: dict[tuple[str, str], Origin] = {}
    for plugin in plugins:
        for kind, name in plugin.names:
            if (other := first.setdefault((kind, name), plugin.origin)) is not plugin.origin:
                message = (
                    f"provides the {kind} {name!r}, which {other.distribution} provides too; uninstall one of them"
                )
                yield (kind, name), plugin.origin.error(message)


def _refuse_unknown(wanted: Iterable[str], available: Sequence[Origin]) -> None:
    names = sorted({origin.name for origin in available})
    for name in sorted(set(wanted) - set(names)):
        remedy = f"pip install 'kubevip[{name}]'" if name in installable() else f"installed: {', '.join(names)}"
        raise PluginError(name, "no installed distribution", f"asked for by --plugins; {remedy}")


def _trace(plugin: Plugin) -> None:
    provided = ", ".join(f"{kind} {name}" for kind, name in plugin.names) or "nothing"
    log.info(
        "registered plugin=%s distribution=%s provides=%s", plugin.origin.name, plugin.origin.distribution, provided
    )
