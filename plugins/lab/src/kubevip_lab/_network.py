"""The lab's network: hosts on one switch, and what can go wrong with their links.

The switch is a bridge in the namespace of the process that builds it, which must be the first process of a sandbox
(`_sandbox.call`): there is then no device of the machine in sight. Each host is a namespace without a name, held by
an open descriptor, and joined to the bridge by a pair of virtual Ethernet devices, `e0` on the host and the host's
name on the switch.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field
from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab import _kernel
from kubevip_lab._host import DEVICE, Host

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

SUBNET = IPv4Network("10.77.0.0/24")

# A host of the lab answers for its own address only, whatever the distribution's defaults are; short-lived
# connections of the probers need ports.
_SETTINGS = {
    "ipv4/tcp_congestion_control": "reno",
    "ipv4/ip_local_port_range": "1024 65500",
    "ipv4/tcp_max_syn_backlog": "65536",
    "ipv4/tcp_tw_reuse": "1",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
}

_ETH_P_ARP = 0x0806
_BRIDGE = "switch"
_TABLE = "lab"
_NFPROTO_BRIDGE = 7
_META_IIFNAME, _META_OIFNAME = 6, 7
_NF_DROP, _NF_ACCEPT = 0, 1
_VERDICT_REGISTER, _REGISTER_1 = 0, 1
_EQUAL = 0
_IFNAMSIZ = 16


@define
class Network:
    """Hosts on a switch. Made by `open_network`."""

    hosts: dict[str, Host] = field(factory=dict[str, Host])
    _route: Any = None  # pyroute2 is untyped
    _bridge: int = 0

    def add_host(self, name: str, address: IPv4Address) -> Host:
        """Add a host with `address` in the lab's subnet; its link is up."""
        if address not in SUBNET or name in self.hosts:
            raise ValueError(f"host {name} with {address}: not a new host of {SUBNET}")
        mac = "02:00:" + ":".join(f"{octet:02x}" for octet in address.packed)
        host = Host(name=name, address=address, mac=mac, namespace=_new_namespace())
        with _translated(f"add host {name}"):
            self._route.link(
                "add", ifname=name, kind="veth", peer={"ifname": DEVICE, "net_ns_fd": host.namespace, "address": mac}
            )
            self._route.link("set", index=self._port(name), master=self._bridge, state="up")
            with host.entered():
                _apply(_SETTINGS)
                with IPRoute() as route:
                    inside: Any = route
                    device = inside.link_lookup(ifname=DEVICE)[0]
                    inside.addr("add", index=device, address=str(address), prefixlen=SUBNET.prefixlen)
                    inside.link("set", index=device, state="up")
                    inside.link("set", index=inside.link_lookup(ifname="lo")[0], state="up")
        self.hosts[name] = host
        return host

    def add_spy(self, name: str) -> None:
        """Give the host a second device, which no fault touches.

        It has no address. Linux answers ARP for an address of the host on any device, so that what is asked here
        (`spy_socket`) is answered exactly when the host would answer it on its link, be that up or not.
        """
        with _translated(f"give {name} a second device"):
            port, host = f"spy-{name}", self.hosts[name]
            self._route.link("add", ifname=port, kind="veth", peer={"ifname": "spy", "net_ns_fd": host.namespace})
            self._route.link("set", index=self._port(port), state="up")
            with host.entered(), IPRoute() as route:
                inside: Any = route
                inside.link("set", index=inside.link_lookup(ifname="spy")[0], state="up")

    def spy_socket(self, name: str) -> socket.socket:
        """Return a new socket for ARP at the other end of the device that `add_spy` made."""
        packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        packets.bind((f"spy-{name}", _ETH_P_ARP))
        return packets

    def cut(self, name: str) -> None:
        """Take the host's link down at the switch; the host sees that its carrier is lost."""
        with _translated(f"cut the link of {name}"):
            self._route.link("set", index=self._port(name), state="down")

    def restore(self, name: str) -> None:
        """Take the host's link up again."""
        with _translated(f"restore the link of {name}"):
            self._route.link("set", index=self._port(name), state="up")

    def forget_addresses(self, name: str) -> None:
        """Take off the host every address that it was not built with, as a reboot would."""
        host = self.hosts[name]
        with _translated(f"take addresses off {name}"), host.entered(), IPRoute() as route:
            inside: Any = route
            device = inside.link_lookup(ifname=DEVICE)[0]
            for message in inside.get_addr(index=device, family=socket.AF_INET):
                if (address := message.get_attr("IFA_ADDRESS")) != str(host.address):
                    inside.addr("del", index=device, address=address, prefixlen=message["prefixlen"])

    def partition(self, name: str, others: Iterable[str], *, is_one_way: bool = False) -> None:
        """Drop every frame between the host and `others`; everybody else still reaches all of them.

        With `is_one_way` what they send to it arrives. Replaces an earlier partition.
        """
        self.heal()
        with _translated(f"part {name} from other hosts"), _nft() as nft:
            nft.table("add", name=_TABLE)
            nft.chain("add", table=_TABLE, name="forward", hook="forward", type="filter", policy=_NF_ACCEPT)
            for other in others:
                for source, target in ((name, other), (other, name))[: 1 if is_one_way else 2]:
                    nft.rule("add", table=_TABLE, chain="forward", expressions=_drop(source, target))

    def heal(self) -> None:
        """End a partition, if there is one."""
        with _translated("end a partition"), _nft() as nft:
            try:
                nft.table("del", name=_TABLE)
            except NetlinkError as error:
                if error.code != errno.ENOENT:
                    raise

    def host_of(self, mac: str) -> str | None:
        """Return the name of the host with the hardware address `mac` ("02:00:..."), if it is one of ours."""
        return next((host.name for host in self.hosts.values() if host.mac == mac), None)

    def _port(self, name: str) -> int:
        return int(self._route.link_lookup(ifname=name)[0])


