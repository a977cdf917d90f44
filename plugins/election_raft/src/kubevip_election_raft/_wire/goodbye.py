"""The last will of a member: its parent process tells the peers that it is dead, by the secret that it left.

Standard library only: whoever calls it may have nothing else. A statement and no deed: it is said only when the
addresses of the member were taken down, so a peer that hears it need not wait for the promise to run out. Peers know it
by its seal, see `seals`: there is no handshake, which would take longer than all the rest.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import time

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FUNCTION = "kubevip_election_raft._wire.goodbye:say"
ORDER = 110  # after the deeds, which are below 100

#: What is said: this, and the secret.
MAGIC, SECRET_BYTES = b"\xffbye", 32
#: What a peer answers when it has taken it.
HEARD = b"+"

#: All peers are told side by side, which may take so long. A peer that was not told waits for the promise to run out.
SECONDS = 0.1


def make(own: str, secret: bytes, peers: Sequence[tuple[str, str, int]]) -> bytes:
    """Write a will.

    :param own: the address to speak from.
    :param peers: name, address and port of each peer.
    """
    return json.dumps({"own": own, "secret": secret.hex(), "peers": [list(peer) for peer in peers]}).encode()


def say(payload: bytes) -> Iterator[None]:
    """Tell every peer; return when each has answered, or the time is over.

    Connects before it yields, and says something after that.

    :raises OSError: when none has heard it: why not is in the text.
    """
    will = json.loads(payload)
    said = MAGIC + bytes.fromhex(will["secret"])
    calls = [_Call(name, address, port, will["own"], said) for name, address, port in will["peers"]]
    try:
        for call in calls:
            call.begin()
        yield
        _go_on(calls)
    finally:
        for call in calls:
            call.close()
    if not any(call.is_heard for call in calls):
        raise OSError("no peer heard it: " + ", ".join(f"{call.name} ({call.problem})" for call in calls[:8]))


def _go_on(calls: Sequence[_Call]) -> None:
    """Tell all of them, until each has answered or failed, or the time is over."""
    deadline = time.monotonic() + SECONDS
    waiting = [call for call in calls if not call.go_on()]
    while waiting and (left := deadline - time.monotonic()) > 0:
        poll = select.poll()
        for call in waiting:
            poll.register(call.fileno(), call.wanted)
        poll.poll(left * 1000)
        waiting = [call for call in waiting if not call.go_on()]
    for call in waiting:
        call.problem = "no answer"


class _Call:
    """One connection to one peer. `problem` says why it failed; `wanted` is the event to wait for."""

    def __init__(self, name: str, address: str, port: int, own: str, said: bytes) -> None:
        self.name, self.problem, self.is_heard, self.wanted = name, "", False, select.POLLOUT
        self._place, self._own, self._said = (address, port), own, said
        self._unsaid, self._tries = said, 0
        self._socket: socket.socket | None = None

    def fileno(self) -> int:
        """Return what to wait for."""
        return -1 if self._socket is None else self._socket.fileno()

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()

    def begin(self) -> None:
        """Begin to connect."""
        self.close()
        self._tries, self._unsaid, self.wanted = self._tries + 1, self._said, select.POLLOUT
        family = socket.AF_INET6 if ":" in self._place[0] else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.bind((self._own, 0))
            self._socket.connect(self._place)
        except BlockingIOError:
            pass
        except OSError as error:
            self.problem = str(error.strerror)

    def go_on(self) -> bool:
        """Do what can be done without waiting; return whether there is nothing more to do, or it failed."""
        while not self.problem:
            try:
                return self._tell()
            except BlockingIOError:
                return False
            except OSError as failure:
                self.problem = _why(failure)
            if self._tries == 1:  # it may have tired of waiting while the deeds were done
                self.problem = ""
                self.begin()
        return True

    def _tell(self) -> bool:
        assert self._socket is not None  # it has begun
        if failed := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failed, "")
        while self._unsaid:
            try:
                self._unsaid = self._unsaid[self._socket.send(self._unsaid) :]
            except OSError as error:
                if error.errno == errno.ENOTCONN:
                    raise BlockingIOError from None  # still connecting
                raise
        self.wanted = select.POLLIN
        if self._socket.recv(len(HEARD)) != HEARD:
            raise ConnectionRefusedError
        self.is_heard = True
        return True


def _why(error: OSError) -> str:
    if isinstance(error, ConnectionError) or error.errno in (errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE):
        return "refused"
    return "no answer"
