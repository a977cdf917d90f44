"""What the parent process asks of the API: it releases this tenure and no other, over HTTP and TLS, bounded in time."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.plugins.election_raft.certificates import make_keys

from kubevip_election_k8s import _goodbye
from kubevip_k8s import LEASES
from kubevip_k8s.testing import FakeCluster, Request
from kubevip_keeper._wills import FIRST_STATEMENT

PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/lock"


@contextmanager
def answering(*answers: bytes, keys: Path | None = None) -> Generator[tuple[int, Future[bytes]]]:
    """Serve one connection on loopback: an answer for each request; what was asked is the future's result."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        server.settimeout(20)

        def serve() -> bytes:
            connection, _ = server.accept()
            connection.settimeout(20)
            if keys is not None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(keys / "tls.crt", keys / "tls.key")
                context.load_verify_locations(keys / "ca.crt")
                context.verify_mode = ssl.CERT_REQUIRED
                connection = context.wrap_socket(connection, server_side=True)
            asked = b""
            with connection:
                for answer in answers:
                    asked += connection.recv(65536)
                    connection.sendall(answer)
            return asked

        yield server.getsockname()[1], pool.submit(serve)


def answer(status: int, body: bytes = b"{}") -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n" % (status, len(body)) + body


def will(port: int, leases: int = 1, **access: object) -> bytes:
    patches = [(PATH, _goodbye.patch("n1_1", 3))] * leases
    return _goodbye.make({"host": "127.0.0.1", "port": port, **access}, patches)


def test_it_asks_for_a_release_that_tests_holder_and_transitions() -> None:
    with answering(answer(200), answer(422)) as (port, served):
        list(_goodbye.say(will(port, 2, prefix="/k8s", authorization="Bearer secret")))
        asked = served.result()
    head, _, rest = asked.partition(b"\r\n\r\n")
    assert head.startswith(b"PATCH /k8s" + PATH.encode() + b" HTTP/1.1\r\n")
    assert b"Content-Type: application/json-patch+json" in head
    assert b"Authorization: Bearer secret" in head
    steps = json.JSONDecoder().raw_decode(rest.decode())[0]
    assert [step["op"] for step in steps] == ["test", "test", "replace", "replace"]


def test_nothing_is_asked_before_the_deeds_are_done() -> None:
    with answering(answer(200)) as (port, served):
        steps = _goodbye.say(will(port))
        next(steps)
        assert not served.done()
        list(steps)
        assert served.result().startswith(b"PATCH")


@pytest.mark.parametrize(
    "text", [answer(403), answer(500), b"SSH-2.0-x\r\n\r\n", b"", b"HTTP/1.1 200 X\r\nContent-Length: x\r\n\r\n"]
)
def test_a_release_that_did_not_happen_is_told(text: bytes) -> None:
    with answering(text) as (port, _), pytest.raises(OSError, match=r"released|HTTP|closed"):
        list(_goodbye.say(will(port)))


def test_an_answer_in_chunks_is_read_to_its_end() -> None:
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    with answering(chunked, answer(200)) as (port, _):
        list(_goodbye.say(will(port, 2)))


def test_both_sides_prove_who_they_are(tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys")
    mine: dict[str, Any] = {"ca": (keys / "n1/ca.crt").read_text(), "certificate": (keys / "n1/tls.crt").read_text(),
            "key": (keys / "n1/tls.key").read_text()}  # fmt: skip
    with answering(answer(200), keys=keys / "n2") as (port, served):
        list(_goodbye.say(will(port, name="n2", **mine)))
        assert served.result()
    with answering(answer(200), keys=keys / "n2") as (port, _), pytest.raises(ssl.SSLError):
        list(_goodbye.say(will(port, name="n3", **mine)))


@pytest.mark.parametrize(
    ("holder", "transitions", "is_released"),
    [("n1_1", 3, True), ("n1_1", 4, False), ("n2_1", 3, False), ("n1_2", 3, False)],
)
def test_the_patch_releases_this_tenure_and_no_other(holder: str, transitions: int, is_released: bool) -> None:
    cluster = FakeCluster()
    spec = {"holderIdentity": holder, "leaseDurationSeconds": 5, "leaseTransitions": transitions}
    cluster.put(LEASES, {"metadata": {"namespace": "kube-system", "name": "lock"}, "spec": spec})
    request = Request(
        method="PATCH",
        path=PATH,
        body=json.loads(_goodbye.patch("n1_1", 3)),
        content_type="application/json-patch+json",
        token=cluster.admin_token,
    )
    cluster.answer(request)
    after = cluster.get(LEASES, "kube-system", "lock")
    assert after is not None
    expected = {**spec, "holderIdentity": "", "leaseDurationSeconds": 1} if is_released else spec
    assert after["spec"] == expected


def test_it_is_a_statement_of_the_standard_library_alone() -> None:
    assert _goodbye.ORDER >= FIRST_STATEMENT
    script = f"import sys; import {_goodbye.__name__}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert not {"anyio", "attr", "kubevip", "kubernetes"} & set(found.stdout.split())
