"""The instances of providers: those that are configured, and those that are only named; each structured once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from kubevip._model import Instance, Kind, Places, Section
from kubevip._resolved import ResolvedInstance
from kubevip._structure import structure
from kubevip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubevip._model import Problem
    from kubevip._plugins import PluginRegistry

InstanceKey = tuple[Kind, str]


@frozen(kw_only=True)
class Looked:
    """What was found: the instance, or why there is none. `is_missing`: its provider is not installed or not loaded."""

    found: ResolvedInstance | None = None
    problems: tuple[Problem, ...] = ()
    is_missing: bool = False


class Instances:
    """Looks instances up by kind and name. `configured` are those of the configuration, in its order."""

    def __init__(self, configured: Iterable[Instance], registry: PluginRegistry) -> None:
        self.configured = {(instance.kind, instance.name): instance for instance in configured}
        self.registry = registry
        self._known: dict[InstanceKey, Looked] = {}
        self._positions: dict[InstanceKey, int] = {}
        self._claimed: dict[str, Instance] = {}

    @property
    def found(self) -> Sequence[ResolvedInstance]:
        """Those that were looked up and are good."""
        return [looked.found for looked in self._known.values() if looked.found is not None]

    def look_up(self, kind: Kind, name: str, places: Places, *path: str | int) -> Looked:
        """Return the instance that is called `name` at `path`; one that is not configured has an empty section."""
        if (known := self._known.get((kind, name))) is not None:
            return known
        instance = self.configured.get((kind, name))
        if instance is None:
            section = Section(provider=name, places=Places(root=places.at(*path)))
            instance = Instance(kind=kind, name=name, section=section)
        self._positions[kind, name] = len(self._positions)
        looked = self._known[kind, name] = self._structured(instance)
        return looked

    def _structured(self, instance: Instance) -> Looked:
        section = instance.section
        provider = self.registry.provider(instance.kind, section.provider)
        if provider is None:
            why = self.registry.why_missing(instance.kind, section.provider)
            return Looked(problems=(section.places.problem(why),), is_missing=True)
        try:
            config: object = structure(section, provider.config)
        except ConfigError as error:
            return Looked(problems=tuple(error.problems))
        claim: str = provider.claims(config) if provider.claims is not None else ""
        if claim and (first := self._claimed.setdefault(claim, instance)) is not instance:
            had = f"{first.kind.value} {first.name!r} at {first.section.places.root}"
            message = f"{claim} is that of {had}, and has one holder; name another one here, or use {first.name!r}"
            return Looked(problems=(section.places.problem(message),))
        return Looked(
            found=ResolvedInstance(
                kind=instance.kind, name=instance.name, provider=provider, config=config, places=section.places
            )
        )

    def position(self, key: InstanceKey) -> int:
        """Return where an instance stands among those that were looked up."""
        return self._positions[key]
