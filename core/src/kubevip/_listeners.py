"""Which sockets load balancers and providers listen on, and which of them cannot stand side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kubevip._contract import Socket
    from kubevip._model import IPAddress, LoadBalancer, Member, VirtualIP


class Listeners:
    """The sockets of providers, and of the load balancers that were added.

    None stands for every address of the machine. Whoever listens is called as in messages: "load balancer 'web'".
    """

    def __init__(self, vips: Mapping[str, VirtualIP], members: Iterable[Member]) -> None:
        self._vips = vips
        self._members = {str(member.address) for member in members}
        self._taken: dict[tuple[str, int], dict[IPAddress | None, str]] = {}

    def reserve(self, owner: str, sockets: Iterable[Socket]) -> None:
        """Keep the sockets of a provider free for it."""
        for socket in sockets:
            self._taken.setdefault((socket.transport, socket.port), {}).setdefault(socket.address, owner)

    def add(self, balancer: LoadBalancer) -> str | None:
        """Add the sockets of `balancer` unless one of them is in the way; return why it is."""
        addresses: list[IPAddress | None] = [self._vips[name].address for name in balancer.bind_to] or [None]
        # A socket for one address and one for every address cannot listen on the same port (bind(2), EADDRINUSE).
        taken = self._taken.setdefault((transport_of(balancer.protocol), balancer.port), {})
        for address in addresses:
            in_the_way = (taken.get(address), taken.get(None)) if address is not None else tuple(taken.values())
            clashing = next(filter(None, in_the_way), None)
            if clashing is not None:
                return f"{clashing} listens on {_show(address, balancer.port)} already"
        own = {str(address) for address in addresses} if balancer.bind_to else self._members
        for backend in balancer.backends:
            if backend.port == balancer.port and backend.address in own:
                return f"its backend {backend} is its own listener"
        taken.update((address, f"load balancer {balancer.name!r}") for address in addresses)
        return None


def transport_of(protocol: str) -> str:
    """Return the transport whose ports a load-balancer type uses; all types but udp run over TCP."""
    return "udp" if protocol == "udp" else "tcp"


def _show(address: IPAddress | None, port: int) -> str:
    if address is None:
        return f"port {port}"
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
