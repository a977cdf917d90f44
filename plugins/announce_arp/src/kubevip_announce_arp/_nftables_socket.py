"""One open nf_tables socket: transactions and a few questions. Blocks only while the kernel works; thread-bound."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

from kubevip_announce_arp import _netlink as netlink
from kubevip_announce_arp import _nftables as nft

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

_SOL_NETLINK, _CAP_ACK, _SO_SNDBUFFORCE = 270, 10, 32
_SEND_BYTES = 8 << 20  # thousands of addresses are one message


class NftablesSocket:
    """A socket for nf_tables. Used by one thread at a time.

    The kernel carries out a message within the `send` that hands it over and has answered when that returns, so
    nothing waits here but for another program's transaction to end.
    """

    def __init__(self) -> None:
        """Open it.

        :raises OSError: where there is no nf_tables, or no right to it.
        """
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, nft.NETLINK_NETFILTER)
        self._sequence = 0
        self._has_leftovers = False
        self.commits = 0
        try:
            self._socket.bind((0, 0))
            try:
                self._socket.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _SEND_BYTES)
            except PermissionError:  # in a user namespace: about 2,000 addresses at a time
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)
            self._socket.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)  # errors do not echo the request
            self._socket.setblocking(False)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> NftablesSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it. Blocks for some 10 to 30 ms after a transaction, until the kernel has done with it."""
        self._socket.close()

    def commit(self, changes: Iterable[nft.Change]) -> None:
        """Carry out `changes` as one transaction: all or none.

        :raises OSError: with the errno of the first change that the kernel refused.
        """
        self._forget()
        first = self._sequence + 1
        data, last = nft.batch(changes, first)
        self._sequence = last + 1
        self._socket.send(data)
        while True:
            for answer in netlink.messages(self._receive()):
                if answer.kind != netlink.ERROR or answer.sequence < first:
                    continue
                if answer.error:
                    raise OSError(
                        answer.error, f"nf_tables change {answer.sequence - first}: {os.strerror(answer.error)}"
                    )
                if answer.sequence == last:
                    self.commits += 1
                    self._has_leftovers = False
                    return

    def generation(self) -> int:
        """Return the number of the rule set's generation; every commit by anybody makes it grow by one."""
        attributes = self._ask(nft.GETGEN, 0, b"")
        return int(struct.unpack("!I", (attributes or {})[1])[0])

    def has_table(self, family: int, name: str) -> bool:
        """Return whether there is a table."""
        return self._ask(nft.GETTABLE, family, nft.text(1, name)) is not None

    def tables(self, family: int) -> list[str]:
        """Return the names of all tables of a family, whoever made them.

        :raises OSError: when the kernel refuses.
        """
        self._forget()
        self._sequence += 1
        self._socket.send(nft.query(nft.GETTABLE, family, self._sequence, is_list=True))
        names: list[str] = []
        while True:
            for answer in netlink.messages(self._receive()):
                if answer.sequence != self._sequence:
                    continue
                if answer.error:
                    raise OSError(answer.error, f"nf_tables list: {os.strerror(answer.error)}")
                if answer.kind in (netlink.DONE, netlink.ERROR):
                    self._has_leftovers = False
                    return names
                names.append(netlink.attributes_of(answer.body, 4).get(1, b"").rstrip(b"\0").decode(errors="replace"))

    def has_element(self, family: int, table: str, name: str, key: bytes) -> bool:
        """Return whether a set or map has an element for `key`; False also where there is no such table.

        :raises OSError: when the kernel refuses; before Linux 4.15 it answers no such question (EOPNOTSUPP).
        """
        element = nft.nested(3, nft.element(key))
        return self._ask(nft.GETSETELEM, family, nft.text(1, table) + nft.text(2, name) + element) is not None

    def rules_in_chain(self, family: int, table: str, name: str) -> int:
        """Return how many rules a base chain has; 0 when it is not there."""
        attributes = self._ask(nft.GETCHAIN, family, nft.text(1, table) + nft.text(3, name))
        return 0 if attributes is None else int(struct.unpack("!I", attributes[6])[0])

    def _ask(self, kind: int, family: int, attributes: bytes) -> dict[int, bytes] | None:
        """Return the attributes of the one thing asked for; None if there is none."""
        self._forget()
        self._sequence += 1
        self._socket.send(nft.query(kind, family, self._sequence, attributes))
        while True:
            for answer in netlink.messages(self._receive()):
                if answer.sequence != self._sequence:
                    continue
                if answer.kind != netlink.ERROR:
                    return netlink.attributes_of(answer.body, 4)
                if answer.error in (2, 0):  # ENOENT
                    return None
                raise OSError(answer.error, f"nf_tables question: {os.strerror(answer.error)}")

    def _receive(self) -> bytes:
        return self._socket.recv(1 << 16)

    def _forget(self) -> None:
        """Drop answers that an earlier failure left: they are numbered, but would fill the socket."""
        has_leftovers, self._has_leftovers = self._has_leftovers, True
        if not has_leftovers:
            return
        try:
            while self._socket.recv(1 << 16):
                pass
        except OSError:  # EAGAIN; ENOBUFS is cleared by being read
            pass
