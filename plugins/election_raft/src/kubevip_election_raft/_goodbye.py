"""The last will of a member: its parent process tells the peers that it is dead, in finished frames.

Standard library only: whoever calls it may have nothing else. A statement and no deed: it is said only when the
addresses of the member were taken down, so a peer that hears it need not wait for the promise to run out.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import ssl
import time

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FUNCTION = "kubevip_election_raft._goodbye:say"
ORDER = 110  # after the deeds, which are below 100

#: All peers are met, and then told, side by side; each of the two may take so long. A peer that was not told waits for
#: the promise to run out.
SECONDS = 0.1

#: OpenSSL sets itself up with the first context, which takes a millisecond; whoever is forked then has it.
_FIRST_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

_LARGEST_ANSWER_BYTES = 16 * 1024


def make(own: str, keys: Sequence[str], peers: Sequence[tuple[str, str, int, bytes]]) -> bytes:
    """Write a will.

    :param own: the address to speak from.
    :param keys: the files of the CA, of the certificate and of its key; none for plain TCP.
    :param peers: name, address and port of each peer, and the frames to send: a greeting, and what is to be said.
    """
    listed = [[name, address, port, frames.decode("latin-1")] for name, address, port, frames in peers]
    return json.dumps({"own": own, "keys": list(keys), "peers": listed}).encode()


def say(payload: bytes) -> Iterator[None]:
    """Tell every peer; return when each has answered, or the time is over.

    Connects, and has both sides prove who they are, before it yields; says something after that.

    :raises OSError: when none has heard it: what the first peers answered is in the text.
    """
    will = json.loads(payload)
    context = _context(*will["keys"]) if will["keys"] else None
    calls = [_Call(name, address, port, said.encode("latin-1"), context) for name, address, port, said in will["peers"]]
    try:
        for call in calls:
            call.begin(will["own"])
        _go_on(calls, _Call.meet)
        yield
        _go_on(calls, _Call.tell)
    finally:
        for call in calls:
            call.close()
    if all(call.problem for call in calls):
        raise OSError("no peer heard it: " + ", ".join(f"{call.name} ({call.problem})" for call in calls[:8]))


def _go_on(calls: Sequence[_Call], step: Callable[[_Call], bool]) -> None:
    """Go on with all of them until each has done the step or has failed, or the time is over."""
    deadline = time.monotonic() + SECONDS
    waiting = {call.fileno(): call for call in calls if not call.try_to(step)}
    poll = select.poll()
    for fd, call in waiting.items():
        poll.register(fd, call.wanted)
    while waiting and (left := deadline - time.monotonic()) > 0:
        for fd, _ in poll.poll(left * 1000):
            if waiting[fd].try_to(step):
                poll.unregister(fd)
                del waiting[fd]
            else:
                poll.modify(fd, waiting[fd].wanted)
    for call in waiting.values():
        call.problem = "no answer"


def _context(ca: str, certificate: str, key: str) -> ssl.SSLContext:
    """Return what speaks with the keys that are there now; `_keys` has judged them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # names are those of nodes, and are compared below
    context.load_verify_locations(ca)
    context.load_cert_chain(certificate, key, password="")  # nobody is asked for one
    return context


class _Call:
    """One connection to one peer. `problem` says why it failed; `wanted` is the event to wait for."""

    def __init__(self, name: str, address: str, port: int, frames: bytes, context: ssl.SSLContext | None) -> None:
        self.name, self.problem, self.wanted = name, "", select.POLLOUT
        self._place, self._frames, self._context, self._answer = (address, port), frames, context, b""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket: socket.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)

    def fileno(self) -> int:
        """Return what to wait for."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the connection; what was said and not answered may be lost."""
        self._socket.close()

    def begin(self, own: str) -> None:
        """Begin to connect."""
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.bind((own, 0))
            self._socket.connect(self._place)
        except BlockingIOError:
            pass
        except OSError as error:
            self.problem = str(error.strerror)

    def try_to(self, step: Callable[[_Call], bool]) -> bool:
        """Do what can be done without waiting; return whether there is nothing more to do, or it failed."""
        try:
            return bool(self.problem) or step(self)
        except ssl.SSLWantReadError:
            self.wanted = select.POLLIN
        except ssl.SSLWantWriteError:
            self.wanted = select.POLLOUT
        except BlockingIOError:
            pass
        except OSError as error:  # ssl.SSLError is one
            self.problem = str(error.strerror or error)
        except (ValueError, KeyError, TypeError):
            self.problem = "no welcome"
        return bool(self.problem)

    def meet(self) -> bool:
        """Connect, and prove who is who."""
        if error := self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(error, "refused" if error == errno.ECONNREFUSED else "no answer")
        if not self._is_connected():
            raise BlockingIOError
        if self._context is None:
            return True
        if not isinstance(self._socket, ssl.SSLSocket):
            self._socket = self._context.wrap_socket(self._socket, do_handshake_on_connect=False)
        self._socket.do_handshake()
        certificate = self._socket.getpeercert() or {}
        if not any(name == ("DNS", self.name) for name in certificate.get("subjectAltName", ())):
            raise OSError(0, "somebody else is there")
        return True

    def _is_connected(self) -> bool:
        try:
            self._socket.getpeername()
        except OSError:
            return False
        return True

    def tell(self) -> bool:
        """Send the frames, and take the answer to the greeting: four bytes of length, and JSON."""
        self.wanted = select.POLLOUT
        while self._frames:
            self._frames = self._frames[self._socket.send(self._frames) :]
        self.wanted = select.POLLIN
        while data := self._socket.recv(4096):
            self._answer += data
            length = int.from_bytes(self._answer[:4], "big")
            if len(self._answer) >= 4 + length:
                refusal = json.loads(self._answer[4 : 4 + length])["m"]["refusal"]
                if refusal:
                    raise OSError(0, str(refusal)[:200])
                return True
            if len(self._answer) > _LARGEST_ANSWER_BYTES:
                break
        raise OSError(0, "refused")
