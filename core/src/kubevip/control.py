"""Client of the control socket of a running daemon: what `kubevip status` and the commands of plugins speak through."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from kubevip.errors import ControlError, NoDaemonError, NotPermittedError

if TYPE_CHECKING:
    from collections.abc import Generator

SOCKET_NAME = "control.sock"
REQUEST_LIMIT = 1 << 16  # bytes of one request
ANSWER_LIMIT = 1 << 24  # bytes of one answer; the status of ten thousand addresses takes some three million
TIMEOUT_SECONDS = 75.0  # longer than a daemon takes over a request

_PATH_LIMIT = 107  # bytes that sockaddr_un has for a path, its end not counted (unix(7))


class Client:
    """Speaks to the daemon of one state directory; each request has a connection of its own. Blocks."""

    def __init__(self, place: Path | str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        """Prepare; nothing is looked at.

        :param place: the state directory, or the socket in it.
        :param timeout_seconds: how long a request may take in all steps of it.
        """
        path = Path(place)
        self.path = path if path.name == SOCKET_NAME else path / SOCKET_NAME
        self._timeout_seconds = timeout_seconds

    def request(
        self,
        verb: str,
        args: Mapping[str, object] | None = None,
        target: tuple[str, str] | None = None,
    ) -> object:
        """Have the daemon carry out `verb` and return its answer, JSON-compatible values.

        :param target: kind and name of the instance that it is for, ("election", "raft"); None: the daemon itself.
        :raises NoDaemonError: when nothing answers, or not in time.
        :raises NotPermittedError: when this user may not speak to the daemon.
        :raises ControlError: when the daemon refuses, with its words, or does not answer in form.
        """
        message: dict[str, object] = {"verb": verb, "args": dict(args or {})}
        if target is not None:
            message["target"] = {"kind": target[0], "name": target[1]}
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        if len(line) > REQUEST_LIMIT:
            raise ControlError(f"the request {verb!r} is larger than {REQUEST_LIMIT} bytes")
        pid = 0
        try:
            with self._connected() as connection:
                pid = _peer_of(connection)
                connection.sendall(line)
                answer = _read_line(connection)
        except TimeoutError as exc:
            who = f"; its process, pid {pid}, may be stopped (kill -CONT {pid}), hang or be overloaded" if pid else ""
            raise NoDaemonError(
                f"the daemon at {self.path} has not answered within {self._timeout_seconds:g} s{who}"
            ) from exc
        except BlockingIOError as exc:  # a full backlog, in the words of unix(7)
            raise ControlError(f"the daemon at {self.path} is busy: too many clients wait; try again") from exc
        except (ConnectionError, FileNotFoundError, NotADirectoryError) as exc:
            raise NoDaemonError(f"no daemon answers at {self.path}: {exc.strerror}; is `kubevip run` running?") from exc
        except PermissionError as exc:
            raise NotPermittedError(f"{self.path}: {exc.strerror}; run as root or as the daemon's user") from exc
        except OSError as exc:
            raise ControlError(f"{self.path}: {exc.strerror}") from exc
        return _result(answer)

    @contextlib.contextmanager
    def _connected(self) -> Generator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, reachable(self.path) as address:
            connection.settimeout(self._timeout_seconds)
            connection.connect(address)
            yield connection


@contextlib.contextmanager
def reachable(path: Path) -> Generator[str]:
    """Lend an address for the socket at `path` that fits into sockaddr_un, by way of the open folder if need be.

    :raises OSError: when the folder cannot be opened, or the path is too long for a system without /proc.
    """
    if len(os.fsencode(path)) <= _PATH_LIMIT:
        yield str(path)
        return
    if not os.path.isdir("/proc/self/fd"):
        raise OSError(errno.ENAMETOOLONG, f"{path} is longer than {_PATH_LIMIT} bytes; name a shorter state directory")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _peer_of(connection: socket.socket) -> int:
    """Return the process that listens at the other end; 0 where the system does not say (SO_PEERCRED, unix(7))."""
    option: int | None = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return 0
    pid, _, _ = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("iII")))
    return int(pid)


def _read_line(connection: socket.socket) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n"):
        data = connection.recv(1 << 16)
        if not data:
            raise ControlError("the daemon ended the connection before it had answered")
        received += data
        if len(received) > ANSWER_LIMIT:
            raise ControlError(f"the daemon's answer is larger than {ANSWER_LIMIT} bytes")
    return bytes(received)


def _result(line: bytes) -> object:
    try:
        answer: object = json.loads(line)
    except (ValueError, RecursionError) as exc:
        raise ControlError(f"the daemon's answer is not JSON: {exc}") from exc
    if isinstance(answer, dict):
        fields = cast("dict[str, object]", answer)
        if isinstance(text := fields.get("error"), str):
            raise ControlError(text)
        if "result" in fields:
            return fields["result"]
    raise ControlError("the daemon's answer has neither a result nor an error; is it another version?")
