"""The API over real sockets on loopback: what is sent, what is refused, what is bounded."""

from __future__ import annotations

import base64
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest
from anyio.lowlevel import checkpoint
from anyio.streams.tls import TLSListener

from kubevip_k8s import (
    Access,
    Api,
    ApiError,
    BadAnswer,
    Conflict,
    NoAccess,
    ServerError,
    TimedOut,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    _http,
    _session,
    open_api,
)
from kubevip_k8s.testing._certificates import Authority

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from anyio.abc import SocketStream

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # aiohttp's only one


class Server:
    """Answers each connection with the next of `answers` as they stand, the last one again; keeps what it was sent."""

    def __init__(self, answers: tuple[bytes, ...], stay_open: bool) -> None:
        self.answers, self.stay_open = list(answers), stay_open
        self.requests: list[bytes] = []
        self.port = 0

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            head = b""
            while b"\r\n\r\n" not in head:
                try:
                    head += await stream.receive()
                except anyio.EndOfStream:
                    return
            self.requests.append(head)
            await stream.send(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])
            if self.stay_open:
                await anyio.sleep(30)


@asynccontextmanager
async def serving(*answers: bytes, stay_open: bool = False) -> AsyncGenerator[Server]:
    server = Server(answers, stay_open)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server.port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with listener, anyio.create_task_group() as tg:
        tg.start_soon(listener.serve, server.serve)
        yield server
        tg.cancel_scope.cancel()


def answer(status: int, body: object, *headers: str) -> bytes:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(text)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + text


def kubeconfig(place: Path, port: int, token: str = "secret-1") -> Path:
    file = place / "kubeconfig"
    file.write_text(
        json.dumps(  # which is YAML
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": token}}],
            }
        )
    )
    return file


