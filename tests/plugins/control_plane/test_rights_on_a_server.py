"""The rights of the manifests on a real API server: enough for all that is done, and each of them is needed."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError

import pytest
from anyio import fail_after, move_on_after, sleep
from tests.plugins.control_plane.test_rights import KINDS, PRINTED, Deed, account_of, without_one

from kubevip_k8s import CONFIG_MAPS, LEASES, NAMESPACES, NODES, SERVICES, Api, open_api
from kubevip_k8s.testing import ROLES, SECRETS, SERVICE_ACCOUNTS

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from tests.apiserver.servers import ApiServer

pytestmark = [pytest.mark.anyio, pytest.mark.apiserver]

NAMESPACE = "shop"
#: The server's authorizer follows roles by watches of its own.
SECONDS = 20.0

NOT_GRANTED = (
    Deed(verb="get", resource=SECRETS, namespace=NAMESPACE, name="any"),
    Deed(verb="list", resource=SECRETS),
    Deed(verb="list", resource=NODES),
    Deed(verb="create", resource=SERVICES, namespace=NAMESPACE),
    Deed(verb="update", resource=SERVICES, namespace=NAMESPACE, name="web"),
    Deed(verb="update", resource=CONFIG_MAPS, namespace=NAMESPACE, name="plndr"),
    Deed(verb="update", resource=LEASES, namespace="kube-system", name="kube-controller-manager"),
    Deed(verb="create", resource=ROLES, namespace=NAMESPACE),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the client's only one


def path_of(it: dict[str, Any], *, named: bool) -> str:
    metadata = it["metadata"]
    return KINDS[it["kind"]].path(metadata.get("namespace"), metadata["name"] if named else None)


def put(server: ApiServer, it: dict[str, Any]) -> None:
    """Create or replace an object, without the rules that have no verb left."""
    if "rules" in it:
        it = {**it, "rules": [rule for rule in it["rules"] if rule["verbs"]]}
    try:
        server.ask("PUT", path_of(it, named=True), it)
    except HTTPError:
        server.ask("POST", path_of(it, named=False), it)


@contextmanager
def granted(server: ApiServer, objects: Sequence[dict[str, Any]]) -> Generator[None]:
    """Grant what the objects grant, while the block runs."""
    for path, name in ((NAMESPACES.path(), NAMESPACE), (SERVICE_ACCOUNTS.path(NAMESPACE), account_of(objects))):
        with suppress(HTTPError):  # it is there
            server.ask("POST", path, {"metadata": {"name": name}})
    rights = [it for it in objects if it["kind"] in KINDS]
    try:
        for it in rights:
            put(server, it)
        yield
    finally:
        for it in rights:
            with suppress(HTTPError):
                server.ask("DELETE", path_of(it, named=True))


async def refused(api: Api, deeds: Sequence[Deed]) -> list[Deed]:
    """Ask the server's authorizer which of them it would refuse."""
    return [deed for deed in deeds if not await is_permitted(api, deed)]


async def is_permitted(api: Api, deed: Deed) -> bool:
    asked = {
        "verb": deed.verb,
        "group": deed.resource.group,
        "resource": deed.resource.plural,
        "subresource": deed.subresource,
        "namespace": deed.namespace or "",
        "name": deed.name if deed.verb != "create" else "",
    }
    answer: Any = await api.request(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        body={"spec": {"resourceAttributes": asked}},
        timeout_seconds=SECONDS,
    )
    return bool(answer["status"]["allowed"])


@pytest.mark.parametrize("kind", list(PRINTED))
async def test_a_real_server_permits_what_is_done_and_nothing_of_it_without_its_right(
    kind: str, api_server: ApiServer, tmp_path: Path
) -> None:
    objects, deeds = PRINTED[kind]
    with granted(api_server, objects):
        token = api_server.token(NAMESPACE, account_of(objects))
        async with open_api(api_server.access_of(token, tmp_path)) as api:
            await until_all_are_permitted(api, deeds)
            for deed in deeds:
                if deed.verb != "watch":  # of which a quiet server tells nothing before something happens
                    await deed.by(api)  # raises when it is forbidden
            assert await refused(api, NOT_GRANTED) == list(NOT_GRANTED)
            unused: list[str] = []
            for right, less in without_one(objects):
                put(api_server, next(it for it, whole in zip(less, objects, strict=True) if it != whole))
                with move_on_after(SECONDS) as late:
                    while not await refused(api, deeds):
                        await sleep(0.05)
                if late.cancelled_caught:
                    unused.append(right)
                put(api_server, next(it for it, other in zip(objects, less, strict=True) if it != other))
                await until_all_are_permitted(api, deeds)
            assert unused == []


async def until_all_are_permitted(api: Api, deeds: Sequence[Deed]) -> None:
    with fail_after(SECONDS):
        while await refused(api, deeds):
            await sleep(0.05)
