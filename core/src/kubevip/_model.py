"""The values that describe what is wanted: what a source publishes and the core brings about.

All are immutable and compare by value. Where in a file something was written (`places`) never takes part in a
comparison, so a comment added above a virtual IP changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from types import MappingProxyType
from typing import NewType

from attrs import field, frozen

from kubevip._persistent import PersistentMap

IPAddress = IPv4Address | IPv6Address

#: A TCP or UDP port, 1-65535; structured from an integer.
Port = NewType("Port", int)

#: A time span in seconds; structured from "150ms", "5s", "1m30s", "1h".
Duration = NewType("Duration", float)

#: Where something stands within a value: keys in the user's own spelling and list indices.
Path = tuple[str | int, ...]

EMPTY: Mapping[str, object] = MappingProxyType({})


def show_path(path: Path) -> str:
    """Write a path as users know it: ("loadBalancers", 0, "port") is "loadBalancers[0].port"."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


class Severity(enum.Enum):
    """How much a problem weighs: an error refuses the object, a warning is told and lived with."""

    ERROR = "error"
    WARNING = "warning"


@frozen(kw_only=True)
class Place:
    """Where a value was written: a file, a line, a full path.

    Lines count from 1; 0 means not in a file: an option, a variable of the environment.
    """

    file: str
    line: int = 0
    path: Path = ()

    def __str__(self) -> str:
        """Show as "config.yaml:23: loadBalancers[0].port"."""
        start = f"{self.file}:{self.line}" if self.line else self.file
        return f"{start}: {show_path(self.path)}" if self.path else start


@frozen(kw_only=True)
class Problem:
    """One thing that is wrong, where, and what to do: "config.yaml:23: loadBalancers[0].port: expected ..."."""

    place: Place
    message: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        """Show as "file:line: path: message"."""
        return f"{self.place}: {self.message}"


@frozen(kw_only=True, eq=False)
class Places:
    """The places of one object and of what is inside it, by path relative to the object.

    `inner` may be that of a whole file; then `base` is where in it the object stands.
    """

    root: Place = Place(file="(built in)")
    inner: Mapping[Path, Place] = field(factory=dict[Path, Place])
    base: Path = ()

    def at(self, *path: str | int) -> Place:
        """Return the place of `path`; of the nearest enclosing value that has one, if that was not written down itself.

        The result always bears the full path that was asked for.
        """
        full = self.root.path + path
        known = path
        while known:
            if (place := self.inner.get(self.base + known)) is not None:
                return Place(file=place.file, line=place.line, path=full if known != path else place.path)
            known = known[:-1]
        return Place(file=self.root.file, line=self.root.line, path=full)

    def below(self, *path: str | int) -> Places:
        """Return the places of the value at `path`, relative to it; in constant time, so that items may be many."""
        return Places(root=self.at(*path), inner=self.inner, base=self.base + path)

    def problem(self, message: str, *path: str | int, severity: Severity = Severity.ERROR) -> Problem:
        """Make a problem of the value at `path`."""
        return Problem(place=self.at(*path), message=message, severity=severity)


class Kind(enum.Enum):
    """What a provider provides; the value is the word of the command line and of messages."""

    ELECTION = "election"
    ANNOUNCER = "announcer"
    PROXY = "proxy"
    SOURCE = "source"
    AGENT = "agent"
    CHECK = "check"
    OBSERVER = "observer"


@frozen(kw_only=True)
class Section:
    """What the user wrote for one provider, raw, in the user's own spelling.

    The core structures it with `Provider.config`, so a source never imports the plugin that it configures.
    """

    provider: str
    data: Mapping[str, object] = EMPTY
    places: Places = field(factory=Places, eq=False)


@frozen(kw_only=True)
class Instance:
    """A configured provider: `elections: {services: {type: k8s, ...}}` is the election "services" of provider "k8s"."""

    kind: Kind
    name: str
    section: Section


@frozen(kw_only=True)
class Member:
    """A machine of the cluster that the configuration names. The address is the one it listens on for its peers."""

    name: str
    address: IPAddress