def quicken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have files looked at all the time."""
    monkeypatch.setattr(_session, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(_session, "LOOK_SECONDS", 0.01)


async def until_sent(api: Api, server: Server, text: bytes) -> None:
    """Ask until the server was sent `text`: files are looked at once in a while."""
    with anyio.fail_after(10):
        while not any(text in request for request in server.requests):
            with suppress(ApiError):
                await api.request("GET", "/version", timeout_seconds=5)
            await anyio.sleep(0.01)


async def ask(file: Path, seconds: float = 5.0, **words: Any) -> Any:
    async with open_api(Access(kubeconfig=file)) as api:
        return await api.request("GET", "/version", timeout_seconds=seconds, **words)


async def test_the_objects_of_a_list_are_handed_over_one_by_one_while_others_have_their_turn(tmp_path: Path) -> None:
    items = [{"number": number, "text": "x" * 2000} for number in range(500)]
    taken, in_a_turn = list[object](), list[int]()

    async def look() -> None:
        while True:
            before = len(taken)
            await checkpoint()
            in_a_turn.append(len(taken) - before)

    async with serving(answer(200, {"kind": "List", "items": items, "metadata": {"resourceVersion": "7"}})) as server:
        async with anyio.create_task_group() as tg:
            tg.start_soon(look)
            rest = await ask(kubeconfig(tmp_path, server.port), each=taken.append)
            tg.cancel_scope.cancel()
    assert rest == {"kind": "List", "metadata": {"resourceVersion": "7"}}
    assert taken == items
    assert max(in_a_turn) < 25


async def test_a_list_that_is_no_json_is_refused(tmp_path: Path) -> None:
    async with serving(answer(200, b'{"items": [1 2]}')) as server:
        with pytest.raises(BadAnswer, match="GET /version: not a list in JSON"):
            await ask(kubeconfig(tmp_path, server.port), each=lambda item: None)


async def test_a_request_bears_the_token_and_its_answer_is_decoded(tmp_path: Path) -> None:
    async with serving(answer(200, {"major": "1"})) as server:
        assert await ask(kubeconfig(tmp_path, server.port)) == {"major": "1"}
    assert b"Authorization: Bearer secret-1\r\n" in server.requests[0]


async def test_a_body_is_sent_with_its_type(tmp_path: Path) -> None:
    async with (
        serving(answer(201, {})) as server,
        open_api(Access(kubeconfig=kubeconfig(tmp_path, server.port))) as api,
    ):
        await api.request(
            "PATCH", "/x", body=[{"op": "test"}], content_type="application/json-patch+json", timeout_seconds=5
        )
    assert b"Content-Type: application/json-patch+json\r\n" in server.requests[0]


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (answer(409, {"reason": "Conflict", "message": "changed"}), Conflict),
        (answer(502, b"<html>bad gateway</html>"), ServerError),
        (answer(200, b"<html>welcome</html>"), BadAnswer),
        (answer(200, [1]), BadAnswer),
        (answer(301, b"", "Location: http://192.0.2.1/"), Exception),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", Unreachable),
        (b"garbage\r\n\r\n", Unreachable),
        (b"", Unreachable),
    ],
    ids=["409", "502", "HTML", "array", "redirect", "cut short", "garbage", "closed"],
)
async def test_what_goes_wrong_is_told_apart(tmp_path: Path, reply: bytes, error: type[Exception]) -> None:
    async with serving(reply) as server:
        with pytest.raises(error):
            await ask(kubeconfig(tmp_path, server.port))


async def test_the_time_to_wait_is_read(tmp_path: Path) -> None:
    async with serving(answer(429, {}, "Retry-After: 7")) as server:
        with pytest.raises(TooManyRequests) as caught:
            await ask(kubeconfig(tmp_path, server.port))
    assert caught.value.retry_after_seconds == 7


async def test_a_server_that_says_nothing_costs_the_time_given_and_no_more(tmp_path: Path) -> None:
    async with serving(b"HTTP/1.1 200 OK\r\n", stay_open=True) as server:
        with pytest.raises(TimedOut, match=r"within 0\.2 s"):
            await ask(kubeconfig(tmp_path, server.port), 0.2)


async def test_nobody_there_is_unreachable(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
        await ask(kubeconfig(tmp_path, 1))


async def test_who_waits_for_a_server_hears_of_it_when_another_is_answered_again(tmp_path: Path) -> None:
    """Two parts of kubevip with a connection each: an election and a source."""
    heard = anyio.Event()
    async with serving(answer(503, {}), answer(503, {}), answer(200, {"ok": 1})) as server:
        access = Access(kubeconfig=kubeconfig(tmp_path, server.port))
        async with open_api(access) as one, open_api(access) as other, anyio.create_task_group() as tg:

            async def wait() -> None:
                await other.recovered()
                heard.set()

            with pytest.raises(ServerError):
                await other.request("GET", "/x", timeout_seconds=5)
            tg.start_soon(wait)
            with pytest.raises(ServerError):
                await one.request("GET", "/x", timeout_seconds=5)
            await checkpoint()
            assert not heard.is_set()
            await one.request("GET", "/x", timeout_seconds=5)
            with anyio.fail_after(5):
                await heard.wait()


async def test_an_answer_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "MOST_ANSWER_BYTES", 1000)
    async with serving(answer(200, b" " * 5000)) as server:
        with pytest.raises(BadAnswer, match="more than 1000 bytes"):
            await ask(kubeconfig(tmp_path, server.port))


async def test_no_secret_is_in_an_error(tmp_path: Path) -> None:
    async with serving(answer(401, {"message": "Unauthorized"})) as server:
        with pytest.raises(Unauthorized) as caught:
            await ask(kubeconfig(tmp_path, server.port))
    assert "secret" not in repr(caught.value) + str(caught.value)


async def test_a_kubeconfig_that_is_not_there_yet_is_awaited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)
    async with serving(answer(200, {"major": "1"})) as server:
        async with open_api(Access(kubeconfig=tmp_path / "kubeconfig")) as api:
            with pytest.raises(NoAccess, match="kubeconfig"):
                await api.request("GET", "/version", timeout_seconds=5)
            kubeconfig(tmp_path, server.port)
            await until_sent(api, server, b"GET /version")


async def test_a_token_that_was_replaced_is_used_after_a_401(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_session, "RETRY_SECONDS", 0.01)
    async with serving(answer(401, {}), answer(200, {})) as server:
        async with open_api(Access(kubeconfig=kubeconfig(tmp_path, server.port))) as api:
            with pytest.raises(Unauthorized):
                await api.request("GET", "/version", timeout_seconds=5)
            kubeconfig(tmp_path, server.port, "secret-2")
            await until_sent(api, server, b"Bearer secret-2")


async def test_a_file_that_changed_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quicken(monkeypatch)
    async with serving(answer(200, {})) as server:
        async with open_api(Access(kubeconfig=kubeconfig(tmp_path, server.port))) as api:
            await api.request("GET", "/version", timeout_seconds=5)
            kubeconfig(tmp_path, server.port, "secret-2")
            await until_sent(api, server, b"Bearer secret-2")
    assert b"Bearer secret-1" in server.requests[0]


async def test_a_kubeconfig_that_breaks_leaves_the_old_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    quicken(monkeypatch)
    async with serving(answer(200, {})) as server:
        async with open_api(Access(kubeconfig=kubeconfig(tmp_path, server.port))) as api:
            await api.request("GET", "/version", timeout_seconds=5)
            (tmp_path / "kubeconfig").write_text("{")
            with anyio.fail_after(10):
                while "what was read before is kept" not in caplog.text:
                    await anyio.sleep(0.01)
            assert await api.request("GET", "/version", timeout_seconds=5) == {}


async def test_a_watch_yields_events_until_the_server_ends_it(tmp_path: Path) -> None:
    events = b'{"type":"ADDED","object":{}}\n{"type":"BOOKMARK","object":{}}\n'
    async with serving(answer(200, events)) as server:
        async with open_api(Access(kubeconfig=kubeconfig(tmp_path, server.port))) as api:
            async with api.watch("/x", query={"watch": "true"}, idle_seconds=5) as stream:
                assert [event["type"] async for event in stream] == ["ADDED", "BOOKMARK"]
    assert server.requests[0].startswith(b"GET /x?watch=true ")


async def test_a_watch_that_falls_silent_is_noticed(tmp_path: Path) -> None:
    begun = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1d\r\n{"type":"ADDED","object":{}}\n\r\n'
    async with serving(begun, stay_open=True) as server:
        async with open_api(Access(kubeconfig=kubeconfig(tmp_path, server.port))) as api:
            async with api.watch("/x", query={}, idle_seconds=0.2) as stream:
                assert (await anext(stream))["type"] == "ADDED"
                with pytest.raises(TimedOut, match=r"nothing for 0\.2 s"):
                    await anext(stream)


async def test_a_watch_that_is_refused_is_an_error_on_entering(tmp_path: Path) -> None:
    async with serving(answer(410, {"reason": "Expired"})) as server:
        async with open_api(Access(kubeconfig=kubeconfig(tmp_path, server.port))) as api:
            with pytest.raises(Exception, match="410 Expired"):
                async with api.watch("/x", query={}, idle_seconds=5):
                    pass


async def test_the_credentials_in_use_can_be_had_and_show_no_secret(tmp_path: Path) -> None:
    async with serving(answer(200, {})) as server:
        async with open_api(Access(kubeconfig=kubeconfig(tmp_path, server.port))) as api:
            await api.request("GET", "/version", timeout_seconds=5)
            credentials = api.credentials
    assert credentials is not None
    assert (credentials.server, credentials.authorization) == (f"http://127.0.0.1:{server.port}", "Bearer secret-1")
    assert "secret" not in repr(credentials)


@asynccontextmanager
async def serving_tls(directory: Path) -> AsyncGenerator[tuple[int, Path]]:
    """Serve TLS with a certificate of a CA of its own; yields the port, and the CA's file."""
    context = Authority().server_context(directory)
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    server = Server((answer(200, {"ok": 1}),), False)
    async with TLSListener(listener, context) as tls, anyio.create_task_group() as tg:
        tg.start_soon(tls.serve, cast("Any", server.serve))  # a stream is a stream
        yield listener.extra(anyio.abc.SocketAttribute.local_port), directory / "ca.crt"
        tg.cancel_scope.cancel()


