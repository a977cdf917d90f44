"""What went over the wire and what the nodes wrote, side by side: for whoever wants to know where the time went."""

from __future__ import annotations

import socket
import struct
from datetime import datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from attrs import define, field

from kubevip_lab._lab import BACKEND_PORT

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_ETH_P_ALL, _ETH_P_IP, _ETH_P_ARP = 0x0003, 0x0800, 0x0806
_SO_TIMESTAMPNS = 35  # socket(7); not in the socket module
_SO_RCVBUFFORCE = 33
_BUFFER_BYTES = 64 << 20
_OUTGOING = 4  # PACKET_OUTGOING: a frame that the switch sends; each was incoming somewhere before
_FLAGS = "FSRPAU"
_FIN_SYN_RST = 0b111


@define
class Wire:
    """The frames that came in on any port of the switch, with the kernel's wall-clock time of each.

    Made inside the switch's namespace. Probers' HTTP connections and ARP questions are left out: they drown the rest.
    """

    vip: IPv4Address
    frames: list[tuple[float, str, str]] = field(factory=list[tuple[float, str, str]])
    _socket: socket.socket = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(_ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        except PermissionError:
            pass  # in a user namespace: some frames may be missing

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def take(self) -> None:
        """Take the frames that wait."""
        while True:
            try:
                frame, ancillary, _, address = self._socket.recvmsg(2048, 64)
            except BlockingIOError:
                return
            except OSError:
                continue  # a port went down
            if address[2] != _OUTGOING and ancillary and (text := describe(frame, self.vip)):
                seconds, nanoseconds = struct.unpack("qq", ancillary[0][2])
                self.frames.append((seconds + nanoseconds / 1e9, address[0], text))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def describe(frame: bytes, vip: IPv4Address) -> str:
    """Say what a frame is, in one line; "" for what is left out of a timeline."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind == _ETH_P_ARP and len(frame) >= 42:
        (operation,) = struct.unpack_from("!H", frame, 20)
        sender, target = IPv4Address(frame[28:32]), IPv4Address(frame[38:42])
        if sender == target == vip:
            return f"arp announcement of {vip}, {'request' if operation == 1 else 'reply'} form"
        return f"arp probe for {vip}" if (operation, sender, target) == (1, IPv4Address(0), vip) else ""
    if kind != _ETH_P_IP or len(frame) < 34:
        return ""
    start = 14 + (frame[14] & 0x0F) * 4
    source, target = IPv4Address(frame[26:30]), IPv4Address(frame[30:34])
    if frame[23] == socket.IPPROTO_ICMP:
        return f"icmp type {frame[start]} {source} > {target}"
    if frame[23] != socket.IPPROTO_TCP or vip in (source, target) or len(frame) < start + 20:
        return ""
    source_port, target_port, _, _, offset, flags = struct.unpack_from("!HHIIBB", frame, start)
    size = struct.unpack_from("!H", frame, 16)[0] - (start - 14) - (offset >> 4) * 4
    names = "".join(name for bit, name in enumerate(_FLAGS) if flags >> bit & 1)
    if (size == 0 and not flags & _FIN_SYN_RST) or BACKEND_PORT in (source_port, target_port):
        return ""  # a bare acknowledgement; a relayed connection
    return f"tcp {source}:{source_port} > {target}:{target_port} {names} {size}"


def write_timeline(
    path: Path, frames: Iterable[tuple[float, str, str]], logs: Iterable[Path], at: datetime, end: float
) -> None:
    """Write frames and log lines from 50 ms before `at` until `end` seconds after it, in order, in ms since `at`."""
    start = at.timestamp()
    events = [(moment - start, port, text) for moment, port, text in frames]
    for log in logs:
        for line in log.read_text(errors="replace").splitlines():
            stamp, _, text = line.partition(" ")
            try:
                written = datetime.fromisoformat(stamp.replace("Z", "+00:00"))
            except ValueError:
                continue  # the rest of a message
            events.append((written.timestamp() - start, f"{log.stem} log", text))
    with path.open("w") as file:
        for moment, where, text in sorted(events):
            if -0.05 <= moment <= end:
                file.write(f"{moment * 1000:9.1f}  {where:8}  {text}\n")