@contextmanager
def open_network() -> Generator[Network]:
    """Build an empty network. It goes when left, the hosts once nothing runs on them.

    :raises NotPermittedError: the kernel refuses bridges, virtual Ethernet or an address, or has none.
    """
    if os.getpid() != 1:
        raise RuntimeError("a network is built inside a sandbox only: what is here belongs to the machine")
    network = Network()
    with IPRoute() as route:
        plain: Any = route
        try:
            with _translated("create a bridge"):
                plain.link("add", ifname=_BRIDGE, kind="bridge")
                bridge = int(plain.link_lookup(ifname=_BRIDGE)[0])
                plain.link("set", index=bridge, state="up")
            # Where a firewall is asked about bridged frames, the lab's must pass (per namespace since Linux 5.3).
            _apply({f"bridge/bridge-nf-call-{kind}": "0" for kind in ("arptables", "iptables", "ip6tables")})
            network._route, network._bridge = plain, bridge
            yield network
        finally:
            # A namespace goes with its last descriptor and process, its devices with it, but not at once: what is here
            # goes now, so that another network can be built.
            for host in network.hosts.values():
                for name in (host.name, f"spy-{host.name}"):
                    for index in plain.link_lookup(ifname=name):
                        with suppress(NetlinkError):
                            plain.link("del", index=index)
                os.close(host.namespace)
            with suppress(NetlinkError):
                plain.link("del", index=network._bridge)


def _new_namespace() -> int:
    home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _kernel.unshare(_kernel.CLONE_NEWNET)
        try:
            return os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            _kernel.setns(home, _kernel.CLONE_NEWNET)
    finally:
        os.close(home)


def _apply(settings: dict[str, str]) -> None:
    """Write sysctls of the namespace this process is in; a kernel that lacks one goes without."""
    for name, value in settings.items():
        with suppress(OSError):
            Path("/proc/sys/net", name).write_text(value)


@contextmanager
def _nft() -> Generator[Any]:
    with NFTables(nfgen_family=_NFPROTO_BRIDGE) as nft:
        yield nft


def _drop(source: str, target: str) -> tuple[Any, ...]:
    """Match frames that came in on port `source` and go out on port `target`, and drop them."""

    def matches(key: int, name: str) -> list[Any]:
        value = {"attrs": [("NFTA_DATA_VALUE", name.encode().ljust(_IFNAMSIZ, b"\0"))]}
        return [
            _expression("meta", NFTA_META_KEY=key, NFTA_META_DREG=_REGISTER_1),
            _expression("cmp", NFTA_CMP_SREG=_REGISTER_1, NFTA_CMP_OP=_EQUAL, NFTA_CMP_DATA=value),
        ]

    drop = {"attrs": [("NFTA_DATA_VERDICT", {"attrs": [("NFTA_VERDICT_CODE", _NF_DROP)]})]}
    return (
        matches(_META_IIFNAME, source),
        matches(_META_OIFNAME, target),
        [_expression("immediate", NFTA_IMMEDIATE_DREG=_VERDICT_REGISTER, NFTA_IMMEDIATE_DATA=drop)],
    )


def _expression(name: str, **attributes: object) -> dict[str, Any]:
    data = {"attrs": list(attributes.items())}
    return {"attrs": [("NFTA_EXPR_NAME", name), ("NFTA_EXPR_DATA", data)]}


@contextmanager
def _translated(what: str) -> Generator[None]:
    try:
        yield
    except NetlinkError as error:
        code: int = error.code  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        message = f"this machine refuses to {what}: {os.strerror(code)}"
        if code in (errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOENT):
            raise NotPermittedError(message) from error
        raise KubevipError(message) from error
