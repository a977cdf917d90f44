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
    "Service shop/web"; `path` is where in it this is asked for, and `ports_at` where below that the ports are named.
    `only_local`: only a node that has an endpoint of its own may hold the addresses.
    """

    owner: str
    path: tuple[str | int, ...] = ()
    ports_at: tuple[str, ...] = ("spec", "ports")
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
    def label(self) -> str:
        """The name; with where it is, when it is one of several in an object: "services[0] (shop/web)"."""
        return f"{self.path[-2]}[{self.path[-1]}] ({self.name})" if self.path else self.name

    @property
    def places(self) -> Places:
        """Where it is written."""
        return places_of(self.owner, self.path)

    def places_with(self, group: Place) -> Places:
        """Return the places of its virtual IP, whose group is written at `group` and not in the object."""
        return Places(root=self.places.root, inner={("group",): group})


def places_of(owner: str, path: tuple[str | int, ...] = ()) -> Places:
    """Return the places of an object of the cluster, or of what is at `path` in it: there are no lines, but paths."""
    return Places(root=Place(file=owner, path=path))
