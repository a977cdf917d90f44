"""What a Service of type LoadBalancer asks for.

Pure. Whether a Service is ours says its class; which addresses it gets say its annotation and its specification, never
its status: another controller may have written the addresses of nodes there, which must not be taken from them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip import Severity
from kubevip_source_k8s._addresses import read_address
from kubevip_source_k8s._endpoints import ServicePort
from kubevip_source_k8s._fields import inner, key_of, number, objects, text
from kubevip_source_k8s._wish import Wish, places_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubevip import IPAddress, Places, Problem
    from kubevip_k8s import JsonObject
    from kubevip_source_k8s._addresses import Network

#: kube-vip's own class, which Services name that are meant for it alone.
KUBE_VIP_CLASS = "kube-vip.io/kube-vip-class"
PREFIX = "kube-vip.io/"
#: How problems name a Service: this, its namespace, a slash and its name.
OWNER = "Service "
ADDRESSES, INTERFACE, IGNORE = "loadbalancerIPs", "serviceInterface", "ignore"

#: Annotations of kube-vip that would change what happens, and are not understood.
NOT_SUPPORTED = (
    "ddns",
    "egress",
    "forwardUPNP",
    "hwaddr",
    "loadbalancerHostname",
    "macvlanName",
    "requestedIP",
    "serviceVLAN",
)

#: As in the native format: the kernel's limit is 15 bytes.
_INTERFACE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")
#: More addresses than a dual-stack Service can use are a mistake.
MOST_ADDRESSES = 16
_PROTOCOLS = ("TCP", "UDP")


@frozen(kw_only=True)
class Rules:
    """Which Services are ours, what addresses they may have, and who balances.

    `only_class`: a Service without a class is not ours.
    """

    load_balancer_class: str = KUBE_VIP_CLASS
    only_class: bool = False
    permitted: tuple[Network, ...] = ()
    balances: bool = False


def is_ours(service: JsonObject, rules: Rules) -> bool:
    """Say whether the Service asks this source for its addresses."""
    spec, metadata = inner(service, "spec"), inner(service, "metadata")
    if text(spec, "type") != "LoadBalancer" or metadata.get("deletionTimestamp"):
        return False
    if text(metadata, "annotations", PREFIX + IGNORE).lower() == "true":
        return False
    wanted = text(spec, "loadBalancerClass")
    return wanted == rules.load_balancer_class if wanted else not rules.only_class


def wish_of(service: JsonObject, rules: Rules) -> Wish | None:
    """Return what a Service asks for; None: nothing, as it is not ours."""
    if not is_ours(service, rules):
        return None
    namespace, name = key_of(service)
    owner = f"{OWNER}{namespace}/{name}"
    reader = _Reader(service, places_of(owner))
    addresses = tuple(reader.addresses(rules.permitted))
    ports = tuple(reader.ports())
    interface = reader.interface()
    reader.look_for_what_is_not_supported(balances=rules.balances)
    return Wish(
        owner=owner,
        service=(namespace, name),
        addresses=addresses,
        ports=ports,
        interface=interface,
        only_local=text(service, "spec", "externalTrafficPolicy") == "Local",
        rank=(text(service, "metadata", "creationTimestamp"), namespace, name),
        problems=tuple(reader.problems),
    )


class _Reader:
    """Reads one Service and collects what is wrong with it."""

    def __init__(self, service: JsonObject, places: Places) -> None:
        self._service, self._places = service, places
        self.problems: list[Problem] = []

    def _annotation(self, name: str) -> str:
        return text(self._service, "metadata", "annotations", PREFIX + name).strip()

    def _problem(self, message: str, *path: str, severity: Severity = Severity.ERROR) -> None:
        self.problems.append(self._places.problem(message, *path, severity=severity))

    def addresses(self, permitted: Sequence[Network]) -> Iterator[IPAddress]:
        """Yield the addresses that are asked for, each once."""
        path: tuple[str, ...] = ("metadata", "annotations", PREFIX + ADDRESSES)
        asked = self._annotation(ADDRESSES)
        if not asked:
            path, asked = ("spec", "loadBalancerIP"), text(self._service, "spec", "loadBalancerIP")
        parts = [part.strip() for part in asked.split(",") if part.strip()]
        if len(parts) > MOST_ADDRESSES:
            self._problem(f"expected at most {MOST_ADDRESSES} addresses, got {len(parts)}", *path)
            return
        seen: set[IPAddress] = set()
        for part in parts:
            try:
                address = read_address(part, permitted)
            except ValueError as error:
                self._problem(str(error), *path)
                continue
            if address not in seen:
                seen.add(address)
                yield address

    def ports(self) -> Iterator[ServicePort]:
        for index, port in enumerate(objects(self._service, "spec", "ports")):
            protocol = text(port, "protocol") or "TCP"
            if protocol not in _PROTOCOLS:
                self._problem(
                    f"port {index}: {protocol} is not balanced, only {' and '.join(_PROTOCOLS)}", "spec", "ports"
                )
            elif 1 <= (value := number(port, "port")) <= 65535:
                yield ServicePort(number=value, protocol=protocol, name=text(port, "name"))

    def interface(self) -> str:
        """Return the device that the annotation names."""
        if not (name := self._annotation(INTERFACE)):
            return "auto"
        if _INTERFACE.fullmatch(name):
            return name
        message = f'expected the name of a network device or "auto", got "{name[:40]}"'
        self._problem(message, "metadata", "annotations", PREFIX + INTERFACE)
        return "auto"

    def look_for_what_is_not_supported(self, *, balances: bool) -> None:
        for name in NOT_SUPPORTED:
            if self._annotation(name) not in ("", "false"):
                message = "is not supported, and ignored"
                self._problem(message, "metadata", "annotations", PREFIX + name, severity=Severity.WARNING)
        if balances and text(self._service, "spec", "sessionAffinity") == "ClientIP":
            message = "ClientIP is kept by kube-proxy (balance: kube-proxy), not by kubevip's own listeners"
            self._problem(message, "spec", "sessionAffinity", severity=Severity.WARNING)
