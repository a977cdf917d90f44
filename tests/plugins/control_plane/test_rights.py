"""The rights of the manifests, on an API server that knows RBAC: each is used, and nothing else is granted."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from attrs import evolve, field, frozen

from kubevip_control_plane import _objects
from kubevip_control_plane._wanted import Wanted, Ways
from kubevip_k8s import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    SERVICES,
    Api,
    ApiError,
    Forbidden,
    Resource,
)
from kubevip_k8s.testing import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, FakeCluster

pytestmark = pytest.mark.anyio

KINDS = {
    "Role": ROLES,
    "RoleBinding": ROLE_BINDINGS,
    "ClusterRole": CLUSTER_ROLES,
    "ClusterRoleBinding": CLUSTER_ROLE_BINDINGS,
}
_METHODS = {"get": "GET", "list": "GET", "create": "POST", "update": "PUT", "patch": "PATCH", "delete": "DELETE"}


@frozen(kw_only=True)
class Deed:
    """One request that the election or a source makes."""

    verb: str
    resource: Resource
    namespace: str | None = None
    name: str = ""
    subresource: str = ""
    selects: bool = field(default=False)

    async def by(self, api: Api) -> None:
        """Ask for it. Whatever is wrong with it but the right to it is no matter here."""
        query = {"fieldSelector": f"metadata.name={self.name}"} if self.selects else {}
        path = self.resource.path(self.namespace, None if self.selects else self.name or None, self.subresource)
        try:
            if self.verb == "watch":
                async with api.watch(path, query=query, idle_seconds=1):
                    return
            body = {"metadata": {"name": self.name}} if self.verb in ("create", "update", "patch") else None
            kind = "application/merge-patch+json" if self.verb == "patch" else "application/json"
            method = _METHODS[self.verb]
            await api.request(method, path, query=query, body=body, content_type=kind, timeout_seconds=1)
        except Forbidden:
            raise
        except ApiError:
            pass


def following(resource: Resource, namespace: str | None, name: str = "") -> list[Deed]:
    return [
        Deed(verb=verb, resource=resource, namespace=namespace, name=name, selects=bool(name))
        for verb in ("list", "watch")
    ]


def standing(namespace: str, lease: str) -> list[Deed]:
    """What the Lease election does: `_elector`, `_watching`, and the last will."""
    named = [Deed(verb=verb, resource=LEASES, namespace=namespace, name=lease) for verb in ("get", "update", "patch")]
    made = Deed(verb="create", resource=LEASES, namespace=namespace)
    return [*named, made, *following(LEASES, namespace, lease)]


DEPLOYMENT = [
    *standing("shop", "plunder-lock"),
    *following(CONFIG_MAPS, "shop", "plndr"),
    *following(SERVICES, "shop"),
    *following(ENDPOINT_SLICES, "shop"),
    *following(ENDPOINTS, "shop"),  # in their place, where a cluster has no slices
    Deed(verb="create", resource=EVENTS, namespace="shop"),
]
SERVING = [
    *standing("shop", "plndr-svcs-lock"),
    *following(SERVICES, None),
    *following(ENDPOINT_SLICES, None),
    Deed(verb="patch", resource=SERVICES, namespace="elsewhere", name="web", subresource="status"),
    Deed(verb="create", resource=EVENTS, namespace="elsewhere"),
]
RBAC = [*(deed for deed in standing("shop", "plndr-cp-lock") if deed.verb != "create"), *SERVING]
RBAC_LOCAL = [
    *RBAC,
    *standing("shop", "plndr-svcs-lock-192.168.0.80"),
    *following(LEASES, "shop"),  # one watch for the Leases of all addresses
    Deed(verb="delete", resource=LEASES, namespace="shop", name="plndr-svcs-lock-192.168.0.80"),  # of one that is gone
]
WANTED = Wanted(namespace="shop", image="kubevip")
FOR_SERVICES = evolve(WANTED, is_services=True)
BESIDE_VIPS = evolve(FOR_SERVICES, election=Ways.K8S, vips=(ip_address("192.168.0.75"),))
PRINTED = {
    "deployment": (_objects.deployment(WANTED), DEPLOYMENT),
    "daemonset": (_objects.daemonset(evolve(WANTED, election=Ways.K8S)), standing("shop", "plndr-cp-lock")),
    "daemonset for Services": (_objects.daemonset(FOR_SERVICES), SERVING),
    "daemonset for Services beside virtual IPs": (_objects.daemonset(BESIDE_VIPS), RBAC),
    "rbac": (_objects.rbac(WANTED), RBAC),
    "rbac of the policy Local": (_objects.rbac(evolve(WANTED, is_local_policy=True)), RBAC_LOCAL),
}


def cluster_with(objects: list[dict[str, Any]]) -> Api:
    cluster = FakeCluster()
    for it in objects:
        if it["kind"] in KINDS:
            cluster.put(KINDS[it["kind"]], it)
    return cluster.api(cluster.service_account_token("shop", account_of(objects)))


def account_of(objects: Sequence[dict[str, Any]]) -> str:
    """Return the service account that the objects make."""
    (account,) = (str(it["metadata"]["name"]) for it in objects if it["kind"] == "ServiceAccount")
    return account


def without_one(objects: list[dict[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the objects without one verb of one rule, for each of them."""
    for at, it in enumerate(objects):
        for number, rule in enumerate(it.get("rules", ())):
            for verb in rule["verbs"]:
                less = copy.deepcopy(objects)
                less[at]["rules"][number]["verbs"].remove(verb)
                yield f"{verb} {rule['resources'][0]} {rule.get('resourceNames', '')}", less


@pytest.mark.parametrize("kind", list(PRINTED))
async def test_everything_that_is_done_is_permitted(kind: str) -> None:
    objects, deeds = PRINTED[kind]
    api = cluster_with(objects)
    for deed in deeds:
        await deed.by(api)


@pytest.mark.parametrize("kind", list(PRINTED))
async def test_each_right_is_used_for_without_it_something_is_refused(kind: str) -> None:
    objects, deeds = PRINTED[kind]
    unused: list[str] = []
    for right, less in without_one(objects):
        api = cluster_with(less)
        refused = 0
        for deed in deeds:
            try:
                await deed.by(api)
            except Forbidden:
                refused += 1
        if not refused:
            unused.append(right)
    assert unused == []


@pytest.mark.parametrize(
    "deed",
    [
        Deed(verb="update", resource=LEASES, namespace="shop", name="somebody-elses"),
        Deed(verb="patch", resource=LEASES, namespace="kube-system", name="plunder-lock"),
        Deed(verb="list", resource=CONFIG_MAPS, namespace="shop"),
        Deed(verb="update", resource=CONFIG_MAPS, namespace="shop", name="plndr"),
        Deed(verb="list", resource=SERVICES),
        Deed(verb="patch", resource=SERVICES, namespace="shop", name="web"),
        Deed(verb="patch", resource=SERVICES, namespace="shop", name="web", subresource="status"),
    ],
    ids=str,
)
async def test_nothing_of_somebody_elses_is_permitted(deed: Deed) -> None:
    with pytest.raises(Forbidden):
        await deed.by(cluster_with(_objects.deployment(WANTED)))
