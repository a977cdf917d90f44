"""Tests marked `netns` run in a process of their own, inside a network namespace made for each of them.

There, e0 (10.9.0.1/24, 2001:db8:9::1/64) belongs to this machine and e1, the other end of the cable, to the test, which
sees and says on the wire what it likes: `wire`. When the process ends, so does the namespace with all that is in it.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, NoReturn

import anyio
import pytest
from trio._core import _thread_cache  # noqa: TID251 see run_inside

if TYPE_CHECKING:
    from collections.abc import Callable

INSIDE = "KUBEVIP_TEST_INSIDE_NAMESPACE"
CLONE_NEWNET = 0x40000000
MAC = bytes.fromhex("02000000aa01")  # of e0
PEER_MAC = bytes.fromhex("02000000aa02")  # of e1
PEER4, PEER6 = IPv4Address("10.9.0.2"), IPv6Address("2001:db8:9::2")
SECONDS = 90

SETUP = """
link set lo up
link add e0 address 02:00:00:00:aa:01 type veth peer name e1 address 02:00:00:00:aa:02
link set e1 up
address add 10.9.0.1/24 dev e0
link set e0 up
address add 2001:db8:9::1/64 dev e0 nodad
neighbour replace 10.9.0.2 lladdr 02:00:00:00:aa:02 dev e0
neighbour replace 2001:db8:9::2 lladdr 02:00:00:00:aa:02 dev e0
"""


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if pyfuncitem.get_closest_marker("netns") is None:
        return None
    with tempfile.TemporaryFile() as output:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # idle threads of trio do not matter to the child
            child = os.fork()
        if child == 0:
            run_inside(pyfuncitem, output.fileno())
        status = wait_for(child)
        output.seek(0)
        text = output.read().decode(errors="replace")
    assert status == 0, text or f"ended with status {status}"
    return True


def wait_for(child: int) -> int:
    """The exit status of a child; it is killed when it takes too long."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)  # noqa: TID251 nothing to wait on with a limit
    os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run_inside(item: pytest.Function, output: int) -> NoReturn:
    """Run a test in a namespace of its own and end the process with 0 if it passed."""
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        if ctypes.CDLL(None).unshare(CLONE_NEWNET) != 0:
            raise RuntimeError("no network namespace")
        os.environ[INSIDE] = "1"
        _thread_cache.THREAD_CACHE = _thread_cache.ThreadCache()  # its threads stayed behind, in another namespace
        for line in SETUP.strip().splitlines():
            run(f"ip {line}")
        arguments = {name: item.funcargs[name] for name in item._fixtureinfo.argnames}
        wire = arguments["wire"] = Wire()
        if inspect.iscoroutinefunction(item.obj):
            arguments.pop("anyio_backend", None)
            anyio.run(functools.partial(item.obj, **arguments), backend=str(item.funcargs["anyio_backend"]))
        else:
            item.obj(**arguments)
        wire.close()
    except BaseException:  # this is the end of the process
        traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def run(command: str) -> str:
    """Run a command of the machine inside the namespace and return what it prints."""
    assert INSIDE in os.environ, "never outside a namespace"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Wire:
    """The other end of the cable."""

    mac, peer_mac = MAC, PEER_MAC

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
        self._socket.bind(("e1", 3))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)

    def close(self) -> None:
        self._socket.close()

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def heard(self) -> list[bytes]:
        """All frames from the other side that have arrived and were not taken yet."""
        frames: list[bytes] = []
        while True:
            try:
                frame, (_, _, kind, *_) = self._socket.recvfrom(2048)
            except BlockingIOError:
                return frames
            except OSError:  # the link went down; told once
                continue
            if kind != 4:  # PACKET_OUTGOING: our own
                frames.append(frame)

    async def hears(self, wanted: bytes, seconds: float = 1.0) -> bool:
        """Whether a frame that contains `wanted` comes in time."""
        with anyio.move_on_after(seconds):
            while True:
                await anyio.wait_readable(self._socket)
                if any(wanted in frame for frame in self.heard()):
                    return True
        return False

    def wait(self, seconds: float) -> None:
        select.select([self._socket], [], [], seconds)

    def arp(self, operation: int, sender: str, target: str, *, mac: bytes = PEER_MAC) -> bytes:
        """An ARP frame of the peer."""
        packet = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + IPv4Address(sender).packed
        return b"\xff" * 6 + mac + b"\x08\x06" + packet + bytes(6) + IPv4Address(target).packed

    def solicitation(self, target: str) -> bytes:
        """A neighbour solicitation of the peer, with its hardware address."""
        packed = IPv6Address(target).packed
        group = IPv6Address("ff02::1:ff00:0").packed[:13] + packed[-3:]
        body = b"\x87\0\0\0" + bytes(4) + packed + b"\x01\x01" + PEER_MAC
        return b"\x33\x33\xff" + packed[-3:] + PEER_MAC + b"\x86\xdd" + self._ipv6(PEER6.packed, group, 255, body)

    def echo(self, target: str) -> bytes:
        """A ping of the peer."""
        address = ip_address(target)
        if isinstance(address, IPv6Address):
            body = b"\x80\0\0\0" + b"kubevip!"
            return MAC + PEER_MAC + b"\x86\xdd" + self._ipv6(PEER6.packed, address.packed, 64, body)
        icmp = bytearray(b"\x08\0\0\0" + b"kubevip!")
        icmp[2:4] = checksum(bytes(icmp))
        head = bytearray(struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(icmp), 1, 0, 64, 1, 0))
        head += PEER4.packed + address.packed
        head[10:12] = checksum(bytes(head))
        return MAC + PEER_MAC + b"\x08\x00" + bytes(head) + bytes(icmp)

    @staticmethod
    def what(frame: bytes, packed: bytes) -> str:
        """What a frame of the machine answers about an address."""
        return what(frame, packed)

    def _ipv6(self, source: bytes, target: bytes, hops: int, icmp: bytes) -> bytes:
        pseudo = source + target + struct.pack("!II", len(icmp), 58)
        icmp = icmp[:2] + checksum(pseudo + icmp) + icmp[4:]
        return struct.pack("!IHBB", 6 << 28, len(icmp), 58, hops) + source + target + icmp

    def answers(self, target: str, seconds: float = 0.2) -> set[str]:
        """Ask for an address in all ways; return which were answered: "arp" or "ndp", and "ping"."""
        address = ip_address(target)
        self.heard()
        self.send(self.arp(1, str(PEER4), target) if address.version == 4 else self.solicitation(target))
        self.send(self.echo(target))
        found: set[str] = set()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and len(found) < 2:
            self.wait(left)
            found.update(filter(None, (what(frame, address.packed) for frame in self.heard())))
        return found


def what(frame: bytes, packed: bytes) -> str:
    """What a frame of the machine answers about an address: "arp", "ndp", "ping" or ""."""
    if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\0\2" and frame[28:32] == packed:
        return "arp"
    if frame[12:14] == b"\x86\xdd" and frame[54] == 136 and frame[62:78] == packed and frame[58] & 0x40:
        return "ndp"
    if frame[12:14] == b"\x86\xdd" and frame[54] == 129 and frame[22:38] == packed:
        return "ping"
    if frame[12:14] == b"\x08\x00" and frame[23] == 1 and frame[34] == 0 and frame[26:30] == packed:
        return "ping"
    return ""


def checksum(data: bytes) -> bytes:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)


@pytest.fixture
def wire() -> None:
    """Made in the namespace, by `run_inside`."""


@pytest.fixture
def shell() -> Callable[[str], str]:
    """`run`, for tests in namespaces."""
    return run
