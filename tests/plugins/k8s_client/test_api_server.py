"""What the plugins rely on, asked of a real API server and of the fake one: the fake is held to the real."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from tests.apiserver.servers import ApiServer, fake_server

from kubevip_k8s import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    SERVICES,
    AlreadyExists,
    Api,
    Conflict,
    Forbidden,
    Invalid,
    NotFound,
    Refused,
    Resource,
    Unauthorized,
    open_api,
)
from kubevip_k8s.testing import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES, SERVICE_ACCOUNTS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

pytestmark = pytest.mark.anyio

JSON_PATCH, MERGE = "application/json-patch+json", "application/merge-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"
SECONDS = 20.0
numbers = itertools.count()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the client's only one


@pytest.fixture(scope="module")
def fake_api_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[ApiServer]:
    with fake_server(tmp_path_factory.mktemp("fake")) as server:
        yield server


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.apiserver)])
def server(request: pytest.FixtureRequest) -> ApiServer:
    found: ApiServer = request.getfixturevalue("api_server" if request.param == "real" else "fake_api_server")
    return found


class Client:
    """An Api in a namespace of its own."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    async def ask(self, method: str, path: str, body: object = None, **more: Any) -> dict[str, Any]:
        return dict(await self.api.request(method, path, body=body, timeout_seconds=SECONDS, **more))

    def path(self, resource: Resource, name: str | None = None, part: str = "") -> str:
        return resource.path(self.namespace, name, part)

    async def create(self, resource: Resource, name: str, **fields: Any) -> dict[str, Any]:
        metadata = {"name": name, **fields.pop("metadata", {})}
        return await self.ask("POST", self.path(resource), {"metadata": metadata, **fields})

    async def get(self, resource: Resource, name: str) -> dict[str, Any]:
        return await self.ask("GET", self.path(resource, name))

    async def put(self, resource: Resource, document: dict[str, Any], part: str = "") -> dict[str, Any]:
        return await self.ask("PUT", self.path(resource, document["metadata"]["name"], part), document)

    async def patch(self, resource: Resource, name: str, kind: str, patch: object, **more: Any) -> dict[str, Any]:
        part = more.pop("part", "")
        return await self.ask("PATCH", self.path(resource, name, part), patch, content_type=kind, **more)


@pytest.fixture
async def client(server: ApiServer) -> AsyncGenerator[Client]:
    namespace = f"test-{next(numbers)}"
    async with open_api(server.access) as api:
        await api.request("POST", NAMESPACES.path(), body={"metadata": {"name": namespace}}, timeout_seconds=SECONDS)
        yield Client(api, namespace)


def service(**more: Any) -> dict[str, Any]:
    return {"type": "LoadBalancer", "ports": [{"port": 80}], **more}


async def refusal(error: type[Refused], asked: Any) -> tuple[int, str]:
    with pytest.raises(error) as caught:
        await asked
    return caught.value.status, caught.value.reason


# -- objects


async def test_created_once_and_read_as_it_was_created(client: Client) -> None:
    created = await client.create(CONFIG_MAPS, "a", data={"x": "1"})
    assert {"uid", "resourceVersion", "creationTimestamp"} <= created["metadata"].keys()
    assert (created["kind"], created["apiVersion"], created["data"]) == ("ConfigMap", "v1", {"x": "1"})
    assert await client.get(CONFIG_MAPS, "a") == created
    assert await refusal(AlreadyExists, client.create(CONFIG_MAPS, "a")) == (409, "AlreadyExists")


async def test_refusals_name_the_object(client: Client) -> None:
    with pytest.raises(NotFound, match=r'leases\.coordination\.k8s\.io "a" not found'):
        await client.get(LEASES, "a")
    await client.create(CONFIG_MAPS, "a")
    with pytest.raises(AlreadyExists, match='configmaps "a" already exists'):
        await client.create(CONFIG_MAPS, "a")


async def test_nothing_is_created_in_a_namespace_that_is_not_there(client: Client) -> None:
    path = CONFIG_MAPS.path("nowhere")
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        await client.ask("POST", path, {"metadata": {"name": "a"}})


async def test_a_resource_that_is_not_served_is_not_found(client: Client) -> None:
    path = Resource(group="nobody.example", plural="things", kind="Thing").path()
    assert (await refusal(NotFound, client.ask("GET", path)))[0] == 404


