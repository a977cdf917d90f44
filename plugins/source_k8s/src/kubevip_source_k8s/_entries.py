"""Reads what kube-vip's cloud provider writes into a namespace's ConfigMap, under the key `plndr-services`.

Pure. `{"services": [{"vip": "192.168.0.80", "port": 80, "type": "TCP", "uid": "...", "serviceName": "web"}]}`; keys
that are not known are passed over. Text that is no such list is refused whole; an entry that is not right, alone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from attrs import evolve, frozen

from kubevip import Problem
from kubevip.errors import ConfigError
from kubevip_source_k8s._addresses import read_address
from kubevip_source_k8s._endpoints import ServicePort
from kubevip_source_k8s._fields import inner, key_of, objects, text
from kubevip_source_k8s._wish import Wish, places_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubevip import Places
    from kubevip_k8s import JsonObject
    from kubevip_source_k8s._addresses import Network

SERVICES_KEY = "plndr-services"
PROTOCOLS = ("TCP", "UDP")

#: An object of the API holds 1.5 MiB; this many entries of the usual length fill half of it.
MOST_ENTRIES = 5000


@frozen(kw_only=True)
class Entries:
    """What a ConfigMap asks for, by uid or, where that is missing, "NAME:PORT"; and what is wrong with the rest.

    `refused` are the keys of entries that are not right, whose last good ones stay.
    """

    wishes: Mapping[str, Wish]
    problems: tuple[Problem, ...] = ()
    refused: frozenset[str] = frozenset()


def read_entries(config_map: JsonObject, permitted: Sequence[Network] = ()) -> Entries:
    """Return what the ConfigMap asks for; one without the key asks for nothing.

    :raises ConfigError: when the text under the key is not what it should be; the last good one stays then.
    """
    namespace, name = key_of(config_map)
    owner = f"ConfigMap {namespace}/{name}"
    places = places_of(owner)
    written = inner(config_map, "data").get(SERVICES_KEY)
    if written is None or written == "":
        return Entries(wishes={})
    wishes: dict[str, Wish] = {}
    listed: dict[tuple[object, ...], Wish] = {}
    problems: list[Problem] = []
    refused: set[str] = set()
    for index, entry in enumerate(_listed(written, places)):
        try:
            wish = _wish(entry, namespace, owner, index, permitted)
        except ValueError as error:
            problems.append(places.problem(str(error), "data", SERVICES_KEY, "services", index))
            if key := _key(entry):
                refused.add(key)
            continue
        if why := _repetition(key := _key(entry), wish, wishes, listed):
            problems.append(wish.places.problem(why))
            continue
        wishes[key] = listed[_listener(wish)] = wish
    return Entries(wishes=wishes, problems=tuple(problems), refused=frozenset(refused - wishes.keys()))


def _listed(written: object, places: Places) -> list[JsonObject]:
    path = ("data", SERVICES_KEY)
    try:
        value: object = json.loads(written) if isinstance(written, str) else None
    except (ValueError, RecursionError) as error:
        raise ConfigError([places.problem(f"is not JSON: {error}; the last good one stays", *path)]) from None
    services = cast("Mapping[str, object]", value).get("services") if isinstance(value, dict) else None
    if isinstance(value, dict) and services is None:
        return []  # what the provider leaves when the last Service is gone: null
    if not isinstance(services, list):
        message = 'expected {"services": [...]}; the last good one stays'
        raise ConfigError([places.problem(message, *path)])
    if len(cast("list[object]", services)) > MOST_ENTRIES:
        message = f"expected at most {MOST_ENTRIES} services; the last good one stays"
        raise ConfigError([places.problem(message, *path)])
    # what is no mapping stands in as an empty one, so that it is refused under its own index
    return [cast("JsonObject", item) if isinstance(item, dict) else {} for item in cast("list[object]", services)]


def _key(entry: JsonObject) -> str:
    name = text(entry, "serviceName")
    return text(entry, "uid") or (f"{name}:{entry.get('port')}" if name else "")


def _repetition(key: str, wish: Wish, wishes: Mapping[str, Wish], listed: Mapping[tuple[object, ...], Wish]) -> str:
    """Return what an entry repeats of an earlier one, which counts, and what to do; "" if it is new."""
    (port,) = wish.ports
    if (other := listed.get(_listener(wish))) is not None:
        (address,) = other.addresses
        return (
            f"{other.label} leads {address} to port {port.number}/{port.protocol} of this Service already; this one, "
            f"for {wish.addresses[0]}, is left out: remove one of them, or give it another port"
        )
    if (other := wishes.get(key)) is not None:
        return (
            f'{other.label} has the uid "{key}" already; this one, for port {port.number}/{port.protocol}, is left '
            "out: remove one of them, or give it a uid of its own"
        )
    return ""


def _listener(wish: Wish) -> tuple[object, ...]:
    """Return what no two entries may have in common: they would be one listener."""
    return (wish.service, wish.ports, wish.addresses[0].version)


def _wish(entry: JsonObject, namespace: str, owner: str, index: int, permitted: Sequence[Network]) -> Wish:
    name, port, protocol = text(entry, "serviceName"), entry.get("port"), text(entry, "type").upper() or "TCP"
    if not name:
        raise ValueError('missing "serviceName"')
    if not isinstance(port, int) or isinstance(port, bool) or not 1 <= port <= 65535:
        raise ValueError(f'{name}: expected a "port" of 1-65535, got {json.dumps(port)[:20]}')
    if protocol not in PROTOCOLS:
        raise ValueError(f'{name}: expected a "type" of {" or ".join(PROTOCOLS)}, got "{protocol[:20]}"')
    try:
        address = read_address(text(entry, "vip"), permitted)
    except ValueError as error:
        raise ValueError(f"{name}: vip: {error}") from None
    return Wish(
        owner=owner,
        path=("data", SERVICES_KEY, "services", index),
        ports_at=("port",),
        service=(namespace, name),
        addresses=(address,),
        ports=(ServicePort(number=port, protocol=protocol),),
        rank=(f"{index:06}",),  # the provider appends: who is first has the address
    )


def with_names(wish: Wish, service: JsonObject | None) -> Wish:
    """Return the wish of an entry with the name of its port, which the Service tells and the entry does not."""
    if service is None:
        return wish
    (wanted,) = wish.ports
    for port in objects(service, "spec", "ports"):
        if port.get("port") == wanted.number and (text(port, "protocol") or "TCP") == wanted.protocol:
            return evolve(wish, ports=(evolve(wanted, name=text(port, "name")),))
    return wish
