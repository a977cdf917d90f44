"""The fake cluster in memory: its Api, its watches on virtual time, its faults. Likeness: test_api_server.py."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from kubevip_k8s import (
    CONFIG_MAPS,
    LEASES,
    SERVICES,
    AlreadyExists,
    ApiError,
    BadAnswer,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    ServerError,
    TimedOut,
    TooManyRequests,
    Unauthorized,
    Unreachable,
)
from kubevip_k8s.testing import (
    ROLE_BINDINGS,
    ROLES,
    Delay,
    Drop,
    Fail,
    FakeCluster,
    Fault,
    MemoryApi,
    Raw,
    Stall,
)

pytestmark = pytest.mark.anyio

PATH = CONFIG_MAPS.path("default", "a")


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


def config_map(name: str = "a", **data: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "data": data}


async def create(api: MemoryApi, name: str = "a", **data: str) -> dict[str, Any]:
    return await api.request("POST", CONFIG_MAPS.path("default"), body=config_map(name, **data), timeout_seconds=1)


async def get(api: MemoryApi, path: str = PATH, seconds: float = 1.0) -> dict[str, Any]:
    return await api.request("GET", path, timeout_seconds=seconds)


async def test_what_was_created_is_read_and_is_not_created_twice(cluster: FakeCluster) -> None:
    api = cluster.api()
    created = await create(api, x="1")
    assert created["data"] == {"x": "1"}
    assert await get(api) == created
    with pytest.raises(AlreadyExists):
        await create(api)


async def test_what_a_client_holds_is_not_what_is_stored(cluster: FakeCluster) -> None:
    api = cluster.api()
    (await create(api, x="1"))["data"]["x"] = "2"
    assert (await get(api))["data"] == {"x": "1"}


async def test_a_stale_write_conflicts(cluster: FakeCluster) -> None:
    api = cluster.api()
    old = await create(api, x="1")
    await api.request("PUT", PATH, body=old | {"data": {"x": "2"}}, timeout_seconds=1)
    with pytest.raises(Conflict):
        await api.request("PUT", PATH, body=old | {"data": {"x": "3"}}, timeout_seconds=1)


async def test_versions_rise_over_all_objects(cluster: FakeCluster) -> None:
    api = cluster.api()
    versions = [int((await create(api, name))["metadata"]["resourceVersion"]) for name in "abc"]
    assert versions == sorted(set(versions))


async def test_a_json_patch_whose_test_fails_changes_nothing(cluster: FakeCluster) -> None:
    api = cluster.api()
    await create(api, x="1")
    patch = [
        {"op": "replace", "path": "/data/x", "value": "2"},
        {"op": "test", "path": "/data/x", "value": "1"},
    ]
    with pytest.raises(Invalid):
        await api.request("PATCH", PATH, body=patch, content_type="application/json-patch+json", timeout_seconds=1)
    assert (await get(api))["data"] == {"x": "1"}


@pytest.mark.parametrize("digits", ["", ".123", ".1234567"])
async def test_a_micro_time_has_six_digits(cluster: FakeCluster, digits: str) -> None:
    lease = {"metadata": {"name": "l"}, "spec": {"renewTime": f"2026-01-02T03:04:05{digits}Z"}}
    with pytest.raises(Invalid, match="cannot parse"):
        await cluster.api().request("POST", LEASES.path("default"), body=lease, timeout_seconds=1)


async def test_a_config_map_is_at_most_a_mebibyte(cluster: FakeCluster) -> None:
    with pytest.raises(Invalid, match="Too long"):
        await create(cluster.api(), x="y" * ((1 << 20) + 1))


async def test_a_watch_tells_changes_at_once_and_bookmarks_in_between(cluster: FakeCluster) -> None:
    api = cluster.api()
    cluster.bookmark_seconds = 10
    query = {"resourceVersion": str(cluster.store.version), "allowWatchBookmarks": "true", "timeoutSeconds": "25"}
    began, events = anyio.current_time(), list[tuple[str, int]]()
    async with api.watch(CONFIG_MAPS.path(), query=query, idle_seconds=60) as stream, anyio.create_task_group() as tg:

        async def change() -> None:
            await anyio.sleep(5)
            await create(api)

        tg.start_soon(change)
        async for event in stream:
            events.append((event["type"], round(anyio.current_time() - began)))
    assert events == [("ADDED", 5), ("BOOKMARK", 15)]
    assert anyio.current_time() - began == pytest.approx(25)
    assert cluster.watches == ()


async def test_a_watch_without_a_version_begins_with_what_there_is(cluster: FakeCluster) -> None:
    cluster.put(CONFIG_MAPS, config_map())
    async with cluster.api().watch(CONFIG_MAPS.path(), query={}, idle_seconds=60) as stream:
        event = await anext(aiter(stream))
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")


async def test_a_quiet_watch_times_out(cluster: FakeCluster) -> None:
    async with cluster.api().watch(CONFIG_MAPS.path(), query={}, idle_seconds=60) as stream:
        with pytest.raises(TimedOut):
            await anext(aiter(stream))


async def test_a_watch_from_a_compacted_version_ends_with_an_error_event(cluster: FakeCluster) -> None:
    version = str(cluster.store.version)
    cluster.put(CONFIG_MAPS, config_map())
    cluster.compact()
    query = {"resourceVersion": version}
    async with cluster.api().watch(CONFIG_MAPS.path(), query=query, idle_seconds=60) as stream:
        events = [(event["type"], event["object"]["code"]) async for event in stream]
    assert events == [("ERROR", 410)]
    cluster.refuses_expired_watches = True
    with pytest.raises(Gone):
        async with cluster.api().watch(CONFIG_MAPS.path(), query=query, idle_seconds=60):
            pass


async def test_compaction_does_not_disturb_an_open_watch(cluster: FakeCluster) -> None:
    async with cluster.api().watch(CONFIG_MAPS.path(), query={}, idle_seconds=60) as stream:
        cluster.put(CONFIG_MAPS, config_map())
        cluster.compact()
        assert (await anext(aiter(stream)))["type"] == "ADDED"


async def test_what_leaves_a_selection_is_deleted_for_its_watch(cluster: FakeCluster) -> None:
    cluster.put(CONFIG_MAPS, {"metadata": {"name": "a", "labels": {"x": "1"}}})
    query = {"labelSelector": "x=1", "timeoutSeconds": "1"}
    async with cluster.api().watch(CONFIG_MAPS.path(), query=query, idle_seconds=60) as stream:
        cluster.put(CONFIG_MAPS, {"metadata": {"name": "a", "labels": {"x": "2"}}})
        cluster.put(CONFIG_MAPS, {"metadata": {"name": "a", "labels": {"x": "1"}}})
        assert [event["type"] async for event in stream] == ["ADDED", "DELETED", "ADDED"]


async def test_a_dropped_watch_raises(cluster: FakeCluster) -> None:
    async with cluster.api().watch(CONFIG_MAPS.path(), query={}, idle_seconds=60) as stream:
        cluster.drop_watches()
        with pytest.raises(Unreachable):
            await anext(aiter(stream))


async def test_each_right_is_asked_for(cluster: FakeCluster) -> None:
    api = cluster.api(cluster.service_account_token("default", "kubevip"))
    cluster.put(CONFIG_MAPS, config_map())
    with pytest.raises(Forbidden, match='cannot get resource "configmaps"'):
        await get(api)
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["a"]}
    cluster.put(ROLES, {"metadata": {"name": "r"}, "rules": [rule]})
    subject = {"kind": "ServiceAccount", "name": "kubevip", "namespace": "default"}
    binding = {"metadata": {"name": "b"}, "roleRef": {"kind": "Role", "name": "r"}, "subjects": [subject]}
    cluster.put(ROLE_BINDINGS, binding)
    assert (await get(api))["metadata"]["name"] == "a"
    cluster.put(ROLES, {"metadata": {"name": "r"}, "rules": [rule | {"verbs": ["get", "list"]}]})
    only_one = {"fieldSelector": "metadata.name=a"}
    assert await api.request("GET", CONFIG_MAPS.path("default"), query=only_one, timeout_seconds=1)
    for method, path in [
        ("GET", CONFIG_MAPS.path("default", "b")),
        ("GET", CONFIG_MAPS.path("default")),
        ("GET", CONFIG_MAPS.path("kube-system", "a")),
        ("DELETE", PATH),
        ("GET", SERVICES.path("default", "a")),
    ]:
        with pytest.raises(Forbidden):
            await api.request(method, path, timeout_seconds=1)


async def test_a_revoked_token_is_good_no_more(cluster: FakeCluster) -> None:
    token = cluster.service_account_token("default", "kubevip")
    api = cluster.api(token)
    cluster.revoke(token)
    with pytest.raises(Unauthorized):
        await get(api)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Stall(), TimedOut),
        (Drop(), Unreachable),
        (Fail(status=500), ServerError),
        (Fail(status=429, reason="TooManyRequests", retry_after_seconds=3), TooManyRequests),
        (Raw(status=502), ServerError),
        (Raw(status=200), BadAnswer),
        (Delay(seconds=2), TimedOut),
    ],
)
async def test_each_fault_is_its_error(cluster: FakeCluster, fault: Fault, error: type[ApiError]) -> None:
    cluster.put(CONFIG_MAPS, config_map())
    rule = cluster.fail(fault, when=lambda request: request.method == "GET", times=1)
    api = cluster.api()
    with pytest.raises(error):
        await get(api)
    await get(api)
    assert rule.hits == 1


@pytest.mark.parametrize("fault", [Stall(is_carried_out=True), Drop(is_carried_out=True)])
async def test_a_lost_answer_leaves_its_deed(cluster: FakeCluster, fault: Fault) -> None:
    cluster.fail(fault, times=1)
    api = cluster.api()
    with pytest.raises(Unreachable):
        await create(api)
    assert (await get(api))["metadata"]["name"] == "a"


async def test_a_frozen_cluster_answers_when_it_thaws(cluster: FakeCluster) -> None:
    cluster.put(CONFIG_MAPS, config_map())
    cluster.freeze()
    api, began = cluster.api(), anyio.current_time()
    async with anyio.create_task_group() as tg:

        async def thaw() -> None:
            await anyio.sleep(7)
            cluster.thaw()

        tg.start_soon(thaw)
        await get(api, seconds=10)
    assert anyio.current_time() - began == pytest.approx(7)


async def test_pages_are_of_one_version(cluster: FakeCluster) -> None:
    for name in "abcde":
        cluster.put(CONFIG_MAPS, config_map(name))
    api, names, token = cluster.api(), list[str](), ""
    while True:
        query = {"limit": "2"} | ({"continue": token} if token else {})
        page = await api.request("GET", CONFIG_MAPS.path(), query=query, timeout_seconds=1)
        names += [item["metadata"]["name"] for item in page["items"]]
        cluster.delete(CONFIG_MAPS, "default", "e")
        cluster.put(CONFIG_MAPS, config_map("f"))
        if not (token := page["metadata"].get("continue", "")):
            break
    assert names == list("abcde")


async def test_a_page_of_a_compacted_version_is_gone(cluster: FakeCluster) -> None:
    for name in "abc":
        cluster.put(CONFIG_MAPS, config_map(name))
    api = cluster.api()
    page = await api.request("GET", CONFIG_MAPS.path(), query={"limit": "2"}, timeout_seconds=1)
    cluster.put(CONFIG_MAPS, config_map("d"))
    cluster.compact()
    query = {"limit": "2", "continue": page["metadata"]["continue"]}
    with pytest.raises(Gone):
        await api.request("GET", CONFIG_MAPS.path(), query=query, timeout_seconds=1)


async def test_an_object_with_finalizers_goes_when_they_are_gone(cluster: FakeCluster) -> None:
    cluster.put(SERVICES, {"metadata": {"name": "web", "finalizers": ["x/y"]}, "spec": {"ports": [{"port": 80}]}})
    api, path = cluster.api(), SERVICES.path("default", "web")
    await api.request("DELETE", path, timeout_seconds=1)
    assert "deletionTimestamp" in (await get(api, path))["metadata"]
    patch = {"metadata": {"finalizers": None}}
    await api.request("PATCH", path, body=patch, content_type="application/merge-patch+json", timeout_seconds=1)
    with pytest.raises(NotFound):
        await get(api, path)


async def test_what_was_asked_is_noted(cluster: FakeCluster) -> None:
    api = cluster.api()
    await get(api, CONFIG_MAPS.path())
    assert [(request.method, request.path) for request in cluster.requests] == [("GET", "/api/v1/configmaps")]
