"""Asking an API server on the loopback: who is believed, what is said of an ill one, and what it costs it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from anyio import create_task_group, create_tcp_listener
from anyio.abc import SocketAttribute, SocketStream
from tests.plugins.control_plane.api_servers import ILL, ApiServer, Authority

from kubevip import Place, Places, Port, Section, Target, structure
from kubevip.abc import Check
from kubevip.errors import ConfigError
from kubevip.testing import check_health_check, make_host
from kubevip_control_plane._apiserver_check import ApiServerCheck, url_of
from kubevip_control_plane._config import ApiServerConfig
from kubevip_control_plane.plugin import APISERVER

pytestmark = pytest.mark.anyio

HERE = Target(address="127.0.0.1", port=0)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def check_of(server: ApiServer, authority: Authority, **settings: Any) -> ApiServerCheck:
    return ApiServerCheck(ApiServerConfig(port=Port(server.port), ca_file=authority.ca, **settings))


async def reason(check: Check) -> str:
    result = await check.probe(HERE)
    assert not result.is_good
    return result.reason


async def test_a_ready_server_is_good_and_is_asked_once_without_a_name(authority: Authority) -> None:
    server = ApiServer(authority)
    async with server.running():
        assert (await check_of(server, authority).probe(HERE)).is_good
    (asked,) = server.asked
    assert asked.startswith(b"GET /readyz HTTP/1.1\r\nHost: kubernetes\r\n")
    assert server.clients == []


async def test_an_ill_server_is_bad_and_its_failed_checks_are_named(authority: Authority) -> None:
    server = ApiServer(authority)
    server.answer = ILL
    async with server.running():
        url = f"https://127.0.0.1:{server.port}/readyz"
        assert await reason(check_of(server, authority)) == f"{url}: 500: etcd failed"
        assert await reason(check_of(server, authority, path="/livez")) == (
            f"https://127.0.0.1:{server.port}/livez: 500: etcd failed"
        )


async def test_a_server_that_refuses_strangers_is_shown_a_certificate(authority: Authority) -> None:
    cert, key = authority.issue("client", "kubevip")
    server = ApiServer(authority)
    async with server.running():
        assert (await check_of(server, authority, cert_file=cert, key_file=key).probe(HERE)).is_good
    assert server.clients == ["kubevip"]


async def test_a_server_of_another_name_is_not_believed(authority: Authority) -> None:
    server = ApiServer(authority, "shop.example")
    async with server.running():
        assert "certificate is refused: Hostname mismatch" in await reason(check_of(server, authority))
        assert (await check_of(server, authority, server_name="shop.example").probe(HERE)).is_good


async def test_a_server_of_another_authority_is_not_believed(tmp_path: Path, authority: Authority) -> None:
    server = ApiServer(Authority(tmp_path / "stranger"))
    async with server.running():
        assert "certificate is refused:" in await reason(check_of(server, authority))


async def test_nobody_who_listens_is_told(authority: Authority) -> None:
    server = ApiServer(authority)
    async with server.running():
        pass
    assert (await reason(check_of(server, authority))).endswith("/readyz: connection refused")


async def test_whoever_hangs_up_or_speaks_something_else_is_told(authority: Authority) -> None:
    said = b""

    async def answer(stream: SocketStream) -> None:
        async with stream:
            await stream.receive()
            if said:
                await stream.send(said)

    async with await create_tcp_listener(local_host="127.0.0.1") as listener, create_task_group() as tg:
        tg.start_soon(listener.serve, answer)
        server = ApiServer(authority)
        server.port = listener.extra(SocketAttribute.local_port)
        assert (await reason(check_of(server, authority))).endswith("/readyz: it hung up")
        said = b"HTTP/1.1 400 Bad Request\r\n\r\n"
        assert "it speaks no TLS that is understood" in await reason(check_of(server, authority))
        tg.cancel_scope.cancel()


async def test_a_ca_that_comes_late_is_awaited(tmp_path: Path, authority: Authority) -> None:
    server = ApiServer(authority)
    late = tmp_path / "late.crt"
    async with server.running():
        check = ApiServerCheck(ApiServerConfig(port=Port(server.port), ca_file=late))
        assert await reason(check) == f"{late}: not there yet"
        late.write_bytes(authority.ca.read_bytes())
        assert (await check.probe(HERE)).is_good


async def test_it_keeps_the_duties_of_a_check(tmp_path: Path, authority: Authority) -> None:
    server = ApiServer(authority)

    def say(answer: bytes | None) -> Any:
        async def change() -> None:
            server.answer = answer

        return change

    def make() -> AbstractAsyncContextManager[Check]:
        config = ApiServerConfig(port=Port(server.port), ca_file=authority.ca)
        return APISERVER.open(config, make_host(tmp_path))

    async with server.running():
        well = server.answer
        await check_health_check(make, spoil=say(ILL), mend=say(well), hang=say(None))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"path": "readyz"}, "path: expected an absolute path such as /readyz, got 'readyz'"),
        ({"path": "/a b"}, "path: expected an absolute path"),
        ({"path": "/a\r\nX: y"}, "path: expected an absolute path"),
        ({"serverName": "a\r\nb"}, "serverName: expected a host name"),
        ({"certFile": "/x"}, "certFile and keyFile belong together"),
        ({"certFile": "/x", "keyFile": "/y"}, "caFile: is needed beside certFile"),
        ({"port": 0}, "port"),
    ],
)
def test_settings_that_cannot_be_are_refused(data: dict[str, object], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        structure(Section(provider="apiserver", data=data, places=Places(root=Place(file="c.yaml"))), ApiServerConfig)


def test_the_addresses_of_both_families_are_shown_as_urls() -> None:
    section = Section(provider="apiserver", data={"address": "::1", "port": 6444})
    assert url_of(structure(section, ApiServerConfig)) == "https://[::1]:6444/readyz"
    assert url_of(ApiServerConfig()) == "https://127.0.0.1:6443/readyz"
