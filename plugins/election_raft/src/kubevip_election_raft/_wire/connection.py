"""A connection: a non-blocking TCP socket with its channel. Bytes of frames in, bytes of frames out."""

from __future__ import annotations

import socket
from contextlib import suppress

from anyio import wait_readable, wait_writable

from kubevip_election_raft._tls.channel import Channel, ChannelError

_CHUNK_BYTES = 64 * 1024


class Connection:
    """One TCP connection, either side. Whoever has it closes `socket`."""

    def __init__(self, socket: socket.socket, channel: Channel) -> None:
        """Take over a non-blocking socket, connected or connecting."""
        self.socket, self._channel = socket, channel
        self._unsent = b""  # sealed: it has to go out whole
        self._may_hold = True  # what came right behind the handshake

    @property
    def peer_names(self) -> tuple[str, ...] | None:
        """The names that the other side has proven; None where nothing is proven."""
        return self._channel.peer_names

    @property
    def is_clear(self) -> bool:
        """Whether all that was written is with the kernel."""
        return not self._unsent

    async def shake_hands(self) -> None:
        """Have both sides prove who they are. The caller limits the time.

        :raises ChannelError: when the other side cannot be trusted; it is told so.
        :raises OSError: when the connection breaks.
        """
        data = b""
        try:
            while not self._channel.shake(data):
                await self._send(self._channel.outgoing())
                await wait_readable(self.socket)
                data = self.socket.recv(_CHUNK_BYTES)
                if not data:
                    raise ChannelError("refused")  # hung up without a word
        except ChannelError:
            with suppress(OSError):
                self.socket.send(self._channel.outgoing())
            raise
        await self._send(self._channel.outgoing())

    async def _send(self, data: bytes) -> None:
        while data:
            try:
                data = data[self.socket.send(data) :]
            except BlockingIOError:
                await wait_writable(self.socket)

    def write(self, data: bytes) -> bool:
        """Send, without a task switch, what the kernel has room for, and keep the rest; return whether it took all.

        Only when it `is_clear`. What goes wrong is met by whoever reads this connection, and what is written is lost.
        """
        try:
            self._unsent = self._channel.seal(data)
        except ChannelError:
            return True
        return self.flush()

    def flush(self) -> bool:
        """Send what was kept; return whether all of it went."""
        try:
            if self._unsent:
                self._unsent = self._unsent[self.socket.send(self._unsent) :]
        except BlockingIOError:
            return False
        except OSError:
            self._unsent = b""
        return not self._unsent

    async def read(self) -> bytes:
        """Return what the other side says next; nothing when it has ended.

        :raises ChannelError: when something arrived that the other side did not send, or does not speak the protocol.
        :raises OSError: when the connection breaks.
        """
        if self._may_hold:
            self._may_hold = False
            if opened := self._channel.open(b""):
                return opened
        while True:
            await wait_readable(self.socket)
            said = self.take()
            if said is not None:
                return said

    def take(self) -> bytes | None:
        """Return the same, if it is there; None when nothing that makes sense has arrived yet. After `read` only.

        :raises ChannelError: as `read`.
        :raises OSError: as `read`.
        """
        try:
            data = self.socket.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return None
        return self._channel.open(data) or None if data else b""

    def hang_up(self) -> None:
        """End it; whoever reads it then meets its end. Harmless when the peer has reset it already (ENOTCONN)."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