async def test_a_name_is_made_of_a_prefix(client: Client) -> None:
    made = await client.ask("POST", client.path(CONFIG_MAPS), {"metadata": {"generateName": "web-"}})
    assert made["metadata"]["name"].startswith("web-")
    assert len(made["metadata"]["name"]) == len("web-") + 5


async def test_a_stale_update_conflicts(client: Client) -> None:
    old = await client.create(CONFIG_MAPS, "a", data={"x": "1"})
    new = await client.put(CONFIG_MAPS, old | {"data": {"x": "2"}})
    assert int(new["metadata"]["resourceVersion"]) > int(old["metadata"]["resourceVersion"])
    assert await refusal(Conflict, client.put(CONFIG_MAPS, old | {"data": {"x": "3"}})) == (409, "Conflict")


async def test_a_write_that_changes_nothing_has_no_version(client: Client) -> None:
    old = await client.create(CONFIG_MAPS, "a", data={"x": "1"})
    assert await client.put(CONFIG_MAPS, old) == old
    assert await client.patch(CONFIG_MAPS, "a", MERGE, {"data": {"x": "1"}}) == old


async def test_a_put_without_a_version_overwrites_but_not_a_lease(client: Client) -> None:
    await client.create(CONFIG_MAPS, "a", data={"x": "1"})
    assert (await client.put(CONFIG_MAPS, {"metadata": {"name": "a"}, "data": {"x": "2"}}))["data"] == {"x": "2"}
    await client.create(LEASES, "a", spec={"holderIdentity": "n1"})
    asked = client.put(LEASES, {"metadata": {"name": "a"}, "spec": {"holderIdentity": "n2"}})
    assert await refusal(Invalid, asked) == (422, "Invalid")


@pytest.mark.parametrize(
    ("resource", "is_made"), [(CONFIG_MAPS, False), (LEASES, True), (ENDPOINTS, True), (ENDPOINT_SLICES, False)]
)
async def test_a_put_of_what_is_not_there(client: Client, resource: Resource, is_made: bool) -> None:
    asked = client.put(resource, {"metadata": {"name": "a"}, "addressType": "IPv4"} | _empty(resource))
    if is_made:
        assert (await asked)["metadata"]["name"] == "a"
    else:
        assert await refusal(NotFound, asked) == (404, "NotFound")


def _empty(resource: Resource) -> dict[str, Any]:
    return {"endpoints": []} if resource == ENDPOINT_SLICES else {}


async def test_the_name_in_the_body_is_that_in_the_path(client: Client) -> None:
    old = await client.create(CONFIG_MAPS, "a")
    asked = client.ask("PUT", client.path(CONFIG_MAPS, "b"), old)
    assert await refusal(Invalid, asked) == (400, "BadRequest")


async def test_deleted_only_as_the_precondition_says(client: Client) -> None:
    old = await client.create(CONFIG_MAPS, "a")
    path = client.path(CONFIG_MAPS, "a")
    wrong = {"preconditions": {"resourceVersion": "1"}}
    assert await refusal(Conflict, client.ask("DELETE", path, wrong)) == (409, "Conflict")
    right = {"preconditions": {"uid": old["metadata"]["uid"]}}
    await client.ask("DELETE", path, right)
    assert await refusal(NotFound, client.get(CONFIG_MAPS, "a")) == (404, "NotFound")


async def test_an_object_with_finalizers_goes_when_they_are_gone(client: Client) -> None:
    await client.create(CONFIG_MAPS, "a", metadata={"finalizers": ["example.com/x"]})
    await client.ask("DELETE", client.path(CONFIG_MAPS, "a"))
    assert "deletionTimestamp" in (await client.get(CONFIG_MAPS, "a"))["metadata"]
    await client.patch(CONFIG_MAPS, "a", MERGE, {"metadata": {"finalizers": None}})
    assert await refusal(NotFound, client.get(CONFIG_MAPS, "a")) == (404, "NotFound")


async def test_a_dry_run_stores_nothing(client: Client) -> None:
    body = {"metadata": {"name": "a"}}
    made = await client.ask("POST", client.path(CONFIG_MAPS), body, query={"dryRun": "All"})
    assert made["metadata"]["name"] == "a"
    assert await refusal(NotFound, client.get(CONFIG_MAPS, "a")) == (404, "NotFound")


# -- status


