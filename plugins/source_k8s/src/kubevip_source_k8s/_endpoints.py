"""Which backends a port of a Service has: EndpointSlices, or Endpoints where a cluster has only those.

Pure. A port of a Service is found among the ports of its endpoints by its name, which both bear, and its protocol; the
numbers differ, because an endpoint's is the target port. Where the Service is not known, and with it the name, the only
port of the protocol is taken, then the one of the same number.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from sys import intern
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip import Backend
from kubevip_source_k8s._fields import inner, number, objects, text, texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kubevip_k8s import JsonObject

#: The label of an EndpointSlice that names its Service.
SERVICE_NAME = "kubernetes.io/service-name"


@frozen(kw_only=True)
class ServicePort:
    """A port of a Service: `name` is None where the Service is not known, "" where its only port has none."""

    number: int
    protocol: str = "TCP"
    name: str | None = None


@frozen(kw_only=True)
class Endpoint:
    """One address that may serve, and at which ports (name, protocol, number).

    `is_serving` is whether it answers; `is_ready` whether it wants new connections, which one that is terminating does
    not.
    """

    address: str
    node: str = ""
    is_ready: bool = True
    is_serving: bool = True
    ports: tuple[tuple[str, str, int], ...] = ()


def endpoints_of_slice(value: JsonObject) -> tuple[Endpoint, ...]:
    """Return the endpoints of an EndpointSlice, in order of their addresses, each once."""
    found: list[Endpoint] = []
    ports = _shared(tuple(_ports(objects(value, "ports"))))
    for item in objects(value, "endpoints"):
        conditions, node = inner(item, "conditions"), intern(text(item, "nodeName"))
        # discovery/v1: ready absent means unknown, to be taken for true; serving defaults to ready
        is_ready = conditions.get("ready") is not False
        serving = conditions.get("serving")
        is_serving = is_ready if serving is None else serving is True
        found += (
            Endpoint(address=address, node=node, is_ready=is_ready, is_serving=is_serving, ports=ports)
            for address in texts(item, "addresses")
        )
    return _ordered(found)


def endpoints_of_endpoints(value: JsonObject) -> tuple[Endpoint, ...]:
    """Return the endpoints of an Endpoints object, which says nothing of terminating ones."""
    found: list[Endpoint] = []
    for subset in objects(value, "subsets"):
        ports = _shared(tuple(_ports(objects(subset, "ports"))))
        for field, is_ready in (("addresses", True), ("notReadyAddresses", False)):
            found += (
                Endpoint(
                    address=text(item, "ip"),
                    node=intern(text(item, "nodeName")),
                    is_ready=is_ready,
                    is_serving=is_ready,
                    ports=ports,
                )
                for item in objects(subset, field)
            )
    return _ordered(found)


def all_of(parts: Sequence[tuple[Endpoint, ...]]) -> tuple[Endpoint, ...]:
    """Return the endpoints that several objects say of one Service, in order of their addresses, each once."""
    return parts[0] if len(parts) == 1 else _ordered(endpoint for part in parts for endpoint in part)


def _joined(one: Endpoint, other: Endpoint) -> Endpoint:
    """Put two mentions of an address together: a slice may be copied while it is moved, or list other ports."""
    return Endpoint(
        address=one.address,
        node=one.node or other.node,
        is_ready=one.is_ready or other.is_ready,
        is_serving=one.is_serving or other.is_serving,
        ports=tuple(dict.fromkeys((*one.ports, *other.ports))),
    )


def _ports(listed: Iterable[JsonObject]) -> Iterator[tuple[str, str, int]]:
    for port in listed:
        if 1 <= (value := number(port, "port")) <= 65535:
            yield text(port, "name"), text(port, "protocol") or "TCP", value


@lru_cache(maxsize=1024)
def _shared(ports: tuple[tuple[str, str, int], ...]) -> tuple[tuple[str, str, int], ...]:
    """Return the same object for equal ports, which most Services have in common."""
    return ports


def _ordered(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    found: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        known = found.get(endpoint.address)
        found[endpoint.address] = endpoint if known is None else _joined(known, endpoint)
    kept: list[tuple[tuple[int, int], Endpoint]] = []
    for address, endpoint in found.items():
        try:
            parsed = ip_address(address)
        except ValueError:  # a slice of addressType FQDN, or nonsense
            continue
        if not (parsed.is_unspecified or parsed.is_multicast or parsed.is_loopback or parsed.is_link_local):
            kept.append(((parsed.version, int(parsed)), endpoint))
    return tuple(endpoint for _, endpoint in sorted(kept, key=lambda pair: pair[0]))


def active(endpoints: Sequence[Endpoint]) -> tuple[Endpoint, ...]:
    """Return those that take new connections.

    They are the ready ones; where none is, those that are terminating and still answer (KEP-1669), rather than nobody.
    """
    return tuple(it for it in endpoints if it.is_ready) or tuple(it for it in endpoints if it.is_serving)


def backends_of(endpoints: Sequence[Endpoint], port: ServicePort, version: int = 4) -> tuple[tuple[Backend, ...], str]:
    """Return the backends of one port, and why there are none where its endpoints do not say which port that is.

    :param version: of the virtual IP; addresses of the other family serve where there are none of this one.
    """
    taking = active(endpoints)
    matched = [(it, _matching(it.ports, port)) for it in taking]
    found = [(it, value) for it, value in matched if value is not None]
    if taking and not found:
        offered = ", ".join(
            sorted({f"{name or '(no name)'} {value}/{protocol}" for it in taking for name, protocol, value in it.ports})
        )
        wanted = f"{port.name} " if port.name else ""
        return (), f"no endpoint has port {wanted}{port.number}/{port.protocol}; they have {offered or 'none'}"
    same = [pair for pair in found if (":" in pair[0].address) == (version == 6)]
    return tuple(Backend(address=it.address, port=value) for it, value in same or found), ""


def _matching(ports: Sequence[tuple[str, str, int]], wanted: ServicePort) -> int | None:
    of_protocol = [(name, value) for name, protocol, value in ports if protocol == wanted.protocol]
    if wanted.name is not None:
        return next((value for name, value in of_protocol if name == wanted.name), None)
    if len(of_protocol) == 1:
        return of_protocol[0][1]
    return next((value for _, value in of_protocol if value == wanted.number), None)
