"""The source of `mode: services`: Services of type LoadBalancer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from anyio import create_task_group

from kubevip import Latest
from kubevip_k8s import SERVICES, ChangeKind, Reflector
from kubevip_source_k8s._backing import Backing
from kubevip_source_k8s._kept import ENDPOINTS_BY, kept_service
from kubevip_source_k8s._publication import Publication
from kubevip_source_k8s._services import OWNER, Rules, wish_of
from kubevip_source_k8s._status_writer import StatusWriter
from kubevip_source_k8s._teller import Teller
from kubevip_source_k8s._terms import source_name, terms_of
from kubevip_source_k8s._translation import Translator

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence
    from random import Random

    from kubevip import Feed, IPAddress, PersistentMap
    from kubevip_k8s import Api, Change, JsonObject
    from kubevip_source_k8s._config import K8sSourceConfig
    from kubevip_source_k8s._fields import Key
    from kubevip_source_k8s._kept import Listed


class ServicesSource:
    """Follows Services, and their endpoints as far as anything depends on them."""

    def __init__(self, api: Api, config: K8sSourceConfig, *, node: str, rng: Random) -> None:
        self._config = config
        self._rules = Rules(
            load_balancer_class=config.load_balancer_class,
            only_class=config.only_class,
            permitted=config.addresses,
            balances=config.balances,
        )
        endpoints, kept = ENDPOINTS_BY[config.endpoints]
        namespaces: tuple[str | None, ...] = config.namespaces or (None,)
        self._services = [Reflector(api, SERVICES, keep=kept_service, namespace=it, rng=rng) for it in namespaces]
        self._endpoints = [Reflector(api, endpoints, keep=kept, namespace=it, rng=rng) for it in namespaces]
        self._backing = Backing()
        terms = terms_of(config, node)
        self._translator = Translator(terms)
        self._needs_endpoints = Latest(False)
        self._teller = Teller(api, node=node, is_on=config.events)
        self._publication = Publication(
            self._translator,
            self._teller,
            node=node,
            about=self._about,
            owner=lambda key: OWNER + "/".join(cast("Key", key)),
            granted=self._grant,
        )
        self._writer = StatusWriter(
            api,
            self._service,
            self._names,
            lambda address: cast("tuple[Key, ...]", self._translator.sharers(address)),
            ip_mode="Proxy" if config.balances else "VIP",
            source=source_name(config),
            group=terms.group,
            is_pending=lambda: self._publication.is_pending,
            rng=rng,
        )

    async def run(self, feed: Feed) -> None:
        """Publish what the Services want, now and after each change, until cancelled."""
        async with create_task_group() as tg:
            for services in self._services:
                tg.start_soon(services.run, self._on_services)
            for endpoints in self._endpoints:
                tg.start_soon(self._follow_endpoints, endpoints)
            tg.start_soon(self._publication.run, feed, self._is_ready)
            tg.start_soon(self._teller.run)
            tg.start_soon(self._publication.follow, feed.status)
            if self._config.write_status:
                tg.start_soon(self._writer.follow, feed.status)
                tg.start_soon(self._writer.run)

    def status(self) -> Mapping[str, object]:
        """Return what `kubevip status` shows of it."""
        reflectors: tuple[Reflector[Any], ...] = (*self._services, *self._endpoints)  # Any: of whatever
        api = next((it.problem for it in reflectors if it.problem), "") or self._writer.problem
        return {
            "mode": self._config.mode.value,
            "services": len(self._translator),
            "snapshots": self._publication.snapshots,
            "requests": sum(it.requests for it in reflectors) + self._writer.requests,
            "problems": self._publication.problems(api),
            "api": api,
            "events_dropped": self._teller.dropped,
        }

    def _service(self, key: Key) -> JsonObject | None:
        return next((it.objects[key] for it in self._services if key in it.objects), None)

    def _names(self) -> Iterator[Key]:
        for reflector in self._services:
            yield from reflector.objects

    def _about(self, owner: str) -> tuple[JsonObject, str] | None:
        namespace, _, name = owner.removeprefix(OWNER).partition("/")
        service = self._service((namespace, name)) if owner.startswith(OWNER) else None
        return (service, SERVICES.kind) if service is not None else None

    def _is_ready(self) -> bool:
        """Say whether everything has been listed once: what is missing could be taken for removed."""
        if not all(it.synced.value for it in self._services):
            return False
        return not self._needs_endpoints.value or all(it.synced.value for it in self._endpoints)

    def _on_services(self, changes: Sequence[Change[JsonObject]]) -> None:
        is_news = not self._publication.snapshots  # an empty first list is one, too
        for change in changes:
            is_gone = change.kind is ChangeKind.DELETED
            wish = None if is_gone else wish_of(change.object, self._rules)
            is_news |= self._translator.set_wish(change.key, wish)
            if wish is not None:
                self._translator.set_endpoints(wish.service, self._backing.endpoints(wish.service))
        if not self._needs_endpoints.value and self._translator.needs_endpoints:
            self._needs_endpoints.set(True)
        if is_news:
            self._publication.touch()
        self._writer.touch(change.key for change in changes)

    async def _follow_endpoints(self, reflector: Reflector[Listed]) -> None:
        await self._needs_endpoints.wait_until(bool)
        await reflector.run(self._on_endpoints)

    def _on_endpoints(self, changes: Sequence[Change[Listed]]) -> None:
        is_news = not self._publication.snapshots
        for service in self._backing.take(changes):
            if self._translator.serves(service):
                is_news |= self._translator.set_endpoints(service, self._backing.endpoints(service))
        if is_news:
            self._publication.touch()

    def _grant(self, granted: PersistentMap[Hashable, tuple[IPAddress, ...]]) -> None:
        self._writer.granted(cast("PersistentMap[Key, tuple[IPAddress, ...]]", granted))