async def test_status_is_a_part_of_its_own(client: Client) -> None:
    status = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    made = await client.create(SERVICES, "web", spec=service(), status=status)
    assert made["status"] == {"loadBalancer": {}}
    put = await client.put(SERVICES, made | {"status": status}, part="status")
    assert put["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "VIP"}]
    kept = await client.put(SERVICES, put | {"status": {"loadBalancer": {}}, "spec": put["spec"] | service()})
    assert kept["status"] == put["status"]
    moved = await client.put(SERVICES, kept | {"spec": kept["spec"] | {"sessionAffinity": "ClientIP"}}, part="status")
    assert moved["spec"]["sessionAffinity"] == "None"


async def test_a_stale_status_conflicts(client: Client) -> None:
    old = await client.create(SERVICES, "web", spec=service())
    await client.patch(SERVICES, "web", MERGE, {"metadata": {"labels": {"x": "1"}}})
    assert await refusal(Conflict, client.put(SERVICES, old, part="status")) == (409, "Conflict")


async def test_status_is_patched_with_a_version(client: Client) -> None:
    old = await client.create(SERVICES, "web", spec=service())
    patch = {
        "metadata": {"resourceVersion": old["metadata"]["resourceVersion"]},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "Proxy"}]}},
    }
    new = await client.patch(SERVICES, "web", MERGE, patch, part="status")
    assert new["status"]["loadBalancer"]["ingress"] == [{"ip": "192.0.2.1", "ipMode": "Proxy"}]
    assert await refusal(Conflict, client.patch(SERVICES, "web", MERGE, patch, part="status")) == (409, "Conflict")


@pytest.mark.parametrize(
    "ingress", [{"ip": "nonsense"}, {"hostname": "x.example", "ipMode": "VIP"}, {"ip": "192.0.2.1", "ipMode": "Other"}]
)
async def test_a_wrong_ingress_is_refused(client: Client, ingress: dict[str, str]) -> None:
    await client.create(SERVICES, "web", spec=service())
    patch = {"status": {"loadBalancer": {"ingress": [ingress]}}}
    asked = client.patch(SERVICES, "web", MERGE, patch, part="status")
    assert await refusal(Invalid, asked) == (422, "Invalid")


async def test_who_writes_a_status_may_annotate_but_not_ask_for_an_address(client: Client) -> None:
    await client.create(SERVICES, "web", spec=service(), metadata={"annotations": {"a": "b"}})
    patch = {"metadata": {"annotations": {"kubevip.io/x": "y"}}, "spec": {"loadBalancerIP": "192.0.2.1"}}
    new = await client.patch(SERVICES, "web", MERGE, patch, part="status")
    assert new["metadata"]["annotations"] == {"a": "b", "kubevip.io/x": "y"}
    assert "loadBalancerIP" not in new["spec"]


async def test_what_has_no_status_has_no_status_part(client: Client) -> None:
    old = await client.create(CONFIG_MAPS, "a")
    assert (await refusal(NotFound, client.put(CONFIG_MAPS, old, part="status")))[0] == 404


# -- patches


async def test_a_merge_patch_removes_what_is_null(client: Client) -> None:
    await client.create(CONFIG_MAPS, "a", data={"x": "1", "y": "2"})
    assert (await client.patch(CONFIG_MAPS, "a", MERGE, {"data": {"x": None, "z": "3"}}))["data"] == {
        "y": "2",
        "z": "3",
    }


async def test_a_json_patch_applies_as_a_whole(client: Client) -> None:
    await client.create(LEASES, "a", spec={"holderIdentity": "n1", "leaseTransitions": 3})
    patch = [
        {"op": "test", "path": "/spec/holderIdentity", "value": "n1"},
        {"op": "test", "path": "/spec/leaseTransitions", "value": 3},
        {"op": "replace", "path": "/spec/holderIdentity", "value": ""},
    ]
    assert (await client.patch(LEASES, "a", JSON_PATCH, patch))["spec"]["holderIdentity"] == ""
    assert await refusal(Invalid, client.patch(LEASES, "a", JSON_PATCH, patch)) == (422, "Invalid")


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/data/nothing"},
        {"op": "add", "path": "/nothing/x", "value": "1"},
        {"op": "test", "path": "/data/x", "value": "2"},
    ],
)
async def test_a_json_patch_that_does_not_apply_is_refused(client: Client, operation: dict[str, str]) -> None:
    await client.create(CONFIG_MAPS, "a", data={"x": "1"})
    asked = client.patch(CONFIG_MAPS, "a", JSON_PATCH, [operation])
    assert await refusal(Invalid, asked) == (422, "Invalid")