def kubeconfig_with(place: Path, port: int, **cluster: str) -> Path:
    file = kubeconfig(place, port)
    written = json.loads(file.read_text())
    written["clusters"][0]["cluster"] = {"server": f"https://127.0.0.1:{port}", **cluster}
    file.write_text(json.dumps(written))
    return file


async def distrust(file: Path, server: str, tls_server_name: str | None = None) -> str:
    async with open_api(Access(kubeconfig=file, tls_server_name=tls_server_name)) as api:
        with pytest.raises(Unreachable) as refused:
            await api.request("GET", "/x", timeout_seconds=5)
    return str(refused.value).replace(str(file), "FILE").replace(server, "SERVER")


@pytest.mark.parametrize("how", ["data", "file", "none"])
async def test_a_certificate_that_is_not_trusted_names_the_ca_and_where_it_was_named(how: str, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    other.write_bytes(Authority().certificate)
    data = base64.b64encode(other.read_bytes()).decode()
    cluster = {"data": {"certificate-authority-data": data}, "file": {"certificate-authority": str(other)}, "none": {}}
    whose = {
        "data": "FILE (certificate-authority-data)",
        "file": f"{other}, which FILE names (certificate-authority)",
        "none": "this system, as FILE names none (certificate-authority)",
    }
    async with serving_tls(tmp_path) as (port, _):
        said = await distrust(kubeconfig_with(tmp_path, port, **cluster[how]), f"https://127.0.0.1:{port}")
    assert said.startswith("GET SERVER/x: the certificate of SERVER is not trusted: ")
    assert said.endswith(
        f" by the CAs of {whose[how]}: put the cluster's own CA there (kubeadm has it in /etc/kubernetes/pki/ca.crt), "
        "or ask another server"
    )


async def test_a_certificate_of_another_name_is_told_with_the_key_that_names_one(tmp_path: Path) -> None:
    async with serving_tls(tmp_path) as (port, ca):
        file = kubeconfig_with(tmp_path, port, **{"certificate-authority": str(ca)})
        said = await distrust(file, f"https://127.0.0.1:{port}", tls_server_name="api.example")
    assert said == (
        "GET SERVER/x: the certificate of SERVER is not trusted: Hostname mismatch, certificate is not valid for "
        "'api.example'; name one that it bears with `tlsServerName`, or ask it elsewhere with `server`"
    )
