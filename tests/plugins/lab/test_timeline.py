from __future__ import annotations

import struct
from datetime import UTC, datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from kubevip_lab._timeline import describe, write_timeline

VIP = IPv4Address("10.77.0.100")
NODE, CLIENT, NOBODY = IPv4Address("10.77.0.11"), IPv4Address("10.77.0.2"), IPv4Address(0)
MACS = bytes(12)


def arp(operation: int, sender: IPv4Address, target: IPv4Address) -> bytes:
    head = struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, operation)
    return MACS + head + bytes(6) + sender.packed + bytes(6) + target.packed


def ip(protocol: int, source: IPv4Address, target: IPv4Address, body: bytes, size: int = 0) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body) + size, 0, 0, 64, protocol, 0)
    return MACS + b"\x08\0" + head + source.packed + target.packed + body


def tcp(source: IPv4Address, target: IPv4Address, port: int, flags: int, size: int) -> bytes:
    return ip(6, source, target, struct.pack("!HHIIBBHHH", 40_000, port, 0, 0, 5 << 4, flags, 0, 0, 0), size)


@pytest.mark.parametrize(
    ("frame", "text"),
    [
        (arp(1, VIP, VIP), "arp announcement of 10.77.0.100, request form"),
        (arp(2, VIP, VIP), "arp announcement of 10.77.0.100, reply form"),
        (arp(1, NOBODY, VIP), "arp probe for 10.77.0.100"),
        (arp(1, CLIENT, VIP), ""),
        (arp(2, VIP, CLIENT), ""),
        (arp(1, VIP, CLIENT), ""),
        (ip(1, CLIENT, VIP, b"\x08\0"), "icmp type 8 10.77.0.2 > 10.77.0.100"),
        (tcp(NODE, CLIENT, 10_000, 0x02, 0), "tcp 10.77.0.11:40000 > 10.77.0.2:10000 S 0"),
        (tcp(NODE, CLIENT, 10_000, 0x18, 99), "tcp 10.77.0.11:40000 > 10.77.0.2:10000 PA 99"),
        (tcp(NODE, CLIENT, 10_000, 0x10, 0), ""),
        (tcp(CLIENT, VIP, 80, 0x02, 0), ""),
        (tcp(NODE, CLIENT, 8080, 0x02, 0), ""),
        (MACS + b"\x86\xdd" + bytes(40), ""),
        (MACS + b"\x08\x06", ""),
        (MACS + b"\x08\0" + bytes(4), ""),
    ],
)
def test_a_frame_is_one_line_or_left_out(frame: bytes, text: str) -> None:
    assert describe(frame, VIP) == text


def test_frames_and_log_lines_stand_in_order_of_time(tmp_path: Path) -> None:
    at = datetime(2026, 11, 22, 10, 15, 2, 100_000, UTC)
    log = tmp_path / "n1.log"
    log.write_text(
        "2026-11-22T10:15:01.000Z INFO too early\n"
        "2026-11-22T10:15:02.103Z INFO raft leading\n"
        "  the rest of a message\n"
        "2026-11-22T10:15:09.000Z INFO too late\n"
    )
    frames = [(at.timestamp() + 0.005, "n2", "second"), (at.timestamp() + 0.001, "n1", "first")]

    write_timeline(tmp_path / "round-1.txt", frames, [log], at, 1.0)

    lines = (tmp_path / "round-1.txt").read_text().splitlines()
    assert [line.split(maxsplit=1) for line in lines] == [
        ["1.0", "n1        first"],
        ["3.0", "n1 log    INFO raft leading"],
        ["5.0", "n2        second"],
    ]
