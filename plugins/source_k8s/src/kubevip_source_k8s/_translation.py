"""What all objects of the cluster together want of this node.

Pure. Each object is a unit of its own: what is wrong with it leaves out that object and is said of it. A change costs
what depends on the object that changed, its addresses and whoever shares them; all other values are used again as they
are.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING, TypeVar

from attrs import field, frozen

from kubevip import Desired, Group, LoadBalancer, PersistentMap, Place, VirtualIP
from kubevip_source_k8s._endpoints import active, backends_of
from kubevip_source_k8s._parts import Parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kubevip import Instance, IPAddress, Problem
    from kubevip_source_k8s._endpoints import Endpoint
    from kubevip_source_k8s._fields import Key
    from kubevip_source_k8s._wish import Wish


#: Where the group of all addresses is written, which no object of the cluster is to blame for.
GROUP = Place(file="source k8s", path=("group",))


@frozen(kw_only=True)
class Terms:
    """What is the same for all objects.

    `group` holds the addresses; those that only nodes with an endpoint of their own may hold have each a group of its
    name on the election `local_election` ("": the only one that is configured). `instances` are the elections that are
    the source's own, `groups` the groups.
    """

    node: str
    group: str
    balances: bool
    interface: str = "auto"
    announcers: tuple[str, ...] = ("address", "arp")
    proxy: str = ""
    local_election: str = ""
    instances: tuple[Instance, ...] = ()
    local_instances: tuple[Instance, ...] = ()
    groups: tuple[Group, ...] = ()


@frozen(kw_only=True)
class Translation:
    """What is wanted, and of each object what is wrong with it and which addresses it has been granted.

    `granted` tells who may say so in the object's status: whoever holds them. What did not change is the same object in
    each translation.
    """

    desired: Desired
    problems: PersistentMap[Hashable, tuple[Problem, ...]]
    granted: PersistentMap[Hashable, tuple[IPAddress, ...]]


@frozen(kw_only=True)
class _Grant:
    """Who has an address: `sharers` in order of rank, and why the others were refused."""

    sharers: tuple[Hashable, ...]
    refused: Mapping[Hashable, Problem] = field(factory=dict[Hashable, "Problem"])
    vip: VirtualIP | None = None
    group: Group | None = None


@frozen(kw_only=True)
class _Part:
    """What one wish comes to."""

    balancers: tuple[LoadBalancer, ...] = ()
    problems: tuple[Problem, ...] = ()
    granted: tuple[IPAddress, ...] = ()


T = TypeVar("T")

_NOTHING = _Part()
_NOBODY: tuple[Endpoint, ...] = ()


class Translator:
    """Works out what is wanted, a little at a time; told each change."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._wishes: dict[Hashable, Wish] = {}
        self._endpoints: dict[Key, tuple[Endpoint, ...]] = {}
        self._of_service: dict[Key, dict[Hashable, None]] = {}
        self._claims: dict[IPAddress, set[Hashable]] = {}
        self._grants: dict[IPAddress, _Grant] = {}
        self._parts: dict[Hashable, _Part] = {}
        self._problems: PersistentMap[Hashable, tuple[Problem, ...]] = PersistentMap()
        self._granted: PersistentMap[Hashable, tuple[IPAddress, ...]] = PersistentMap()
        self._together = Parts(self._neighbours, self._desired)
        self._only_local = 0
        self._dirty_addresses: dict[IPAddress, None] = {}  # ordered, so that all nodes and all runs say the same
        self._dirty: dict[Hashable, None] = {}

    def __len__(self) -> int:
        return len(self._wishes)

    @property
    def needs_endpoints(self) -> bool:
        """Whether anything of what is wanted depends on endpoints."""
        return self._terms.balances or self._only_local > 0

    def serves(self, service: Key) -> bool:
        """Say whether anything that is wanted leads to `service`."""
        return service in self._of_service

    def set_wish(self, key: Hashable, wish: Wish | None) -> bool:
        """Take over what an object asks for, None: nothing; return whether that is news."""
        before = self._wishes.get(key)
        if before == wish and (before is None or wish is None or before.problems == wish.problems):
            return False
        if before is not None:
            self._forget(key, before)
        if wish is None:
            self._wishes.pop(key, None)
        else:
            self._wishes[key] = wish
            self._only_local += wish.only_local
            self._dirty_addresses.update(dict.fromkeys(wish.addresses))
            for address in wish.addresses:
                self._claims.setdefault(address, set()).add(key)
            self._of_service.setdefault(wish.service, {})[key] = None
        self._dirty[key] = None
        return True

    def _forget(self, key: Hashable, wish: Wish) -> None:
        self._only_local -= wish.only_local
        self._dirty_addresses.update(dict.fromkeys(wish.addresses))
        for address in wish.addresses:
            self._claims[address].discard(key)
        served = self._of_service[wish.service]
        served.pop(key, None)
        if not served:
            del self._of_service[wish.service]

    def set_wishes(self, wishes: Mapping[Hashable, Wish]) -> bool:
        """Take over what all objects ask for; return whether any of that is news."""
        gone = [self.set_wish(key, None) for key in [key for key in self._wishes if key not in wishes]]
        return any([*gone, *(self.set_wish(key, wish) for key, wish in wishes.items())])

    def set_endpoints(self, service: Key, endpoints: tuple[Endpoint, ...]) -> bool:
        """Take over the endpoints of a Service; return whether that is news to anything that is wanted."""
        if self.endpoints(service) == endpoints:
            return False
        if endpoints:
            self._endpoints[service] = endpoints
        else:
            self._endpoints.pop(service, None)
        touched = self._of_service.get(service, ())
        self._dirty.update(dict.fromkeys(touched))
        for key in touched:
            if (wish := self._wishes[key]).only_local:
                self._dirty_addresses.update(dict.fromkeys(wish.addresses))
        return bool(touched)

    def work(self, most: int) -> bool:
        """Work out up to `most` of what depends on the changes; return whether there is more to do."""
        for _ in range(most):
            if self._dirty_addresses:
                self._grant(address := next(iter(self._dirty_addresses)))
                del self._dirty_addresses[address]
            elif self._dirty:
                self._translate(key := next(iter(self._dirty)))
                del self._dirty[key]
            elif not self._together.work(1):
                return False
        return True

    @property
    def now(self) -> Translation:
        """What everything comes to, when there is nothing to do any more."""
        terms = self._terms
        return Translation(
            desired=Desired(
                instances=(*terms.instances, *(terms.local_instances if self._together.with_groups else ())),
                groups=terms.groups,
                parts=self._together.now,
            ),
            problems=self._problems,
            granted=self._granted,
        )

    def endpoints(self, service: Key) -> tuple[Endpoint, ...]:
        """Return the endpoints of a Service as they were told."""
        return self._endpoints.get(service, _NOBODY)

    def sharers(self, address: IPAddress) -> tuple[Hashable, ...]:
        """Return whose address it is, in order of rank."""
        return grant.sharers if (grant := self._grants.get(address)) is not None else ()

    def _translate(self, key: Hashable) -> None:
        wish, before = self._wishes.get(key), self._parts.pop(key, _NOTHING)
        part = _NOTHING if wish is None else self._part(key, wish)
        if wish is not None:
            self._parts[key] = part
        self._together.touch((*before.granted, *part.granted))
        self._problems = _with(self._problems, key, part.problems)
        self._granted = _with(self._granted, key, part.granted)

    # Parts

    def _neighbours(self, address: IPAddress) -> Iterator[IPAddress]:
        for key in self.sharers(address):
            yield from self._parts[key].granted

    def _desired(self, addresses: tuple[IPAddress, ...]) -> Desired:
        grants = [self._grants[address] for address in addresses if address in self._grants]
        sharers = dict.fromkeys(key for grant in grants for key in grant.sharers)
        return Desired(
            groups=tuple(grant.group for grant in grants if grant.group is not None),
            vips=tuple(grant.vip for grant in grants if grant.vip is not None),
            load_balancers=tuple(balancer for key in sharers for balancer in self._parts[key].balancers),
        )

    # Addresses

    def _grant(self, address: IPAddress) -> None:
        """Say who has `address`, and the virtual IP that it becomes; who depends on that is translated again."""
        claims = sorted(self._claims.get(address, ()), key=lambda key: (self._wishes[key].rank, str(key)))
        self._dirty.update(dict.fromkeys(claims))
        self._together.touch((address,))
        if not claims:
            self._claims.pop(address, None)
            self._grants.pop(address, None)
            return
        first = self._wishes[claims[0]]
        sharers: list[Hashable] = []
        refused: dict[Hashable, Problem] = {}
        taken: dict[tuple[int, str], str] = {}
        for key in claims:
            wish = self._wishes[key]
            if why := self._obstacle(wish, first, taken):
                refused[key] = wish.places.problem(f"{address}: {why}")
                continue
            sharers.append(key)
            taken.update({(port.number, port.protocol): wish.label for port in wish.ports})
        granted = [self._wishes[key] for key in sharers]
        only_local = any(wish.only_local for wish in granted)
        group = (
            Group(name=str(address), election=self._terms.local_election, places=first.places) if only_local else None
        )
        vip = VirtualIP(
            name=str(address),
            address=address,
            group=group.name if group is not None else self._terms.group,
            interface=first.interface if first.interface != "auto" else self._terms.interface,
            announcers=self._terms.announcers,
            places=first.places if group is not None else first.places_with(GROUP),
        )
        stands = not only_local or any(wish.only_local and self._local(wish) for wish in granted)
        self._grants[address] = _Grant(
            sharers=tuple(sharers),
            refused=refused,
            vip=vip if stands else None,
            group=group if stands else None,
        )

    def _obstacle(self, wish: Wish, first: Wish, taken: Mapping[tuple[int, str], str]) -> str:
        """Return why `wish` cannot share the address of `first`; "" if it can."""
        if wish.service[0] != first.service[0]:
            return f"{first.label} has it, of another namespace"
        if wish.interface != first.interface:
            return f"{first.label} has it on interface {first.interface}; Services that share an address share that"
        for port in wish.ports:
            if (other := taken.get((port.number, port.protocol))) is not None:
                return f"{other} has port {port.number}/{port.protocol} of it; choose another port or address"
        return ""

    def _local(self, wish: Wish) -> tuple[Endpoint, ...]:
        """Return the endpoints of `wish` on this node that take new connections."""
        here = [it for it in self.endpoints(wish.service) if it.node == self._terms.node]
        return active(here)

    # Load balancers

    def _part(self, key: Hashable, wish: Wish) -> _Part:
        problems = list(wish.problems)
        granted: list[IPAddress] = []
        for address in wish.addresses:
            grant = self._grants[address]
            if (refusal := grant.refused.get(key)) is not None:
                problems.append(refusal)
            else:
                granted.append(address)
        standing = [address for address in granted if self._grants[address].vip is not None]
        balancers: list[LoadBalancer] = []
        if self._terms.balances:
            for version in (4, 6):
                bind_to = tuple(str(address) for address in standing if address.version == version)
                if bind_to:
                    balancers += self._balancers(wish, version, bind_to, problems)
        return _Part(balancers=tuple(balancers), problems=tuple(problems), granted=tuple(granted))

    def _balancers(
        self, wish: Wish, version: int, bind_to: tuple[str, ...], problems: list[Problem]
    ) -> Iterator[LoadBalancer]:
        endpoints = self._local(wish) if wish.only_local else self.endpoints(wish.service)
        for port in wish.ports:
            backends, why = backends_of(endpoints, port, version)
            if why:
                problems.append(wish.places.problem(why, *wish.ports_at))
            protocol = port.protocol.lower()
            yield LoadBalancer(
                name=f"{wish.name}:{port.number}/{protocol}{'6' if version == 6 else ''}",
                protocol=protocol,
                proxy=self._terms.proxy or protocol,
                port=port.number,
                bind_to=bind_to,
                backends=backends,
                places=wish.places,
            )


def _with(
    found: PersistentMap[Hashable, tuple[T, ...]], key: Hashable, values: tuple[T, ...]
) -> PersistentMap[Hashable, tuple[T, ...]]:
    """Return a map in which `key` has `values`, and is not in it without any."""
    if found.get(key, ()) == values:
        return found
    return found.with_item(key, values) if values else found.without(key)
