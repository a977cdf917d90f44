"""The environment variables of kube-vip's first year, which override a file of its format.

Each is written into the file's data where the key stands that it overrides, before anything is checked, so that it is
checked like the file, under its own name. `lb_...` act on the first load balancer, which is made if there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from kubevip import Place, Places, Problem, Severity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Where a value stands: keys and indices.
Path = tuple[str | int, ...]

#: strconv.ParseBool, which read them.
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")


def _boolean(text: str) -> object:
    return True if text in _TRUE else False if text in _FALSE else text


def _integer(text: str) -> object:
    """Read a decimal number; what is none stays text, for the check of the key to refuse."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else text


def _peer(text: str) -> object:
    """Read ID:ADDRESS:PORT; an IPv6 address may stand in brackets."""
    name, _, rest = text.partition(":")
    address, _, port = rest.rpartition(":")
    return {"id": name, "address": address.removeprefix("[").removesuffix("]"), "port": _integer(port)}


def _peers(text: str) -> object:
    return [_peer(part.strip()) for part in text.split(",") if part.strip()]


def _backends(text: str) -> object:
    backends: list[object] = []
    for part in text.split(","):
        if part.strip():
            address, _, port = part.strip().rpartition(":")
            backends.append({"address": address.removeprefix("[").removesuffix("]"), "port": _integer(port)})
    return backends


#: Variable -> where its value goes in the data, and how to read it.
OVERRIDES: Mapping[str, tuple[Path, Callable[[str], object]]] = {
    "vip_interface": (("interface",), str),
    "vip_address": (("vip",), str),
    "vip_singlenode": (("singleNode",), _boolean),
    "vip_startleader": (("startAsLeader",), _boolean),
    "vip_arp": (("gratuitousARP",), _boolean),
    "vip_leaderelection": (("enableLeaderElection",), _boolean),
    "vip_addpeerstolb": (("addPeersAsBackends",), _boolean),
    "vip_localpeer": (("localPeer",), _peer),
    "vip_peers": (("remotePeers",), _peers),
    "vip_packet": (("enablePacket",), _boolean),
    "vip_packetproject": (("packetProject",), str),
    "lb_enable": (("enableLoadBalancer",), _boolean),
    "lb_name": (("loadBalancers", 0, "name"), str),
    "lb_type": (("loadBalancers", 0, "type"), str),
    "lb_port": (("loadBalancers", 0, "port"), _integer),
    "lb_backendport": (("loadBalancers", 0, "backendPort"), _integer),
    "lb_bindtovip": (("loadBalancers", 0, "bindToVip"), _boolean),
    "lb_backends": (("loadBalancers", 0, "backends"), _backends),
}

#: Variables of that time that mean nothing here, and what does instead.
OBSOLETE: Mapping[str, str] = {
    "vip_loglevel": "use --log-level or KUBEVIP_LOG_LEVEL",
    "vip_configmap": "it stands for a source where there is no file; here write sources: {k8s: {mode: configmap}}",
    "vip_remotepeers": "kube-vip never read it; use vip_peers",
}


def warnings_beside_native(environment: Mapping[str, str]) -> tuple[Problem, ...]:
    """Return a warning for each variable that is set although the file is of the native format."""
    return tuple(
        _warning(name, "is ignored: the file is of the native format")
        for name in (*OVERRIDES, *OBSOLETE)
        if environment.get(name)
    )


def override(
    data: dict[str, object], places: Places, environment: Mapping[str, str]
) -> tuple[Places, tuple[Problem, ...]]:
    """Write what the environment says into `data`, whose keys are spelt as in `OVERRIDES`.

    :returns: the places of the result, and warnings.
    """
    inner = dict(places.inner)
    for name, (path, read) in OVERRIDES.items():
        if not (text := environment.get(name)):
            continue
        target = _first_load_balancer(data) if path[0] == "loadBalancers" else data
        if target is None:
            continue  # what stands there is no list of mappings, and is refused for that
        for known in [known for known in inner if known[: len(path)] == path]:
            del inner[known]
        value = target[cast("str", path[-1])] = read(text)
        inner[path] = Place(file="environment", path=(name,))
        for index in range(len(cast("list[object]", value)) if isinstance(value, list) else 0):
            inner[*path, index] = Place(file="environment", path=(name, index))
    warnings = tuple(_warning(name, remedy) for name, remedy in OBSOLETE.items() if environment.get(name))
    return Places(root=places.root, inner=inner), warnings


def _first_load_balancer(data: dict[str, object]) -> dict[str, object] | None:
    listed = data.setdefault("loadBalancers", [])
    if not isinstance(listed, list):
        return None
    balancers = cast("list[object]", listed)
    if not balancers:
        balancers.append({})
    first = balancers[0]
    return cast("dict[str, object]", first) if isinstance(first, dict) else None


def _warning(name: str, message: str) -> Problem:
    place = Place(file="environment", path=(name,))
    return Problem(place=place, message=message, severity=Severity.WARNING)
