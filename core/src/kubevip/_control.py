"""The server of the control socket: one JSON line a request, one JSON line an answer.

    {"target": {"kind": "election", "name": "raft"}, "verb": "add", "args": {...}}    target: null or absent = the core
    {"result": ...} or {"error": "text for people"}

Root and the daemon's own user may speak; both are asked of the kernel, not of the client. Everything that a client
can make grow is bounded: the line, the connections, the time.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import stat
import struct
import sys
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, cast

from anyio import CapacityLimiter, create_task_group, fail_after, move_on_after, sleep, wait_readable, wait_writable
from attrs import field, frozen

from kubevip.control import REQUEST_LIMIT, reachable
from kubevip.errors import ControlError, KubevipError
from kubevip_keeper._lines import LineBuffer, LineError, decode

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

CONNECTION_LIMIT = 16
BACKLOG = 128  # clients that wait for a connection; the kernel refuses more
IDLE_SECONDS = 10.0  # a client that has connected says what it wants, and takes the answer, within this
ANSWER_SECONDS = 60.0  # the longest that a request may take
EXHAUSTED_SECONDS = 0.25  # pause after an accept that failed for want of descriptors or memory

_logger = logging.getLogger("kubevip.control")


@frozen(kw_only=True)
class Request:
    """What a client asks for. `kind` and `name` are those of a provider instance; both None: the core itself."""

    verb: str
    args: Mapping[str, object] = field(factory=dict[str, object])
    kind: str | None = None
    name: str | None = None


def parse_request(line: bytes) -> Request:
    """Return the request of one line.

    :raises ControlError: naming what is wrong with it.
    """
    try:
        message = decode(line)
    except LineError as exc:
        raise ControlError(f"the request is refused: {exc}") from exc
    verb, given = message.get("verb"), message.get("args")
    if not isinstance(verb, str) or not verb:
        raise ControlError("the request is refused: it has no verb")
    if given is not None and not isinstance(given, dict):
        raise ControlError(f"the request {verb!r} is refused: its args are no object")
    args = cast("dict[str, object]", given or {})  # JSON knows string keys only
    match message.get("target"):
        case None:
            return Request(verb=verb, args=args)
        case {"kind": str(kind), "name": str(name)}:
            return Request(verb=verb, args=args, kind=kind, name=name)
        case _:
            raise ControlError(f"the request {verb!r} is refused: its target is not {{kind, name}}")


@asynccontextmanager
async def serve(
    path: Path,
    answer: Callable[[Request], Awaitable[object]],
    *,
    idle_seconds: float = IDLE_SECONDS,
    answer_seconds: float = ANSWER_SECONDS,
) -> AsyncGenerator[None]:
    """Serve the control socket at `path` while the body runs; requests of different clients side by side.

    Entered = clients can connect. Left = no request is being answered, and the file is gone, also when cancelled.

    :param answer: returns JSON-compatible values; what it raises as KubevipError is the client's answer, anything else
        is logged and answered with "internal error".
    :raises ControlError: when the socket cannot be opened, or another daemon answers at it.
    """
    with _bound(path) as listening:
        identity = _identity(path)
        try:
            async with create_task_group() as tg:
                tg.start_soon(_accept, listening, answer, idle_seconds, answer_seconds)
                yield
                tg.cancel_scope.cancel()
        finally:
            _remove_own(path, identity)


def _bound(path: Path) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listening.setblocking(False)
    try:
        with suppress(OSError):  # before bind: the file is never there with more. Linux only; the folder is private
            os.fchmod(listening.fileno(), 0o600)
        with reachable(path) as address:
            _remove_stale(path, address)
            listening.bind(address)
        path.chmod(0o600)
        listening.listen(BACKLOG)
    except OSError as exc:
        listening.close()
        raise ControlError(f"control socket {path}: {exc.strerror}") from exc
    except ControlError:
        listening.close()
        raise
    return listening


def _remove_stale(path: Path, address: str) -> None:
    """Remove the socket of a daemon that died; leave what is alive or no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ControlError(f"control socket {path}: something else is there; remove it")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        result = probe.connect_ex(address)
    if result != errno.ECONNREFUSED:
        raise ControlError(f"control socket {path}: another daemon answers there")
    path.unlink()


