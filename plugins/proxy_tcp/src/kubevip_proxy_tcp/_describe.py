"""What the TCP proxy would do, for `kubevip check` and `kubevip plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip import Description

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kubevip import Backend, LoadBalancer, Outlook, Problem, VirtualIP
    from kubevip_proxy_tcp._config import TcpConfig


def describe(config: TcpConfig, outlook: Outlook) -> Description:
    """Return a line per load balancer: "6443/tcp on api4, api6 -> 192.168.0.70:6443 .71:6443 (worker)"."""
    return Description(
        lines=tuple(_line(balancer, config) for balancer in outlook.load_balancers),
        firewall=tuple(f"in {balancer.port}/tcp to {_to(balancer, outlook)}" for balancer in outlook.load_balancers),
        problems=tuple(problem for balancer in outlook.load_balancers for problem in _loops(balancer, outlook)),
    )


def _line(balancer: LoadBalancer, config: TcpConfig) -> str:
    on = ", ".join(balancer.bind_to) or "every address"
    workers = "worker" if config.workers == 1 else f"{config.workers} workers"
    return f"{balancer.port}/tcp on {on} -> {show_backends(balancer.backends)} ({workers})"


def _to(balancer: LoadBalancer, outlook: Outlook) -> str:
    addresses = [str(vip.address) for vip in _vips(balancer, outlook)]
    return " ".join(addresses) or ("every address" if not balancer.bind_to else ", ".join(balancer.bind_to))


def _vips(balancer: LoadBalancer, outlook: Outlook) -> list[VirtualIP]:
    return [vip for vip in outlook.vips if vip.name in balancer.bind_to]


def show_backends(backends: Sequence[Backend]) -> str:
    """Write backends one after the other; of an IPv4 address in the same /24 as the one before only the last part."""
    if not backends:
        return "no backends"
    shown: list[str] = []
    network = ""
    for backend in backends:
        head, dot, last = backend.address.rpartition(".")
        is_near = bool(dot) and head == network and backend.address.count(".") == 3
        weight = f" (weight {backend.weight})" if backend.weight != 1 else ""
        shown.append((f".{last}:{backend.port}" if is_near else str(backend)) + weight)
        network = head
    return " ".join(shown)


def _loops(balancer: LoadBalancer, outlook: Outlook) -> Iterator[Problem]:
    """Find backends that are the listener itself: each client would come back in for ever."""
    own = {str(vip.address) for vip in _vips(balancer, outlook)}
    for index, backend in enumerate(balancer.backends):
        if backend.port == balancer.port and backend.address in own:
            yield balancer.places.problem(
                f"{backend} is this load balancer itself: name what it balances", "backends", index
            )