async def test_a_json_patch_replaces_what_is_not_there(client: Client) -> None:
    await client.create(CONFIG_MAPS, "a", data={"x": "1"})
    patch = [{"op": "replace", "path": "/data/y", "value": "2"}]
    assert (await client.patch(CONFIG_MAPS, "a", JSON_PATCH, patch))["data"] == {"x": "1", "y": "2"}


async def test_a_json_patch_adds_an_annotation_with_a_slash(client: Client) -> None:
    await client.create(CONFIG_MAPS, "a", metadata={"annotations": {"b": "1"}})
    patch = [{"op": "add", "path": "/metadata/annotations/kube-vip.io~1vipHost", "value": "n1"}]
    annotations = (await client.patch(CONFIG_MAPS, "a", JSON_PATCH, patch))["metadata"]["annotations"]
    assert annotations == {"b": "1", "kube-vip.io/vipHost": "n1"}


async def test_a_patch_of_a_stale_version_conflicts(client: Client) -> None:
    old = await client.create(CONFIG_MAPS, "a")
    await client.patch(CONFIG_MAPS, "a", MERGE, {"data": {"x": "1"}})
    version = old["metadata"]["resourceVersion"]
    asked = client.patch(CONFIG_MAPS, "a", MERGE, {"metadata": {"resourceVersion": version}, "data": {"x": "2"}})
    assert await refusal(Conflict, asked) == (409, "Conflict")


async def test_a_strategic_merge_patch_merges_ports_by_number(client: Client) -> None:
    await client.create(SERVICES, "web", spec=service(ports=[{"name": "a", "port": 80}]))
    patch = {"spec": {"ports": [{"name": "b", "port": 443}]}}
    ports = (await client.patch(SERVICES, "web", STRATEGIC, patch))["spec"]["ports"]
    assert {port["port"] for port in ports} == {80, 443}
    patch = {"spec": {"ports": [{"port": 80, "$patch": "delete"}]}}
    assert [port["port"] for port in (await client.patch(SERVICES, "web", STRATEGIC, patch))["spec"]["ports"]] == [443]


async def test_apply_makes_and_changes(client: Client) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
    query = {"fieldManager": "test"}
    made = await client.patch(CONFIG_MAPS, "a", APPLY, body, query=query)
    changed = await client.patch(CONFIG_MAPS, "a", APPLY, body | {"data": {"x": "2"}}, query=query)
    assert (made["data"], changed["data"]) == ({"x": "1"}, {"x": "2"})
    assert made["metadata"]["uid"] == changed["metadata"]["uid"]


async def test_a_patch_of_an_unknown_type_is_refused(client: Client) -> None:
    await client.create(CONFIG_MAPS, "a")
    assert (await refusal(Refused, client.patch(CONFIG_MAPS, "a", "application/json", {"data": {}})))[0] == 415


# -- what is not accepted


@pytest.mark.parametrize("digits", ["", ".5", ".123", ".1234567"])
async def test_a_micro_time_has_exactly_six_digits(client: Client, digits: str) -> None:
    asked = client.create(LEASES, "a", spec={"renewTime": f"2026-01-02T03:04:05{digits}Z"})
    assert await refusal(Invalid, asked) == (400, "BadRequest")


async def test_a_micro_time_of_six_digits_stays_as_it_is(client: Client) -> None:
    spec = {"renewTime": "2026-01-02T03:04:05.000000Z", "acquireTime": "2026-01-02T03:04:05.000001Z"}
    assert (await client.create(LEASES, "a", spec=spec))["spec"] == spec


@pytest.mark.parametrize(
    ("spec", "status"),
    [
        ({"leaseDurationSeconds": 0}, 422),
        ({"leaseDurationSeconds": -1}, 422),
        ({"leaseTransitions": -1}, 422),
        ({"leaseDurationSeconds": "5"}, 400),
        ({"leaseDurationSeconds": 1.5}, 400),
        ({"holderIdentity": 5}, 400),
    ],
)
async def test_a_wrong_lease_is_refused(client: Client, spec: dict[str, Any], status: int) -> None:
    assert (await refusal(Invalid, client.create(LEASES, "a", spec=spec)))[0] == status


