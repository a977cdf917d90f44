from __future__ import annotations

import socket
import struct
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from kubevip_lab._network import SUBNET, Network, open_network
from kubevip_lab._sandbox import call

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address

pytestmark = pytest.mark.netns

# One datagram there, one back: what ping would do, without needing it.
PING = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
    raw.settimeout(0.5)
    try:
        raw.sendto(b"\\x08\\0\\xf7\\xff\\0\\0\\0\\0", (sys.argv[1], 0))
        while raw.recv(100)[20]:
            pass
    except OSError:
        raise SystemExit(1)
"""


@contextmanager
def four_hosts() -> Iterator[Network]:
    with open_network() as network:
        for number, name in enumerate(("n1", "n2", "n3", "client"), start=11):
            network.add_host(name, SUBNET[number])
        yield network


def reaches(network: Network, source: str, target: str) -> bool:
    import sys

    arguments = [sys.executable, "-I", "-c", PING, str(network.hosts[target].address)]
    return network.hosts[source].start(arguments).wait() == 0


def who_reaches_whom(network: Network) -> list[str]:
    pairs = [(a, b) for a in network.hosts for b in network.hosts if a < b]
    return [f"{a}-{b}" for a, b in pairs if reaches(network, a, b)]


EVERYBODY = ["n1-n2", "n1-n3", "n2-n3", "client-n1", "client-n2", "client-n3"]


def reachable_after(*changes: Callable[[Network], None]) -> list[str]:
    def body() -> list[str]:
        with four_hosts() as network:
            for change in changes:
                change(network)
            return who_reaches_whom(network)

    return call(body)


def test_every_host_reaches_every_other() -> None:
    assert sorted(reachable_after()) == sorted(EVERYBODY)


def test_a_cut_host_is_reached_by_nobody() -> None:
    assert sorted(reachable_after(lambda network: network.cut("n1"))) == ["client-n2", "client-n3", "n2-n3"]


def test_a_parted_node_is_reached_by_clients_only() -> None:
    found = reachable_after(lambda network: network.partition("n1", ("n2", "n3")))

    assert sorted(found) == ["client-n1", "client-n2", "client-n3", "n2-n3"]


def test_a_second_partition_replaces_the_first() -> None:
    found = reachable_after(
        lambda network: network.partition("n1", ("n2", "n3")),
        lambda network: network.partition("n2", ("n1", "n3")),
    )

    assert sorted(found) == ["client-n1", "client-n2", "client-n3", "n1-n3"]


def test_nothing_passes_one_way_while_the_other_is_open() -> None:
    def body() -> list[bool]:
        with four_hosts() as network:
            network.partition("n1", ("n2",), is_one_way=True)
            return [passes(network, "n1", "n2"), passes(network, "n2", "n1"), passes(network, "n1", "n3")]

    assert call(body) == [False, True, True]


def passes(network: Network, source: str, target: str) -> bool:
    kind = 0x88B5  # IEEE 802: for local experiments
    with network.hosts[target].entered():
        receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    with network.hosts[source].entered():
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sender.bind(("e0", kind))
    with receiver, sender:
        receiver.settimeout(0.3)
        mac = bytes.fromhex(network.hosts[source].mac.replace(":", ""))
        sender.send(b"\xff" * 6 + mac + kind.to_bytes(2, "big") + b"hello")
        try:
            return receiver.recv(100)[14:19] == b"hello"
        except TimeoutError:
            return False


def test_a_spy_is_answered_for_the_addresses_of_its_host_though_its_link_is_cut() -> None:
    def body() -> list[bool]:
        with four_hosts() as network:
            network.add_spy("n1")
            network.cut("n1")
            with network.spy_socket("n1") as spy:
                spy.settimeout(0.3)
                return [is_held(spy, network.hosts[name].address) for name in ("n1", "n2")]

    assert call(body) == [True, False]


def is_held(spy: socket.socket, address: IPv4Address) -> bool:
    mac: bytes = spy.getsockname()[4]
    header = b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
    spy.send(header + mac + bytes((10, 77, 0, 200)) + bytes(6) + address.packed)
    try:
        while spy.recv(100)[20:22] != b"\0\2":
            pass
    except TimeoutError:
        return False
    return True


def test_a_host_forgets_the_addresses_that_it_was_not_built_with() -> None:
    def body() -> list[str]:
        with four_hosts() as network:
            add = ["ip", "address", "add", "10.77.0.100/32", "dev", "e0"]
            assert network.hosts["n1"].start(add).wait() == 0
            network.forget_addresses("n1")
            shown = network.hosts["n1"].start(["ip", "-4", "-o", "address"], output=subprocess.PIPE).communicate()[0]
            return [line.split()[3] for line in shown.decode().splitlines()]

    assert call(body) == ["127.0.0.1/8", "10.77.0.11/24"]


def test_a_second_network_can_be_built_where_the_first_was() -> None:
    def body() -> int:
        for _ in range(2):
            with four_hosts() as network:
                network.add_spy("n1")
                count = len(network.hosts)
        return count

    assert call(body) == 4


@pytest.mark.parametrize(
    ("fault", "repair"),
    [
        (lambda network: network.cut("n1"), lambda network: network.restore("n1")),
        (lambda network: network.partition("n1", ("n2", "n3")), lambda network: network.heal()),
        (lambda network: network.heal(), lambda network: network.heal()),
    ],
    ids=["cut", "partition", "heal without a partition"],
)
def test_a_repair_is_complete(fault: Callable[[Network], None], repair: Callable[[Network], None]) -> None:
    assert sorted(reachable_after(fault, repair)) == sorted(EVERYBODY)


def test_a_process_of_a_host_has_its_name_and_sees_its_device_only() -> None:
    def body() -> str:
        with four_hosts() as network:
            process = network.hosts["n2"].start(["sh", "-c", "hostname; ls /sys/class/net"], output=subprocess.PIPE)
            return process.communicate()[0].decode()

    assert call(body).split() == ["n2", "e0", "lo"]


def test_a_host_is_known_by_its_hardware_address() -> None:
    def body() -> list[str | None]:
        with four_hosts() as network:
            process = network.hosts["n3"].start(["cat", "/sys/class/net/e0/address"], output=subprocess.PIPE)
            return [network.host_of(process.communicate()[0].decode().strip()), network.host_of("02:00:00:00:00:00")]

    assert call(body) == ["n3", None]


def test_a_network_is_built_in_a_sandbox_only() -> None:
    with pytest.raises(RuntimeError, match="inside a sandbox only"), open_network():
        pass
