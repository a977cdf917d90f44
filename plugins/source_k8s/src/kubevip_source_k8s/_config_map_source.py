"""The source of `mode: configmap`: the entries of one ConfigMap, and the endpoints of the Services that they name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import create_task_group

from kubevip.errors import ConfigError
from kubevip_k8s import CONFIG_MAPS, SERVICES, ChangeKind, Reflector
from kubevip_source_k8s._backing import Backing
from kubevip_source_k8s._entries import Entries, read_entries, with_names
from kubevip_source_k8s._kept import ENDPOINTS_BY, kept_config_map, kept_service
from kubevip_source_k8s._publication import Publication
from kubevip_source_k8s._teller import Teller
from kubevip_source_k8s._terms import terms_of
from kubevip_source_k8s._translation import Translator

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence
    from random import Random

    from kubevip import Feed, Problem
    from kubevip_k8s import Api, Change, JsonObject
    from kubevip_source_k8s._config import K8sSourceConfig
    from kubevip_source_k8s._kept import Listed
    from kubevip_source_k8s._wish import Wish


class ConfigMapSource:
    """Follows a ConfigMap, the Services of its namespace, which name the ports, and their endpoints."""

    def __init__(self, api: Api, config: K8sSourceConfig, *, node: str, rng: Random) -> None:
        self._config = config
        self._key = config.namespace, config.config_map
        namespace = config.namespace
        endpoints, kept = ENDPOINTS_BY[config.endpoints]
        selector = f"metadata.name={config.config_map}"
        self._config_map = Reflector(
            api, CONFIG_MAPS, keep=kept_config_map, namespace=namespace, field_selector=selector, rng=rng
        )
        self._services = Reflector(api, SERVICES, keep=kept_service, namespace=namespace, rng=rng)
        self._endpoints = Reflector(api, endpoints, keep=kept, namespace=namespace, rng=rng)
        self._backing = Backing()
        self._translator = Translator(terms_of(config, node))
        self._teller = Teller(api, node=node, is_on=config.events)
        self._owner = f"{CONFIG_MAPS.kind} {namespace}/{config.config_map}"
        self._publication = Publication(
            self._translator, self._teller, node=node, about=self._about, owner=lambda key: self._owner
        )
        self._wishes: dict[str, Wish] = {}
        self._is_refused = False
        self._feed: Feed | None = None

    async def run(self, feed: Feed) -> None:
        """Publish what the ConfigMap wants, now and after each change, until cancelled."""
        self._feed = feed
        async with create_task_group() as tg:
            tg.start_soon(self._config_map.run, self._on_config_map)
            tg.start_soon(self._services.run, self._on_services)
            tg.start_soon(self._endpoints.run, self._on_endpoints)
            tg.start_soon(self._publication.run, feed, self._is_ready)
            tg.start_soon(self._publication.follow, feed.status)
            tg.start_soon(self._teller.run)

    def status(self) -> Mapping[str, object]:
        """Return what `kubevip status` shows of it."""
        reflectors = (self._config_map, self._services, self._endpoints)
        api = next((it.problem for it in reflectors if it.problem), "")
        return {
            "mode": self._config.mode.value,
            "config_map": "/".join(self._key),
            "entries": len(self._wishes),
            "snapshots": self._publication.snapshots,
            "requests": sum(it.requests for it in reflectors),
            "problems": self._publication.problems(api),
            "api": api,
            "events_dropped": self._teller.dropped,
        }

    def _about(self, owner: str) -> tuple[JsonObject, str] | None:
        config_map = self._config_map.objects.get(self._key) if owner == self._owner else None
        return (config_map, CONFIG_MAPS.kind) if config_map is not None else None

    def _is_ready(self) -> bool:
        """Say whether everything has been listed once.

        Services only name the ports: without the right to read them the endpoints have to do.
        """
        named = self._services.synced.value or bool(self._services.problem)
        return self._config_map.synced.value and self._endpoints.synced.value and named

    def _on_config_map(self, changes: Sequence[Change[JsonObject]]) -> None:
        for change in changes:
            if change.key != self._key:
                continue
            if change.kind is ChangeKind.DELETED:
                self._take(Entries(wishes={}))
                continue
            try:
                self._take(read_entries(change.object, self._config.addresses))
            except ConfigError as error:
                self._refuse(error.problems)
        self._publication.touch()

    def _refuse(self, problems: Sequence[Problem]) -> None:
        """Keep what was good, and say what is not."""
        self._is_refused = True
        if self._feed is not None:
            self._feed.reject(problems)
        for problem in problems:
            self._publication.say(self._owner, "Refused", str(problem))

    def _take(self, entries: Entries) -> None:
        """Take over what is listed; the last good one of an entry that is refused stays."""
        kept = {key: self._wishes[key] for key in entries.refused if key in self._wishes}
        self._wishes = {**entries.wishes, **kept}
        self._publication.set_further(entries.problems)
        self._publication.touch(again=self._is_refused)  # so that the refusal is over, also if all is as before
        self._is_refused = False
        self._name_ports()

    def _name_ports(self) -> None:
        named: dict[Hashable, Wish] = {
            key: with_names(wish, self._services.objects.get(wish.service)) for key, wish in self._wishes.items()
        }
        self._translator.set_wishes(named)
        for wish in named.values():
            self._translator.set_endpoints(wish.service, self._backing.endpoints(wish.service))
        self._publication.touch()

    def _on_services(self, changes: Sequence[Change[JsonObject]]) -> None:
        if not changes or any(self._translator.serves(change.key) for change in changes):
            self._name_ports()

    def _on_endpoints(self, changes: Sequence[Change[Listed]]) -> None:
        for service in self._backing.take(changes):
            if self._translator.serves(service):
                self._translator.set_endpoints(service, self._backing.endpoints(service))
        self._publication.touch()
