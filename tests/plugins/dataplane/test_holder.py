"""Reading of /proc/net/tcp, on lines as kernels write them (little endian)."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from kubevip_dataplane._holder import ListeningSocket, find_holder, parse_sockets

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the sample is little endian")

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
LINES4 = """\
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 101 1 0 100 0 0 10 0
   1: 4B00A8C0:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 102 1 0 100 0 0 10 0
   2: 4B00A8C0:192B 4600A8C0:9C40 01 00000000:00000000 00:00000000 00000000     0        0 103 1 0 100 0 0 10 0
"""
LINES6 = """\
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 201 1 0
   1: B80D0120000000000000000075000000:192B 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 202 1 0
   2: 0000000000000000FFFF00000100007F:1F91 00000000000000000000000000000000:0000 0A 0:0 00:0 0 0 0 203 1 0
"""


def test_what_listens_is_read() -> None:
    def found(address: str, port: int, inode: int) -> ListeningSocket:
        return ListeningSocket(address=ip_address(address), port=port, inode=inode)

    assert list(parse_sockets(HEADER + LINES4)) == [found("127.0.0.1", 8080, 101), found("192.168.0.75", 6443, 102)]
    assert list(parse_sockets(HEADER + LINES6)) == [
        found("::", 80, 201),
        found("2001:db8::75", 6443, 202),
        found("127.0.0.1", 8081, 203),
    ]


@pytest.mark.parametrize(
    ("holder", "wanted", "is_in_the_way"),
    [
        ("192.168.0.75", "192.168.0.75", True),
        ("192.168.0.75", "192.168.0.76", False),
        ("192.168.0.75", None, True),
        ("0.0.0.0", "192.168.0.75", True),
        ("::", "192.168.0.75", True),  # unless it is bound to IPv6 only, which the table does not tell
        ("0.0.0.0", "2001:db8::75", False),
        ("::", "2001:db8::75", True),
    ],
)
def test_what_stands_in_the_way(holder: str, wanted: str | None, is_in_the_way: bool) -> None:
    found = ListeningSocket(address=ip_address(holder), port=80, inode=1)
    address = ip_address(wanted) if wanted is not None else None
    assert found.stands_in_the_way_of(address, 80) is is_in_the_way
    assert not found.stands_in_the_way_of(address, 81)


def test_a_port_that_nobody_has_has_no_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert find_holder(ip_address("127.0.0.1"), port) == ""


def test_this_process_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as own:
        place = f"127.0.0.1:{own.getsockname()[1]}"
        found = find_holder(ip_address("127.0.0.1"), own.getsockname()[1])
    assert found == f"another load balancer of this kubevip listens on {place}"
    assert Path("/proc/self").exists()
