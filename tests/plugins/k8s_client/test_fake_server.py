"""The fake cluster over HTTP: what only sockets have. What it answers is asked in test_api_server.py."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import anyio
import pytest

from kubevip_k8s import CONFIG_MAPS
from kubevip_k8s.testing import Drop, Fail, FakeCluster, Raw, Stall
from kubevip_k8s.testing.http import Authority, Served, served

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from anyio.abc import SocketStream

pytestmark = pytest.mark.anyio

SECONDS = 20.0
PATH = CONFIG_MAPS.path("default")


@pytest.fixture
def cluster() -> FakeCluster:
    return FakeCluster()


@pytest.fixture
async def place(cluster: FakeCluster) -> AsyncGenerator[Served]:
    async with served(cluster) as place:
        yield place


def asked(cluster: FakeCluster, path: str = PATH, method: str = "GET", body: bytes = b"", more: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {cluster.admin_token}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def read_to_end(stream: SocketStream) -> bytes:
    text = b""
    with anyio.fail_after(SECONDS):
        try:
            while True:
                text += await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            return text


async def exchange(place: Served, request: bytes) -> bytes:
    async with await anyio.connect_tcp(place.host, place.port) as stream:
        await stream.send(request)
        return await read_to_end(stream)


CLOSE = "Connection: close\r\n"


async def test_a_connection_is_used_again(cluster: FakeCluster, place: Served) -> None:
    answer = await exchange(place, asked(cluster) + asked(cluster, more=CLOSE))
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_nobody_may_nothing_but_ask_how_it_is(place: Served) -> None:
    request = "GET {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert b"403" in (await exchange(place, request.format(PATH).encode())).split(b"\r\n")[0]
    assert (await exchange(place, request.format("/readyz").encode())).endswith(b"\r\n\r\nok")


@pytest.mark.parametrize("body", [b"{", b"\xff"])
async def test_what_is_no_json_is_refused(cluster: FakeCluster, place: Served, body: bytes) -> None:
    assert b"400" in (await exchange(place, asked(cluster, method="POST", body=body, more=CLOSE))).split(b"\r\n")[0]


async def test_a_retry_is_asked_for_in_a_header(cluster: FakeCluster, place: Served) -> None:
    cluster.fail(Fail(status=429, reason="TooManyRequests", retry_after_seconds=3))
    answer = await exchange(place, asked(cluster, more=CLOSE))
    assert answer.startswith(b"HTTP/1.1 429")
    assert b"\r\nRetry-After: 3\r\n" in answer


async def test_raw_bytes_are_sent_as_they_are(cluster: FakeCluster, place: Served) -> None:
    cluster.fail(Raw(status=502, body=b"<html>"))
    assert (await exchange(place, asked(cluster, more=CLOSE))).endswith(b"\r\n\r\n<html>")


async def test_a_dropped_request_has_no_answer(cluster: FakeCluster, place: Served) -> None:
    cluster.fail(Drop())
    assert await exchange(place, asked(cluster)) == b""


async def test_a_client_that_leaves_a_stall_is_forgotten(cluster: FakeCluster) -> None:
    cluster.fail(Stall())
    with anyio.fail_after(SECONDS):
        async with served(cluster) as place:
            async with await anyio.connect_tcp(place.host, place.port) as stream:
                await stream.send(asked(cluster))
            while not cluster.requests:
                await anyio.sleep(0.01)


async def test_a_client_that_leaves_a_watch_ends_it(cluster: FakeCluster, place: Served) -> None:
    with anyio.fail_after(SECONDS):
        async with await anyio.connect_tcp(place.host, place.port) as stream:
            await stream.send(asked(cluster, f"{PATH}?watch=true"))
            assert (await stream.receive()).startswith(b"HTTP/1.1 200")
            assert len(cluster.watches) == 1
        while cluster.watches:
            await anyio.sleep(0.01)


async def test_a_dropped_watch_breaks_in_the_middle(cluster: FakeCluster, place: Served) -> None:
    with anyio.fail_after(SECONDS):
        async with await anyio.connect_tcp(place.host, place.port) as stream:
            await stream.send(asked(cluster, f"{PATH}?watch=true"))
            await stream.receive()
            cluster.drop_watches()
            assert b"0\r\n\r\n" not in await read_to_end(stream)


async def test_an_authority_is_trusted_by_its_certificate_alone(cluster: FakeCluster, tmp_path: Path) -> None:
    authority = Authority()
    tls = authority.server_context(tmp_path)
    async with served(cluster, tls=tls) as place:
        good = ssl.create_default_context(cadata=authority.certificate.decode())
        stream = await anyio.connect_tcp(
            place.host, place.port, ssl_context=good, tls_hostname="kubernetes", tls_standard_compatible=False
        )
        await stream.aclose()
        bad = ssl.create_default_context(cadata=Authority().certificate.decode())
        with pytest.raises(ssl.SSLCertVerificationError):
            await anyio.connect_tcp(place.host, place.port, ssl_context=bad, tls_hostname="kubernetes")