def _remove_own(path: Path, identity: tuple[int, int] | None) -> None:
    if _identity(path) == identity:  # not the one of a successor
        path.unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.lstat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


async def _accept(
    listening: socket.socket,
    answer: Callable[[Request], Awaitable[object]],
    idle_seconds: float,
    answer_seconds: float,
) -> None:
    limiter = CapacityLimiter(CONNECTION_LIMIT)

    async def serve_one(connection: socket.socket) -> None:
        try:
            with connection:
                await _converse(connection, answer, idle_seconds, answer_seconds)
        finally:
            limiter.release_on_behalf_of(connection)

    async with create_task_group() as tg:
        while True:
            await wait_readable(listening)
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, ConnectionError):
                continue
            except OSError as exc:  # out of descriptors or memory (accept(2)): the addresses must not go for that
                _logger.warning("a client of the control socket has to wait: %s", exc.strerror)
                await sleep(EXHAUSTED_SECONDS)
                continue
            connection.setblocking(False)
            try:
                await limiter.acquire_on_behalf_of(connection)
            except BaseException:
                connection.close()
                raise
            tg.start_soon(serve_one, connection)


async def _converse(
    connection: socket.socket,
    answer: Callable[[Request], Awaitable[object]],
    idle_seconds: float,
    answer_seconds: float,
) -> None:
    """Answer the requests of one client until it ends or breaks the rules."""
    if not _may_speak(connection):
        await _send(
            connection, {"error": "only root and the daemon's own user may use the control socket"}, idle_seconds
        )
        return
    lines = LineBuffer(REQUEST_LIMIT)
    try:
        while True:
            with fail_after(idle_seconds):
                data = await _receive(connection)
            if not data:
                return
            try:
                requests = lines.feed(data)
            except LineError as exc:
                await _send(connection, {"error": f"the request is refused: {exc}"}, idle_seconds)
                return
            for line in requests:
                await _send(connection, await _answered(line, answer, answer_seconds), idle_seconds)
    except (TimeoutError, OSError):  # the client's own loss
        return


async def _answered(
    line: bytes, answer: Callable[[Request], Awaitable[object]], answer_seconds: float
) -> dict[str, object]:
    try:
        request = parse_request(line)
    except ControlError as exc:
        return {"error": str(exc)}
    try:
        with move_on_after(answer_seconds):
            return {"result": await answer(request)}
        return {"error": f"{request.verb}: not done within {answer_seconds:g} s"}
    except KubevipError as exc:
        return {"error": str(exc)}
    except Exception:  # at the edge of what plugins answer: one broken request must not end the daemon
        _logger.exception("a request failed verb=%s kind=%s name=%s", request.verb, request.kind, request.name)
        return {"error": f"{request.verb}: internal error; the daemon's log has it"}


def _may_speak(connection: socket.socket) -> bool:
    """Whether the process at the other end runs as root or as this one's user, by the kernel's word (unix(7))."""
    if sys.platform == "linux":
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
        return uid in (0, os.geteuid())
    else:
        return True  # the mode of the file decides


async def _receive(connection: socket.socket) -> bytes:
    while True:
        await wait_readable(connection)
        try:
            return connection.recv(1 << 16)
        except BlockingIOError:
            continue


async def _send(connection: socket.socket, message: Mapping[str, object], seconds: float) -> None:
    try:
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
    except (TypeError, ValueError, RecursionError):
        _logger.exception("an answer is not JSON-compatible")
        line = b'{"error":"internal error; the daemon\'s log has it"}\n'
    view = memoryview(line)
    with fail_after(seconds):
        while view:
            await wait_writable(connection)
            try:
                view = view[connection.send(view) :]
            except BlockingIOError:
                continue
