"""What one object of the cluster asks for: a Service, or an entry of a ConfigMap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from kubevip import Place, Places

if TYPE_CHECKING:
    from kubevip import IPAddress, Problem
    from kubevip_source_k8s._endpoints import ServicePort
    from kubevip_source_k8s._fields import Key


@frozen(kw_only=True)
class Wish:
    """Addresses, and ports on them that lead to the endpoints of `service`.

    `rank` orders those that ask for the same address: the smallest gets it. `owner` is how problems name the object,
    "Service shop/web". `only_local`: only a node that has an endpoint of its own may hold the addresses.
    """

    owner: str
    service: Key
    addresses: tuple[IPAddress, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    interface: str = "auto"
    only_local: bool = False
    rank: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = field(default=(), eq=False)

    @property
    def name(self) -> str:
        """Namespace and name, which contain no slash themselves."""
        return "/".join(self.service)

    @property
    def places(self) -> Places:
        """Where it is written."""
        return places_of(self.owner)


def places_of(owner: str) -> Places:
    """Return the places of an object of the cluster: there are no lines, but paths."""
    return Places(root=Place(file=owner))