@pytest.mark.parametrize(
    ("resource", "name", "fields", "status"),
    [
        (CONFIG_MAPS, "a", {"data": {"x": 1}}, 400),
        (CONFIG_MAPS, "a", {"data": {"x/y": "1"}}, 422),
        (CONFIG_MAPS, "A_b", {}, 422),
        (SERVICES, "web", {"spec": {"type": "LoadBalancer"}}, 422),
        (SERVICES, "web", {"spec": {"ports": [{"port": 0}]}}, 422),
        (SERVICES, "web", {"spec": {"ports": [{"port": 1}, {"port": 2}]}}, 422),
        (SERVICES, "web", {"spec": {"type": "Other", "ports": [{"port": 1}]}}, 422),
        (SERVICES, "1web", {"spec": {"ports": [{"port": 1}]}}, 422),
        (ENDPOINTS, "web", {"subsets": [{"ports": [{"port": 1}]}]}, 422),
        (ENDPOINT_SLICES, "web", {"endpoints": []}, 422),
        (ENDPOINT_SLICES, "web", {"addressType": "IPv4", "endpoints": [{"addresses": []}]}, 422),
    ],
)
async def test_a_wrong_object_is_refused(
    client: Client, resource: Resource, name: str, fields: dict[str, Any], status: int
) -> None:
    assert (await refusal(Invalid, client.create(resource, name, **fields)))[0] == status


async def test_the_class_of_a_balancer_does_not_change(client: Client) -> None:
    made = await client.create(SERVICES, "web", spec=service(loadBalancerClass="example.com/a"))
    asked = client.put(SERVICES, made | {"spec": made["spec"] | {"loadBalancerClass": "example.com/b"}})
    assert await refusal(Invalid, asked) == (422, "Invalid")


async def test_a_service_is_completed(client: Client) -> None:
    spec = (await client.create(SERVICES, "web", spec=service()))["spec"]
    assert spec.pop("clusterIP") == spec.pop("clusterIPs")[0]
    (port,) = spec.pop("ports")
    assert 30000 <= port.pop("nodePort") <= 32767
    assert port == {"port": 80, "protocol": "TCP", "targetPort": 80}
    assert spec == {
        "type": "LoadBalancer",
        "sessionAffinity": "None",
        "ipFamilies": ["IPv4"],
        "ipFamilyPolicy": "SingleStack",
        "internalTrafficPolicy": "Cluster",
        "externalTrafficPolicy": "Cluster",
        "allocateLoadBalancerNodePorts": True,
    }


async def test_an_event_is_written(client: Client) -> None:
    event = {
        "regarding": {"kind": "Service", "apiVersion": "v1", "namespace": client.namespace, "name": "web"},
        "eventTime": "2026-01-02T03:04:05.000000Z",
        "reportingController": "kubevip",
        "reportingInstance": "n1",
        "action": "Announce",
        "reason": "Announced",
        "type": "Normal",
        "note": "the address is announced",
    }
    made = await client.create(EVENTS, "web.1", **event)
    assert {name: made[name] for name in event} == event


async def test_a_node_is_born_with_its_status(client: Client) -> None:
    name = f"node-of-{client.namespace}"
    status = {"addresses": [{"type": "InternalIP", "address": "192.0.2.1"}]}
    made = await client.create(NODES, name, status=status)
    assert made["status"]["addresses"] == status["addresses"]
    kept = await client.put(NODES, made | {"status": {}})
    assert kept["status"]["addresses"] == status["addresses"]


# -- lists and watches


async def test_a_list_comes_in_pages_of_one_version(client: Client) -> None:
    for name in "abcde":
        await client.create(CONFIG_MAPS, name)
    names, versions, token = list[str](), set[str](), ""
    while True:
        query = {"limit": "2"} | ({"continue": token} if token else {})
        page = await client.ask("GET", client.path(CONFIG_MAPS), query=query)
        names += [item["metadata"]["name"] for item in page["items"]]
        versions.add(page["metadata"]["resourceVersion"])
        if not (token := page["metadata"].get("continue", "")):
            break
        await client.create(CONFIG_MAPS, f"f{len(names)}")
    assert [name for name in names if name in "abcde"] == list("abcde")
    assert not [name for name in names if name.startswith("f")]
    assert len(versions) == 1
    assert page["kind"] == "ConfigMapList"


