"""What has to be known before anything runs: the configuration as it reads now, and this node's name."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip._contract import Host
from kubevip._model import Desired, Instance, Kind, Place, Places, Problem, Section
from kubevip._plugins import PluginRegistry
from kubevip._structure import structure
from kubevip.abc import SupportsLoad
from kubevip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kubevip._options import Options

#: The provider that `--config` implies, as the entry point "file" of the base distribution promises.
FILE_SOURCE = "file"

#: Where a configuration is from that is in no file.
ENVIRONMENT = "environment"


@frozen(kw_only=True)
class Loaded:
    """What the command line wants (`base`), what the configuration file wants, and warnings about it.

    `origin` is where that is from: the path of the file, or the environment that stands in for it.
    """

    base: Desired
    file: Desired
    warnings: tuple[Problem, ...] = ()
    origin: str = ""


def base_of(config: Path | None) -> Desired:
    """Return what the command line wants: the file source, where there is a file."""
    if config is None:
        return Desired()
    section = Section(provider=FILE_SOURCE, data={"path": str(config)}, places=Places(root=Place(file="--config")))
    return Desired(instances=(Instance(kind=Kind.SOURCE, name=FILE_SOURCE, section=section),))


def load_plugins(options: Options) -> PluginRegistry:
    """Load the plugins that were asked for, and the file source that a configuration file implies.

    :raises PluginError: see `PluginRegistry.load`.
    """
    implied = (FILE_SOURCE,) if options.config is not None else ()
    return PluginRegistry.load(options.plugins, also=implied, trace=options.trace_plugins)


def stand_ins(options: Options, registry: PluginRegistry, environment: Mapping[str, str]) -> tuple[Instance, ...]:
    """Return the sources that stand in for a configuration file, as the environment says; empty where there is one.

    Only plugins that were named have a say: else a variable that is set for another program would be a configuration.
    """
    if options.is_config_named or options.plugins is None or options.config is None or options.config.exists():
        return ()
    found: list[Instance] = []
    for name, provider in registry.providers(Kind.SOURCE).items():
        section = provider.default(environment) if provider.default is not None else None
        if section is not None:
            found.append(Instance(kind=Kind.SOURCE, name=name, section=section))
    return tuple(found)


async def load(options: Options, registry: PluginRegistry) -> Loaded:
    """Read the configuration once, touching nothing.

    :raises ConfigError: when there is no configuration, it cannot be read, or it is refused.
    """
    if instances := stand_ins(options, registry, os.environ):
        return Loaded(base=Desired(instances=instances), file=Desired(), origin=ENVIRONMENT)
    base = base_of(options.config)
    if not base.instances:
        return Loaded(base=base, file=Desired())
    section = base.instances[0].section
    if (provider := registry.provider(Kind.SOURCE, FILE_SOURCE)) is None:
        raise ConfigError([section.places.problem(registry.why_missing(Kind.SOURCE, FILE_SOURCE))])
    host = Host(
        node_name="",
        instance=options.instance,
        state_dir=options.state_dir,
        rng=Random(0),
        will=lambda order, function, payload: None,
    )
    async with provider.open(structure(section, provider.config), host) as source:
        if not isinstance(source, SupportsLoad):
            raise ConfigError([section.places.problem(f"source {FILE_SOURCE!r} cannot be read before it runs")])
        desired, warnings = source.load()
    return Loaded(base=base, file=desired, warnings=warnings, origin=str(options.config))
