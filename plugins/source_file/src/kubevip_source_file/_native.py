"""The shape of the native format (`apiVersion: kubevip/v1`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from attrs import field, frozen
from attrs.validators import optional

from kubevip import Duration, IPAddress, Kind, Placement, Port
from kubevip_source_file._checks import (
    backend_url,
    free_text,
    host_address,
    interface_name,
    object_name,
    virtual_address,
)

API_VERSION = "kubevip/v1"

#: The sections of instances of providers, each by name.
KINDS: Mapping[str, Kind] = {
    "elections": Kind.ELECTION,
    "announcers": Kind.ANNOUNCER,
    "proxies": Kind.PROXY,
    "sources": Kind.SOURCE,
    "agents": Kind.AGENT,
    "observers": Kind.OBSERVER,
}

#: Keys of the format that a later version understands; "*" stands for any name or index.
LATER: tuple[tuple[str, ...], ...] = (("loadBalancers", "*", "healthCheck"),)

Sections = Mapping[str, Mapping[str, object] | None]

_NONE: Sections = MappingProxyType({})


@frozen(kw_only=True)
class NativeGroup:
    """An entry of `groups`; no election: the only one that is configured."""

    election: str = ""
    prefer: tuple[str, ...] = ()
    fail_back: Duration | Literal["never"] = "never"
    weight: int = 1
    health_check: Mapping[str, object] | None = None

    def __attrs_post_init__(self) -> None:
        if twice := sorted({name for name in self.prefer if self.prefer.count(name) > 1}):
            raise ValueError(f"prefer names {', '.join(twice)} more than once")
        if self.fail_back != "never" and not self.prefer:
            raise ValueError("failBack without prefer: there is nowhere to return to")
        if not 1 <= self.weight <= 256:
            raise ValueError(f"expected a weight of 1-256, got {self.weight}")

    @property
    def placement(self) -> Placement:
        """Where the group would rather be held."""
        seconds = None if self.fail_back == "never" else float(self.fail_back)
        return Placement(prefer=self.prefer, fail_back_seconds=seconds, weight=self.weight)


@frozen(kw_only=True)
class NativeHealthCheck:
    """The keys of `healthCheck` that are the same for every type; the others are the provider's."""

    type: str = field(validator=object_name)
    interval: Duration = field(default=Duration(2.0))
    timeout: Duration = field(default=Duration(1.0))
    rise: int = 2
    fall: int = 3

    def __attrs_post_init__(self) -> None:
        if not 0.1 <= self.interval <= 3600:
            raise ValueError(f"expected an interval of 100ms-1h, got {self.interval:g} s")
        if not 0.01 <= self.timeout <= self.interval:
            raise ValueError(f"expected a timeout of 10ms up to the interval, got {self.timeout:g} s")
        for key, count in (("rise", self.rise), ("fall", self.fall)):
            if not 1 <= count <= 100:
                raise ValueError(f"expected {key} of 1-100, got {count}")


#: What the sections of health checks share; the rest is the provider's.
HEALTH_CHECK_KEYS = ("type", "interval", "timeout", "rise", "fall")


@frozen(kw_only=True)
class NativeVirtualIP:
    """An entry of `virtualIPs`; no group: one of its own, of its name."""

    name: str = field(validator=object_name)
    address: IPAddress = field(validator=virtual_address)
    interface: str = field(default="auto", validator=interface_name)
    group: str | None = field(default=None, validator=optional(object_name))
    announce: tuple[str | Mapping[str, object], ...] = ("address", "arp")

    def __attrs_post_init__(self) -> None:
        if self.address.version == 6 and self.address.is_link_local and self.interface == "auto":
            raise ValueError(f"{self.address} is link-local: name the interface")
        if not self.announce:
            raise ValueError("announce lists nothing: without an announcer no machine would answer for the address")
        if self.name == "all":
            raise ValueError('a virtual IP cannot be called "all": bindTo uses the word')


@frozen(kw_only=True)
class NativeBackend:
    """An entry of `backends`: an address and port, a URL, or the members of an election and a port."""

    address: IPAddress | None = field(default=None, validator=host_address)
    url: str | None = None
    members: str | None = None
    port: Port | None = None
    weight: int = 1

    def __attrs_post_init__(self) -> None:
        if sum(way is not None for way in (self.address, self.url, self.members)) != 1:
            raise ValueError("expected one of address, url, members")
        if not 1 <= self.weight <= 256:
            raise ValueError(f"expected a weight of 1-256, got {self.weight}")
        if self.url is None:
            if self.port is None:
                raise ValueError('missing required key "port"')
            return
        port = backend_url(self.url).port
        if self.port is not None and self.port != port:
            raise ValueError(f"port {self.port} contradicts port {port} of the URL; leave one out")


@frozen(kw_only=True)
class NativeLoadBalancer:
    """An entry of `loadBalancers`, without the options of its provider."""

    name: str = field(validator=free_text)
    type: str = field(validator=object_name)
    port: Port
    bind_to: tuple[str, ...] | str
    proxy: str | None = None
    backends: tuple[NativeBackend, ...] = ()
    drain: Duration = field(default=Duration(10.0))


#: What cannot be the name of a section with options.
LOAD_BALANCER_KEYS = ("name", "type", "port", "bindTo", "proxy", "backends", "drain")


@frozen(kw_only=True)
class NativeFile:
    """A whole file; what is in its lists is looked at entry by entry, so that one bad entry hides no other."""

    api_version: Literal["kubevip/v1"]
    cluster: str = ""
    elections: Sections = _NONE
    announcers: Sections = _NONE
    proxies: Sections = _NONE
    sources: Sections = _NONE
    agents: Sections = _NONE
    observers: Sections = _NONE
    groups: Sections = _NONE
    virtual_ips: tuple[Mapping[str, object], ...] = field(default=(), metadata={"key": "virtualIPs"})
    load_balancers: tuple[Mapping[str, object], ...] = ()