async def test_what_is_not_a_token_does_not_continue(client: Client) -> None:
    asked = client.ask("GET", client.path(CONFIG_MAPS), query={"limit": "2", "continue": "nonsense"})
    assert (await refusal(Invalid, asked))[0] == 400


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("x=1", "a"),
        ("x==1,y=2", "a"),
        ("x!=1", "bc"),
        ("x", "ab"),
        ("!x", "c"),
        ("x in (1, 2)", "ab"),
        ("x notin (1)", "bc"),
    ],
)
async def test_labels_select(client: Client, selector: str, expected: str) -> None:
    await client.create(LEASES, "a", metadata={"labels": {"x": "1", "y": "2"}})
    await client.create(LEASES, "b", metadata={"labels": {"x": "2"}})
    await client.create(LEASES, "c")
    listed = await client.ask("GET", client.path(LEASES), query={"labelSelector": selector})
    assert "".join(item["metadata"]["name"] for item in listed["items"]) == expected


@pytest.mark.parametrize(("selector", "expected"), [("metadata.name=a", "a"), ("metadata.name!=a", "bc")])
async def test_fields_select(client: Client, selector: str, expected: str) -> None:
    for name in "abc":
        await client.create(LEASES, name)
    listed = await client.ask("GET", client.path(LEASES), query={"fieldSelector": selector})
    assert "".join(item["metadata"]["name"] for item in listed["items"]) == expected


@pytest.mark.parametrize(
    "query", [{"fieldSelector": "spec.holderIdentity=n1"}, {"labelSelector": "x in"}, {"fieldSelector": "nonsense"}]
)
async def test_a_wrong_selector_is_refused(client: Client, query: dict[str, str]) -> None:
    assert await refusal(Invalid, client.ask("GET", client.path(LEASES), query=query)) == (400, "BadRequest")


async def test_a_watch_tells_what_changed_since_a_version(client: Client) -> None:
    listed = await client.ask("GET", client.path(CONFIG_MAPS))
    await client.create(CONFIG_MAPS, "a")
    await client.patch(CONFIG_MAPS, "a", MERGE, {"data": {"x": "1"}})
    await client.ask("DELETE", client.path(CONFIG_MAPS, "a"))
    query = {"resourceVersion": listed["metadata"]["resourceVersion"]}
    events = await watched(client, CONFIG_MAPS, query)
    assert [event["type"] for event in events] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert events[0]["object"]["kind"] == "ConfigMap"


async def watched(client: Client, resource: Resource, query: dict[str, str]) -> list[dict[str, Any]]:
    """Return all that is told within a second: what is past is told at once."""
    query = {"timeoutSeconds": "1"} | query
    async with client.api.watch(client.path(resource), query=query, idle_seconds=SECONDS) as stream:
        return [dict(event) async for event in stream]


async def test_what_leaves_a_selection_is_deleted_for_its_watch(client: Client) -> None:
    made = await client.create(CONFIG_MAPS, "a", metadata={"labels": {"x": "1"}})
    for value in ("2", "1"):
        await client.patch(CONFIG_MAPS, "a", MERGE, {"metadata": {"labels": {"x": value}}})
    query = {"labelSelector": "x=1", "resourceVersion": made["metadata"]["resourceVersion"]}
    assert [event["type"] for event in await watched(client, CONFIG_MAPS, query)] == ["DELETED", "ADDED"]


async def test_a_watch_without_a_version_begins_with_what_there_is(client: Client) -> None:
    await client.create(CONFIG_MAPS, "a")
    (event,) = await watched(client, CONFIG_MAPS, {"fieldSelector": "metadata.name=a"})
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")


async def test_a_watch_ends_when_it_was_told_to(client: Client) -> None:
    listed = await client.ask("GET", client.path(LEASES))
    query = {
        "resourceVersion": listed["metadata"]["resourceVersion"],
        "timeoutSeconds": "2",
        "allowWatchBookmarks": "true",
    }
    async with client.api.watch(client.path(LEASES), query=query, idle_seconds=SECONDS) as stream:
        with anyio.fail_after(SECONDS):
            kinds = {event["type"] async for event in stream}
    assert kinds <= {"BOOKMARK"}


# -- who may


