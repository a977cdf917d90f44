"""The last will of a holder: its parent process releases its Leases in finished requests.

Standard library only: whoever calls it may have nothing else. A statement and no deed: it is sent only when the
addresses were taken down. Each request is a JSON Patch (RFC 6902) that first tests holder and transitions, so it cannot
release what somebody else holds, whenever it arrives.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import time

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

FUNCTION = "kubevip_election_k8s._goodbye:say"
ORDER = 120  # after the deeds, which are below 100; other instances of the election follow

#: All of it may take so long, which is less than the parent process allows. A Lease that was not released runs out.
SECONDS = 2.5

#: The Lease is as wanted, or is no longer ours: there is nothing more to do.
_SETTLED = (200, 404, 409, 422)

_LARGEST_ANSWER_BYTES = 64 * 1024


def patch(identity: str, transitions: int) -> bytes:
    """Return the JSON Patch that releases a Lease which `identity` acquired as change of hands number `transitions`."""
    steps = [
        {"op": "test", "path": "/spec/holderIdentity", "value": identity},
        {"op": "test", "path": "/spec/leaseTransitions", "value": transitions},
        {"op": "replace", "path": "/spec/holderIdentity", "value": ""},
        {"op": "replace", "path": "/spec/leaseDurationSeconds", "value": 1},
    ]
    return json.dumps(steps, separators=(",", ":")).encode()


def make(access: Mapping[str, object], patches: Sequence[tuple[str, bytes]]) -> bytes:
    """Write a will.

    :param access: `host`, `port`, `prefix` (of paths), `name` (that the certificate has to bear, without one it is
        plain HTTP), `ca`, `certificate` and `key` (PEM), `token_file` or `authorization` (the header's value),
        `is_unverified`. All may be absent but the first two.
    :param patches: the path of each Lease, and its patch.
    """
    listed = [[path, body.decode()] for path, body in patches]
    return json.dumps({"access": access, "patches": listed}).encode()


def say(payload: bytes) -> Iterator[None]:
    """Release every Lease; return when the server has answered.

    Connects, and has both sides prove who they are, before it yields; asks for something after that.

    :raises OSError: when one was not released and still may bear our identity.
    """
    will = json.loads(payload)
    access, deadline = will["access"], time.monotonic() + SECONDS
    with _connect(access) as connection:
        yield
        answers = _Answers(connection, deadline)
        refused: list[str] = []
        for path, body in will["patches"]:
            connection.sendall(_request(access, path, body.encode()))
            status = answers.next_status()
            if status not in _SETTLED:
                refused.append(f"{path}: {status}")
        if refused:
            raise OSError(f"{len(refused)} Leases were not released, such as {refused[0]}")


def _connect(access: Mapping[str, str]) -> socket.socket:
    plain = socket.create_connection((access["host"], int(access["port"])), timeout=SECONDS)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    name = access.get("name")
    if not name:
        return plain
    try:
        return _context(access).wrap_socket(plain, server_hostname=name)
    except BaseException:
        plain.close()
        raise


def _context(access: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if access.get("is_unverified"):  # the user's own word, in the kubeconfig
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif access.get("ca"):
        context.load_verify_locations(cadata=access["ca"])
    else:
        context.load_default_certs()
    if access.get("certificate"):
        with _Unnamed(access["certificate"]) as certificate, _Unnamed(access["key"]) as key:
            context.load_cert_chain(certificate, key, password="")  # nobody is asked for one
    return context


class _Unnamed:
    """A file in memory, by a path of this process: ssl reads certificates from files only."""

    def __init__(self, text: str) -> None:
        self._fd = os.memfd_create("kubevip")
        os.write(self._fd, text.encode())

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._fd}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _request(access: Mapping[str, str], path: str, body: bytes) -> bytes:
    host = f"[{access['host']}]" if ":" in access["host"] else access["host"]
    lines = [
        f"PATCH {access.get('prefix', '')}{path} HTTP/1.1",
        f"Host: {host}:{access['port']}",
        "Accept: application/json",
        "Content-Type: application/json-patch+json",
        f"Content-Length: {len(body)}",
    ]
    if access.get("token_file"):  # read now: it is renewed every hour
        with open(access["token_file"], encoding="ascii") as file:
            lines.append(f"Authorization: Bearer {file.read().strip()}")
    elif access.get("authorization"):
        lines.append(f"Authorization: {access['authorization']}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class _Answers:
    """The answers on one connection, one after the other; only their status is of interest."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline, self._data = connection, deadline, b""

    def next_status(self) -> int:
        """Read one answer to its end, and return its status.

        :raises OSError: when it does not come in time, or is none.
        """
        while b"\r\n\r\n" not in self._data:
            self._read()
        head, _, self._data = self._data.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        words = first.split(" ", 2)
        if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdecimal():
            raise OSError("what answered does not speak HTTP")
        headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        if "chunked" in headers.get("transfer-encoding", "").lower():
            while not self._data.endswith(b"0\r\n\r\n"):  # one answer at a time: nothing follows it
                self._read()
            self._data = b""
            return int(words[1])
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise OSError("what answered does not speak HTTP")
        while len(self._data) < int(length):
            self._read()
        self._data = self._data[int(length) :]
        return int(words[1])

    def _read(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise OSError("no answer in time")
        self._connection.settimeout(left)
        data = self._connection.recv(16 * 1024)
        self._data += data
        if not data:
            raise OSError("the connection was closed")
        if len(self._data) > _LARGEST_ANSWER_BYTES:
            raise OSError("the answer is too long")
