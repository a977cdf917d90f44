"""What is known before any source of configuration is read: the command line and its environment."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_CONFIG = Path("/etc/kubevip/config.yaml")
DEFAULT_STATE_DIR = Path("/var/lib/kubevip")
DEFAULT_INSTANCE = "default"

#: What fits, with a prefix, into the names of nftables tables and of the state directory.
LONGEST_INSTANCE = 12

LOG_LEVELS = ("debug", "info", "warning", "error")
LOG_FORMATS = ("text", "json")


def state_dir_of(instance: str) -> Path:
    """Return the state directory of `instance` where none was asked for."""
    if instance == DEFAULT_INSTANCE:
        return DEFAULT_STATE_DIR
    return DEFAULT_STATE_DIR.with_name(f"{DEFAULT_STATE_DIR.name}-{instance}")


def instance_name(text: str) -> str:
    """Return the instance that `text` asks for: at most 12 characters; a longer name is cut and ends in its hash.

    :raises ValueError: when it holds anything but lower-case letters, digits and dashes, or starts with a dash.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", text):
        raise ValueError(f"an instance is named with a-z, 0-9 and dashes, got {text!r}")
    if len(text) <= LONGEST_INSTANCE:
        return text
    return f"{text[:7]}-{hashlib.sha256(text.encode()).hexdigest()[:4]}"


@frozen(kw_only=True)
class Options:
    """Settings of one `kubevip` process, from the command line and the `KUBEVIP_...` environment, which it outranks."""

    config: Path | None = None
    """The configuration file; None: other sources tell everything."""
    plugins: tuple[str, ...] | None = None
    """Names of entry points to load; None: all that are installed."""
    node: str | None = None
    """This machine's name as it was asked for; None: the configuration and the machine tell."""
    node_from: str = "--node"
    """What asked for `node`: "--node", "KUBEVIP_NODE" or "NODE_NAME"; for messages."""
    instance: str = DEFAULT_INSTANCE
    """Which of the daemons of this machine it is; each touches only what bears its own name."""
    state_dir: Path = field(default=DEFAULT_STATE_DIR)
    """Where it keeps its lock, its control socket and what must survive a restart."""
    log_level: str = "info"
    log_format: str = "text"
    insecure: bool = False
    """Whether peers without keys are accepted."""
    trace_plugins: bool = False
    """Whether each registration of a plugin is logged."""


def options_from(environment: Mapping[str, str], given: Mapping[str, object]) -> Options:
    """Merge what the command line gave (None = not given) with the environment and the defaults.

    :raises ValueError: when a value is malformed; the message names the variable or option.
    """

    def pick(option: str, *variables: str) -> tuple[str | None, str]:
        if (value := given.get(option)) is not None:
            return str(value), "--" + option.replace("_", "-")
        for variable in variables:
            if value := environment.get(variable):
                return str(value), variable
        return None, ""

    config, _ = pick("config", "KUBEVIP_CONFIG")
    plugins, _ = pick("plugins", "KUBEVIP_PLUGINS")
    node, node_from = pick("node", "KUBEVIP_NODE", "NODE_NAME")
    asked_instance, instance_from = pick("instance", "KUBEVIP_INSTANCE")
    state_dir, _ = pick("state_dir", "KUBEVIP_STATE_DIR")
    level, level_from = pick("log_level", "KUBEVIP_LOG_LEVEL")
    form, form_from = pick("log_format", "KUBEVIP_LOG_FORMAT")
    level, form = (level or "info").lower(), (form or "text").lower()
    if level not in LOG_LEVELS:
        raise ValueError(f"{level_from}: expected one of {', '.join(LOG_LEVELS)}, got {level!r}")
    if form not in LOG_FORMATS:
        raise ValueError(f"{form_from}: expected one of {', '.join(LOG_FORMATS)}, got {form!r}")
    try:
        instance = instance_name(asked_instance or DEFAULT_INSTANCE)
    except ValueError as error:
        raise ValueError(f"{instance_from}: {error}") from None
    return Options(
        config=Path(config) if config else DEFAULT_CONFIG if DEFAULT_CONFIG.exists() else None,
        plugins=split_names(plugins) if plugins is not None else None,
        node=node,
        node_from=node_from,
        instance=instance,
        state_dir=Path(state_dir) if state_dir else state_dir_of(instance),
        log_level=level,
        log_format=form,
        insecure=bool(given.get("insecure")),
        trace_plugins=bool(given.get("trace_plugins")),
    )


def split_names(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list, each once, in order."""
    return tuple(dict.fromkeys(name for part in text.split(",") if (name := part.strip())))
