"""What `kubevip plugins` prints: what every plugin provides, and which plugins are broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubevip._plugins import PluginRegistry

_COLUMNS = ("KIND", "NAME", "DISTRIBUTION", "SUMMARY")


def render_plugins(registry: PluginRegistry) -> str:
    """Return the whole text, without a line feed at its end."""
    rows = [
        (kind.value, provider.name, _from(plugin.origin.distribution, plugin.origin.version), provider.summary)
        for plugin in registry.plugins
        for kind, provider in plugin.providers
    ]
    rows += [
        ("command", command.name, _from(plugin.origin.distribution, plugin.origin.version), command.summary)
        for plugin in registry.plugins
        for command in plugin.commands
    ]
    table = [_COLUMNS, *sorted(rows)]
    widths = [max(len(row[column]) for row in table) + 2 for column in range(len(_COLUMNS))]
    lines = ["".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*lines, *(f"broken: {error}" for error in registry.broken)])


def _from(distribution: str, version: str) -> str:
    return f"{distribution} {version}".rstrip()
