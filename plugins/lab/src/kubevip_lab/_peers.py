"""Other products that the same faults can be measured with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from kubevip_lab._keepalived import find_keepalived, prepare_keepalived
from kubevip_lab._kube_vip import find_kube_vip, prepare_kube_vip

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network
    from kubevip_lab._subject import Subject


@frozen(kw_only=True)
class Peer:
    """A product beside kubevip.

    `find` returns its program, or raises what is missing. `prepare` is given the network, its plan, a directory and,
    when it `needs_api`, the kubeconfig of an API server that runs. `cannot` names the faults that mean nothing to it.
    `least_timeout_seconds`: sooner nobody may say that it did not take over.
    """

    find: Callable[[], str]
    prepare: Callable[[Network, Plan, Path, Path | None], Subject]
    needs_api: bool = False
    cannot: frozenset[str] = frozenset({"move"})
    least_timeout_seconds: float = 0.0


PEERS: Mapping[str, Peer] = {
    "keepalived": Peer(
        find=find_keepalived, prepare=lambda network, plan, directory, _: prepare_keepalived(network, plan, directory)
    ),
    "kube-vip": Peer(find=find_kube_vip, prepare=prepare_kube_vip, needs_api=True, least_timeout_seconds=60.0),
}
"""By name, as in `plugin.PEER_NAMES`."""
