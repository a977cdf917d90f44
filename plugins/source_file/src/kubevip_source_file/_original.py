"""The shape of kube-vip's own configuration file (v0.1.5 to v0.1.7): its keys in any case, and what they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from attrs import field, frozen
from attrs.validators import optional

from kubevip import IPAddress, Place, Places, Port
from kubevip_source_file._checks import host_address, interface_name, object_name, virtual_address

if TYPE_CHECKING:
    from kubevip import Problem

#: Where a value stands: keys and indices.
Path = tuple[str | int, ...]


@frozen(kw_only=True)
class OriginalPeer:
    """A machine of the raft group."""

    id: str = field(validator=object_name)
    address: IPAddress = field(validator=host_address)
    port: Port = field(default=Port(10000))


@frozen(kw_only=True)
class OriginalBackend:
    """Where a load balancer sends connections: an address (or a URL in its place) and a port, or a URL."""

    address: str | None = None
    port: Port | None = None
    url: str | None = None
    raw_url: str | None = field(default=None, metadata={"key": "rawURL"})
    parsed_url: object = field(default=None, metadata={"key": "parsedURL"})
    """What kube-vip computed and printed with its samples; ignored."""


@frozen(kw_only=True)
class OriginalAddress:
    """The address of a backend that is no URL."""

    address: IPAddress = field(validator=host_address)


@frozen(kw_only=True)
class OriginalLoadBalancer:
    """A load balancer; its backends are looked at one by one."""

    name: str = ""
    type: str
    port: Port
    bind_to_vip: bool = False
    backend_port: int = 0
    """Where the peers listen that `addPeersAsBackends` adds; 0, which samples print, is as good as nothing."""
    backends: tuple[Mapping[str, object], ...] = ()


@frozen(kw_only=True)
class OriginalFile:
    """A whole file; what is in its lists is looked at entry by entry, so that one bad entry hides no other."""

    vip: IPAddress | None = field(default=None, validator=optional(virtual_address))
    interface: str = field(default="auto", validator=interface_name)
    gratuitous_arp: bool = field(default=False, metadata={"key": "gratuitousARP"})
    local_peer: Mapping[str, object] | None = None
    remote_peers: tuple[Mapping[str, object], ...] = ()
    single_node: bool = False
    start_as_leader: bool = False
    add_peers_as_backends: bool = False
    enable_leader_election: bool = False
    enable_load_balancer: bool = False
    load_balancers: tuple[Mapping[str, object], ...] = ()
    pki: str | None = None
    """Where the keys of this machine are: the one key that kube-vip does not know, whose peers have none."""


#: Keys as they are spelt here, for each place; "*" stands for an index.
KEYS: Mapping[Path, tuple[str, ...]] = {
    (): (
        "vip",
        "interface",
        "gratuitousARP",
        "localPeer",
        "remotePeers",
        "singleNode",
        "startAsLeader",
        "addPeersAsBackends",
        "enableLeaderElection",
        "enableLoadBalancer",
        "enablePacket",
        "packetAPIKey",
        "packetProject",
        "loadBalancers",
        "pki",
    ),
    ("localPeer",): ("id", "address", "port"),
    ("remotePeers", "*"): ("id", "address", "port"),
    ("loadBalancers", "*"): ("name", "type", "port", "bindToVip", "backendPort", "backends"),
    ("loadBalancers", "*", "backends", "*"): ("address", "port", "url", "rawURL", "parsedURL"),
}


def spell_keys(data: Mapping[str, object], places: Places) -> tuple[dict[str, object], Places, list[Problem]]:
    """Return `data` with known keys spelt as in `KEYS`, without null values; places still show the user's spelling.

    kube-vip's own samples spell them in several ways and print null for what is empty.
    """
    speller = _Speller(places)
    spelt = cast("dict[str, object]", speller.spell(data, (), (), ()))
    return spelt, Places(root=places.root, inner=speller.inner), speller.problems


class _Speller:
    def __init__(self, places: Places) -> None:
        self.places = places
        self.inner: dict[Path, Place] = {}
        self.problems: list[Problem] = []

    def spell(self, value: object, written: Path, spelt: Path, pattern: Path) -> object:
        """Return `value`, which stands at `written`, spelt for `spelt`; `pattern` is `spelt` with "*" for indices."""
        if written:
            self.inner[spelt] = self.places.at(*written)
        if isinstance(value, list):
            return [
                self.spell(entry, (*written, index), (*spelt, index), (*pattern, "*"))
                for index, entry in enumerate(cast("list[object]", value))
            ]
        if not isinstance(value, Mapping):
            return value
        known = {key.lower(): key for key in KEYS.get(pattern, ())}
        result: dict[str, object] = {}
        for key, inner in cast("Mapping[str, object]", value).items():
            name = known.get(key.lower(), key)
            if name in result:
                self.problems.append(self.places.problem(f"duplicate key: {name} is given already", *written, key))
            elif inner is not None:
                result[name] = self.spell(inner, (*written, key), (*spelt, name), (*pattern, name))
        return result