@frozen(kw_only=True)
class Placement:
    """Where a group would rather be held: preferred nodes in order, seconds until it returns there (None: never)."""

    prefer: tuple[str, ...] = ()
    fail_back_seconds: float | None = None
    weight: int = 1


@frozen(kw_only=True)
class NodeCheck:
    """What a node has to pass, again and again, to be fit for a group. `check` names an instance.

    It is asked every `interval_seconds` and has `timeout_seconds` to answer. `fall` bad answers in a row make the node
    unfit, `rise` good ones make it fit again; the first answer after a start counts by itself.
    """

    check: str
    interval_seconds: float = 2.0
    timeout_seconds: float = 1.0
    rise: int = 2
    fall: int = 3


@frozen(kw_only=True)
class Group:
    """One leadership: its virtual IPs are held together by one node. `election` names an instance."""

    name: str
    election: str
    placement: Placement = Placement()
    health_check: NodeCheck | None = None
    places: Places = field(factory=Places, eq=False)


@frozen(kw_only=True)
class VirtualIP:
    """An address that exactly one node holds.

    `interface` is a device name or "auto": the device whose subnet holds the address, else the default route's.
    `announcers` names instances, outermost first. `options` holds a section per announcer that has something to say
    of this item.
    """

    name: str
    address: IPAddress
    group: str
    interface: str = "auto"
    announcers: tuple[str, ...] = ("address", "arp")
    options: Mapping[str, object] = field(factory=dict[str, object])
    places: Places = field(factory=Places, eq=False)


@frozen(kw_only=True)
class Backend:
    """Where a load balancer sends connections; `weight` is a share, 1-256; `url` is set where one was given."""

    address: str
    port: int
    weight: int = 1
    url: str | None = None

    def __str__(self) -> str:
        """Show as "192.168.0.81:8080" or "[2001:db8::1]:8080"."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


@frozen(kw_only=True)
class LoadBalancer:
    """A port that is balanced over backends.

    `bind_to` names virtual IPs: the listener is there while this node holds them; empty: every address of every node,
    always. `protocol` is what the user calls type ("tcp"); `proxy` names the proxy instance.
    """

    name: str
    protocol: str
    proxy: str
    port: int
    bind_to: tuple[str, ...] = ()
    backends: tuple[Backend, ...] = ()
    health_check: Section | None = None
    drain_seconds: float = 10.0
    options: Mapping[str, object] = field(factory=dict[str, object])
    places: Places = field(factory=Places, eq=False)


@frozen(kw_only=True)
class AgentItem:
    """An agent that runs: on every node, or on the node that leads `group`."""

    name: str
    group: str | None = None
    places: Places = field(factory=Places, eq=False)


@frozen(kw_only=True)
class Desired:
    """Everything one source wants, or all sources together. Names are unique within each tuple.

    `members` are the machines that the configuration names, from which a node learns its own name; `node_name` is set
    where the file itself says who this machine is. `cluster` is the free name of the whole.
    """

    instances: tuple[Instance, ...] = ()
    groups: tuple[Group, ...] = ()
    vips: tuple[VirtualIP, ...] = ()
    load_balancers: tuple[LoadBalancer, ...] = ()
    agents: tuple[AgentItem, ...] = ()
    members: tuple[Member, ...] = ()
    parts: PersistentMap[str, Desired] = field(factory=PersistentMap[str, "Desired"])
    """What else is wanted, for sources of thousands of items. A part lists items that refer to nothing but one another
    and what is listed above; its load balancers are bound. A snapshot that has parts in common with the one before, as
    the same objects under the same names, costs what differs, however many there are. What two parts have in common by
    mistake, a name or an address, is decided as if it were listed: above first, then in the order of their names."""
    cluster: str = ""
    node_name: str | None = None
    form: str = field(default="", eq=False)
    """What the source calls the form of the text ("native"), for people."""
    digest: str = ""
    """Eight hexadecimal digits that name what all nodes have to want alike; differs between nodes only where that does,
    whatever else is different in their files."""
    text_digest: str = ""
    """Names the text that this was read from, by which its source knows it again; "" where there is none."""
