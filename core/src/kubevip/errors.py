"""Everything that kubevip raises on purpose.

A plugin raises the error of its kind (`ElectionError`, `AnnounceError`, ...) or a subclass of it, and translates what
its libraries raise at its own edge. The core restarts what failed with a growing pause, unless the error is also
`Permanent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubevip._model import Problem


class KubevipError(Exception):
    """Base of all errors of kubevip and its plugins."""


class Permanent:
    """Mixin: trying again cannot help until the configuration or the machine changes; the core does not retry."""


class ConfigError(Permanent, KubevipError):
    """The configuration, or one object of it, is refused; `problems` lists everything found wrong, in file order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(problems)
        super().__init__("\n".join(map(str, self.problems)))


class PluginError(Permanent, KubevipError):
    """A plugin cannot be loaded or broke the plugin interface; names its entry point and its distribution."""

    def __init__(self, plugin: str, distribution: str, message: str) -> None:
        self.plugin, self.distribution = plugin, distribution
        super().__init__(f"plugin {plugin!r} of {distribution}: {message}")


class NotPermittedError(Permanent, KubevipError):
    """The machine does not permit what was asked for: a capability, a namespace, a device. Exit status 77."""


class ControlError(KubevipError):
    """The running daemon refused a request; the message is the daemon's own."""


class NoDaemonError(KubevipError):
    """No daemon answers at the control socket. Exit status 69."""


class ElectionError(KubevipError):
    """An election cannot go on; nothing was released."""


class AnnounceError(KubevipError):
    """An address cannot be raised, kept or announced on this node."""


class ProxyError(KubevipError):
    """A listener cannot be opened or kept."""


class SourceError(KubevipError):
    """A source of configuration cannot be read at the moment."""


class AgentError(KubevipError):
    """An agent cannot go on."""