async def account(client: Client, server: ApiServer, directory: Path) -> Any:
    await client.create(SERVICE_ACCOUNTS, "kubevip")
    token = await anyio.to_thread.run_sync(server.token, client.namespace, "kubevip")
    return server.access_of(token, directory)


async def test_a_right_is_given_by_a_role_and_no_other_with_it(
    client: Client, server: ApiServer, tmp_path: Path
) -> None:
    access = await account(client, server, tmp_path)
    await client.create(LEASES, "a")
    rule = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "resourceNames": ["a"], "verbs": ["get"]}
    await client.create(ROLES, "r", rules=[rule])
    subject = {"kind": "ServiceAccount", "name": "kubevip", "namespace": client.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
    async with open_api(access) as api:
        mine = Client(api, client.namespace)
        expected = (
            rf'leases\.coordination\.k8s\.io "a" is forbidden: User "system:serviceaccount:{client.namespace}:kubevip" '
            rf'cannot get resource "leases" in API group "coordination\.k8s\.io" in the namespace "{client.namespace}"'
        )
        with pytest.raises(Forbidden, match=expected):
            await mine.get(LEASES, "a")
        await client.create(ROLE_BINDINGS, "b", roleRef=reference, subjects=[subject])
        await _until_permitted(mine)
        for asked in (
            mine.get(LEASES, "b"),
            mine.ask("GET", mine.path(LEASES)),
            mine.ask("GET", LEASES.path("default", "a")),
            mine.ask("DELETE", mine.path(LEASES, "a")),
            mine.get(CONFIG_MAPS, "a"),
            mine.ask("GET", NODES.path()),
        ):
            assert await refusal(Forbidden, asked) == (403, "Forbidden")


async def _until_permitted(mine: Client) -> None:
    """The real server learns of a binding by a watch of its own."""
    with anyio.fail_after(SECONDS):
        while True:
            try:
                await mine.get(LEASES, "a")
            except Forbidden:
                await anyio.sleep(0.05)
            else:
                return


async def test_status_and_cluster_have_rights_of_their_own(client: Client, server: ApiServer, tmp_path: Path) -> None:
    access = await account(client, server, tmp_path)
    made = await client.create(SERVICES, "web", spec=service())
    await client.create(LEASES, "a")
    name = f"role-of-{client.namespace}"
    rules = [
        {"apiGroups": [""], "resources": ["services/status"], "verbs": ["update"]},
        {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get"]},
    ]
    await client.create(CLUSTER_ROLES, name, rules=rules)
    subject = {"kind": "ServiceAccount", "name": "kubevip", "namespace": client.namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name}
    await client.create(CLUSTER_ROLE_BINDINGS, name, roleRef=reference, subjects=[subject])
    async with open_api(access) as api:
        mine = Client(api, client.namespace)
        await _until_permitted(mine)
        await mine.put(SERVICES, made, part="status")
        assert await refusal(Forbidden, mine.put(SERVICES, made)) == (403, "Forbidden")


async def test_a_wrong_token_is_401(server: ApiServer, tmp_path: Path) -> None:
    async with open_api(server.access_of("nonsense", tmp_path)) as api:
        assert await refusal(Unauthorized, Client(api, "default").get(LEASES, "a")) == (401, "Unauthorized")


# -- as a user uses it


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH")
async def test_kubectl_applies_gets_and_describes(client: Client, server: ApiServer, tmp_path: Path) -> None:
    manifest = tmp_path / "web.yaml"
    manifest.write_text(
        "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  type: LoadBalancer\n  ports: [{port: 80}]\n"
    )

    async def kubectl(*arguments: str) -> str:
        options = [
            "--kubeconfig",
            str(server.kubeconfig),
            "--namespace",
            client.namespace,
            "--cache-dir",
            str(tmp_path),
        ]
        with anyio.fail_after(60):
            ended = await anyio.run_process(["kubectl", *options, *arguments], check=False, stderr=subprocess.STDOUT)
        assert ended.returncode == 0, ended.stdout
        return ended.stdout.decode()

    assert "service/web created" in await kubectl("apply", "-f", str(manifest))
    assert "service/web unchanged" in await kubectl("apply", "-f", str(manifest))
    assert "web" in await kubectl("get", "services")
    assert "LoadBalancer" in await kubectl("describe", "service", "web")
    assert 'service "web" deleted' in await kubectl("delete", "service", "web")
