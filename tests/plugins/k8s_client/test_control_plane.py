"""A node of the control plane and its own API server: where it is asked, as whom, and what is awaited."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anyio import sleep

from kubevip_k8s import Access, Api, Forbidden, JsonObject, NoAccess, NotFound, open_control_plane_api, own_server
from kubevip_k8s._control_plane import REFUSED_SECONDS

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


class Node:
    """What becomes of requests, by whom they are sent as: "absent", "forbidden", "missing" or "well"."""

    def __init__(self, **states: str) -> None:
        self.states = {name: "absent" for name in ("pod", "admin", "super-admin", "k3s", "rke2")}
        self.states.update({name.replace("_", "-"): state for name, state in states.items()})
        self.asked: list[str] = []
        self.timeouts: list[float] = []

    def open(self, access: Access) -> AbstractAsyncContextManager[Api]:
        name = "pod" if access.kubeconfig is None else access.kubeconfig.stem
        return self._opened(name)

    @asynccontextmanager
    async def _opened(self, name: str) -> AsyncGenerator[Api]:
        yield One(self, name)

    def ask(self, name: str) -> None:
        match self.states[name]:
            case "absent":
                raise NoAccess(f"{name}: no such file")
            case "forbidden":
                self.asked.append(name)
                raise Forbidden(403, "Forbidden", f"{name} may not")
            case "missing":
                self.asked.append(name)
                raise NotFound(404, "NotFound", "no such Lease")
            case _:
                self.asked.append(name)


class One:
    def __init__(self, node: Node, name: str) -> None:
        self._node, self._name = node, name

    async def request(self, method: str, path: str, *, timeout_seconds: float, **_: object) -> JsonObject:
        self._node.timeouts.append(timeout_seconds)
        await sleep(0.5)
        self._node.ask(self._name)
        return {"as": self._name}

    @asynccontextmanager
    async def watch(
        self, path: str, *, query: Mapping[str, str], idle_seconds: float
    ) -> AsyncGenerator[AsyncIterator[JsonObject]]:
        self._node.ask(self._name)

        async def events() -> AsyncGenerator[JsonObject]:
            yield {"as": self._name}

        yield events()


async def get(api: Api) -> object:
    return (await api.request("GET", "/x", timeout_seconds=3.0))["as"]


def test_it_is_always_the_nodes_own_server_under_the_name_that_its_certificate_bears() -> None:
    for access in (*own_server(), *own_server(Path("/tmp/mine.conf"))):
        assert (access.server, access.tls_server_name) == ("https://127.0.0.1:6443", "kubernetes")


def test_the_service_account_comes_first_and_a_configured_file_is_the_only_one() -> None:
    assert [str(access.kubeconfig or "pod") for access in own_server()] == [
        "pod",
        "/etc/kubernetes/admin.conf",
        "/etc/kubernetes/super-admin.conf",
        "/etc/rancher/k3s/k3s.yaml",
        "/etc/rancher/rke2/rke2.yaml",
    ]
    assert [access.kubeconfig for access in own_server(Path("/tmp/mine.conf"))] == [Path("/tmp/mine.conf")]


async def test_files_that_are_not_there_yet_are_awaited() -> None:
    node = Node()
    async with open_control_plane_api(own_server(), node.open) as api:
        with pytest.raises(NoAccess, match=r"pod: no such file; admin: no such file;.*rke2: no such file"):
            await get(api)
        node.states["admin"] = "well"
        assert await get(api) == "admin"


async def test_on_the_first_node_super_admin_stands_in_until_admin_has_its_rights() -> None:
    node = Node(admin="forbidden", super_admin="well")
    async with open_control_plane_api(own_server(), node.open) as api:
        assert await get(api) == "super-admin"
        assert await get(api) == "super-admin"
        assert node.asked == ["admin", "super-admin", "super-admin"]  # no second refusal within 10 s
        node.states["admin"] = "well"
        await sleep(REFUSED_SECONDS)
        node.asked.clear()
        assert await get(api) == "admin"
        assert node.asked == ["admin"]


async def test_who_is_refused_and_has_nobody_else_to_be_is_told_and_asks_again() -> None:
    node = Node(admin="forbidden")
    async with open_control_plane_api(own_server(), node.open) as api:
        with pytest.raises(Forbidden, match="admin may not"):
            await get(api)
        node.states["admin"] = "well"
        assert await get(api) == "admin"


async def test_what_the_server_answers_otherwise_is_the_answer() -> None:
    node = Node(admin="missing", super_admin="well")
    async with open_control_plane_api(own_server(), node.open) as api:
        with pytest.raises(NotFound):
            await get(api)
    assert node.asked == ["admin"]


async def test_all_that_is_tried_has_the_time_of_one_request() -> None:
    node = Node(admin="forbidden", super_admin="well")
    async with open_control_plane_api(own_server(), node.open) as api:
        await get(api)
    assert node.timeouts == [3.0, 2.5, 2.0]


async def test_a_watch_is_opened_as_the_first_who_may_and_its_end_is_nobodys_refusal() -> None:
    node = Node(admin="forbidden", super_admin="well")
    async with open_control_plane_api(own_server(), node.open) as api:
        async with api.watch("/x", query={}, idle_seconds=10) as events:
            assert [event async for event in events] == [{"as": "super-admin"}]
        with pytest.raises(Forbidden, match="in the middle"):
            async with api.watch("/x", query={}, idle_seconds=10):
                raise Forbidden(403, "Forbidden", "in the middle")
        assert node.asked == ["admin", "super-admin", "super-admin"]


async def test_a_watch_that_nobody_may_open_says_why() -> None:
    async with open_control_plane_api(own_server(), Node(admin="forbidden").open) as api:
        with pytest.raises(Forbidden, match="admin may not"):
            async with api.watch("/x", query={}, idle_seconds=10):
                pytest.fail("it was opened")
