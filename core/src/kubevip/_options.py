"""What is known before any source of configuration is read: the command line and its environment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip_keeper._place import DEFAULT_INSTANCE, instance_name, state_dir_path

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_CONFIG = Path("/etc/kubevip/config.yaml")
LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


@frozen(kw_only=True)
class Options:
    """Settings of one `kubevip` process: from the command line, which outranks the `KUBEVIP_...` environment."""

    config: Path | None = None
    """The configuration file; None: there is none, other sources tell everything."""
    is_config_named: bool = True
    """Whether somebody named it; else it is the one that is usual, and need not be there."""
    plugins: tuple[str, ...] | None = None
    """Names of entry points to load; None: all that are installed."""
    node: str | None = None
    """This machine's name as it was asked for; None: the configuration and the machine tell."""
    node_from: str = "--node"
    """What asked for `node`: "--node", "KUBEVIP_NODE" or "NODE_NAME"; for messages."""
    instance: str = DEFAULT_INSTANCE
    """Which of the daemons of this machine it is; each touches only what bears its own name."""
    state_dir: Path = Path("/var/lib/kubevip")
    """Where it keeps its lock, its control socket and what must survive a restart; absolute."""
    log_level: str = "info"
    log_format: str = "text"
    insecure: bool = False
    """Whether peers without keys are accepted."""
    trace_plugins: bool = False
    """Whether each registration of a plugin is logged."""


def options_from(given: Mapping[str, object], environment: Mapping[str, str]) -> Options:
    """Merge what the command line gave (None or absent = not given) with the environment and the defaults.

    :raises ValueError: when a value is malformed; the message names the option or variable.
    :raises kubevip_keeper._place.PlaceError: when the instance is.
    """

    def pick(option: str, *variables: str) -> tuple[str | None, str]:
        if (value := given.get(option)) is not None:
            return str(value), "--" + option.replace("_", "-")
        return next(((environment[name], name) for name in variables if environment.get(name)), (None, ""))

    def choose(option: str, variable: str, default: str, allowed: tuple[str, ...]) -> str:
        text, origin = pick(option, variable)
        chosen = (text or default).lower()
        if chosen not in allowed:
            raise ValueError(f"{origin}: expected one of {', '.join(allowed)}, got {text!r}")
        return chosen

    config, _ = pick("config", "KUBEVIP_CONFIG")
    plugins, _ = pick("plugins", "KUBEVIP_PLUGINS")
    node, node_from = pick("node", "KUBEVIP_NODE", "NODE_NAME")
    instance = instance_name(pick("instance")[0], environment)
    return Options(
        config=Path(config) if config else DEFAULT_CONFIG,
        is_config_named=bool(config),
        plugins=split_names(plugins) if plugins is not None else None,
        node=node,
        node_from=node_from or "--node",
        instance=instance,
        state_dir=Path(state_dir_path(pick("state_dir")[0], environment, instance)),
        log_level=choose("log_level", "KUBEVIP_LOG_LEVEL", "info", LOG_LEVELS),
        log_format=choose("log_format", "KUBEVIP_LOG_FORMAT", "text", LOG_FORMATS),
        insecure=bool(given.get("insecure")),
        trace_plugins=bool(given.get("trace_plugins")),
    )


def split_names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list, each once, in order."""
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
