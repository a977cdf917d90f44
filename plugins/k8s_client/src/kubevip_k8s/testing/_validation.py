"""What the server refuses to store. Only what this project could get wrong is checked; unknown fields are kept."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from kubevip_k8s.testing._document import Document, at, items, mapping
from kubevip_k8s.testing._kinds import full_name
from kubevip_k8s.testing._status import Refusal, bad_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kubevip_k8s._resources import Resource

_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
#: RFC 3339 with exactly six digits: what k8s.io/apimachinery's MicroTime reads, and nothing else.
_MICRO_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_MICRO_TIME_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_LARGEST_CONFIG_MAP = 1 << 20
_INT32 = 1 << 31

_Problem = tuple[str, str]  # where, what

_MICRO_TIMES = {
    "Lease": (("spec", "acquireTime"), ("spec", "renewTime")),
    "Event": (("eventTime",), ("series", "lastObservedTime")),
}
_INTEGERS = {"Lease": (("spec", "leaseDurationSeconds"), ("spec", "leaseTransitions"))}
_STRINGS = {"Lease": (("spec", "holderIdentity"),)}


def check_shape(resource: Resource, document: Document) -> None:
    """Check what does not even decode.

    :raises Refusal: 400.
    """
    prefix = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    for path in _MICRO_TIMES.get(resource.kind, ()):
        value = at(document, *path)
        if value is not None and not (isinstance(value, str) and _MICRO_TIME.fullmatch(value)):
            raise bad_request(f'{prefix}parsing time "{value}" as "{_MICRO_TIME_LAYOUT}": cannot parse')
    for path in _INTEGERS.get(resource.kind, ()):
        value = at(document, *path)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            raise bad_request(f"{prefix}json: cannot unmarshal into Go struct field {'.'.join(path)} of type int32")
    strings = [(".".join(path), at(document, *path)) for path in _STRINGS.get(resource.kind, ())]
    for field in ("labels", "annotations"):
        strings += [(f"metadata.{field}", value) for value in mapping(at(document, "metadata", field)).values()]
    if resource.kind == "ConfigMap":
        strings += [("data", value) for value in mapping(document.get("data")).values()]
    for field, value in strings:
        if value is not None and not isinstance(value, str):
            raise bad_request(f"{prefix}json: cannot unmarshal into Go struct field {field} of type string")


def check(resource: Resource, document: Document, old: Document | None) -> None:
    """Check what an object says; `old` is what it replaces.

    :raises Refusal: 422, with every problem.
    """
    problems = [*_names(document), *_CHECKS.get(resource.kind, _nothing)(document, old)]
    if problems:
        name = document["metadata"].get("name", "")
        texts = [f"{where}: {what}" for where, what in problems]
        text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
        causes = [{"field": where, "message": what, "reason": "FieldValueInvalid"} for where, what in problems]
        details = {"name": name, "group": resource.group, "kind": resource.kind, "causes": causes}
        kind = full_name(resource).replace(resource.plural, resource.kind, 1)
        raise Refusal(422, "Invalid", f'{kind} "{name}" is invalid: {text}', details=details)


def _nothing(document: Document, old: Document | None) -> Iterator[_Problem]:
    del document, old
    return iter(())


def _names(document: Document) -> Iterator[_Problem]:
    name = document["metadata"].get("name")
    if not name:
        yield "metadata.name", "Required value: name or generateName is required"
    elif document.get("kind") not in _RBAC_KINDS and (not _SUBDOMAIN.fullmatch(name) or len(name) > 253):
        yield "metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 subdomain must consist of [-a-z0-9.]'


_RBAC_KINDS = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def _lease(document: Document, old: Document | None) -> Iterator[_Problem]:
    del old
    spec = mapping(document.get("spec"))
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and not 0 < seconds < _INT32:
        yield "spec.leaseDurationSeconds", f"Invalid value: {seconds}: must be greater than 0"
    if transitions is not None and not 0 <= transitions < _INT32:
        yield "spec.leaseTransitions", f"Invalid value: {transitions}: must be greater than or equal to 0"


def _config_map(document: Document, old: Document | None) -> Iterator[_Problem]:
    del old
    data = mapping(document.get("data"))
    for key in data:
        if not _DATA_KEY.fullmatch(key):
            yield f"data[{key}]", f'Invalid value: "{key}": a valid config key must consist of [-._a-zA-Z0-9]'
    if sum(len(value.encode()) for value in data.values()) > _LARGEST_CONFIG_MAP:
        yield "data", f"Too long: may not be more than {_LARGEST_CONFIG_MAP} bytes"


def _port(where: str, port: object) -> Iterator[_Problem]:
    if not isinstance(port, int) or not 1 <= port <= 65535:
        yield where, f"Invalid value: {port}: must be between 1 and 65535, inclusive"


def _service(document: Document, old: Document | None) -> Iterator[_Problem]:
    spec = mapping(document.get("spec"))
    kind, ports = spec.get("type", "ClusterIP"), items(spec.get("ports"))
    if not _LABEL.fullmatch(document["metadata"].get("name") or ""):
        yield "metadata.name", "Invalid value: a DNS-1035 label must consist of [-a-z0-9] and begin with a letter"
    if kind not in ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName"):
        yield "spec.type", f'Unsupported value: "{kind}"'
    if not ports and kind != "ExternalName" and spec.get("clusterIP") != "None":
        yield "spec.ports", "Required value"
    seen: set[tuple[object, object]] = set()
    for n, port in enumerate(ports):
        yield from _port(f"spec.ports[{n}].port", port.get("port"))
        if len(ports) > 1 and not port.get("name"):
            yield f"spec.ports[{n}].name", "Required value"
        if (place := (port.get("protocol", "TCP"), port.get("port"))) in seen:
            yield f"spec.ports[{n}]", f"Duplicate value: {port}"
        seen.add(place)
    before = mapping((old or {}).get("spec"))
    has_class = before.get("type") == kind == "LoadBalancer"
    if has_class and spec.get("loadBalancerClass") != before.get("loadBalancerClass"):
        yield "spec.loadBalancerClass", "Invalid value: may not change once set"
    for n, ingress in enumerate(items(at(document, "status", "loadBalancer", "ingress"))):
        where = f"status.loadBalancer.ingress[{n}]"
        if (address := ingress.get("ip")) is not None and not _is_address(address):
            yield f"{where}.ip", f'Invalid value: "{address}": must be a valid IP address'
        if ingress.get("ipMode") is not None and address is None:
            yield f"{where}.ipMode", "Forbidden: may not be specified when `ip` is not set"
        if ingress.get("ipMode") not in (None, "VIP", "Proxy"):
            yield f"{where}.ipMode", f'Unsupported value: "{ingress["ipMode"]}": supported values: "Proxy", "VIP"'


def _is_address(text: object) -> bool:
    try:
        ipaddress.ip_address(str(text))
    except ValueError:
        return False
    return True


def _endpoints(document: Document, old: Document | None) -> Iterator[_Problem]:
    del old
    for n, subset in enumerate(items(document.get("subsets"))):
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield f"subsets[{n}]", "Required value: must specify `addresses` or `notReadyAddresses`"
        for m, port in enumerate(items(subset.get("ports"))):
            yield from _port(f"subsets[{n}].ports[{m}].port", port.get("port"))


def _endpoint_slice(document: Document, old: Document | None) -> Iterator[_Problem]:
    family = document.get("addressType")
    if family not in ("IPv4", "IPv6", "FQDN"):
        yield "addressType", "Required value" if family is None else f'Unsupported value: "{family}"'
    if old is not None and family != old.get("addressType"):
        yield "addressType", f'Invalid value: "{family}": field is immutable'
    for n, endpoint in enumerate(items(document.get("endpoints"))):
        if not endpoint.get("addresses"):
            yield f"endpoints[{n}].addresses", "Required value: must contain at least 1 address"


def _event(document: Document, old: Document | None) -> Iterator[_Problem]:
    del old
    if "regarding" in document and not document.get("reportingController"):
        yield "reportingController", "Required value"
    if "regarding" in document and not document.get("reportingInstance"):
        yield "reportingInstance", "Required value"


_CHECKS: dict[str, Callable[[Document, Document | None], Iterator[_Problem]]] = {
    "Lease": _lease,
    "ConfigMap": _config_map,
    "Service": _service,
    "Endpoints": _endpoints,
    "EndpointSlice": _endpoint_slice,
    "Event": _event,
}
