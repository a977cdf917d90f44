"""What the source would read, for `kubevip check` and `kubevip plan`."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from kubevip import Description, Desired, LoadBalancer, Place, Problem, Severity, VirtualIP
from kubevip_source_k8s._config import Mode
from kubevip_source_k8s._terms import PLACES, terms_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubevip_source_k8s._config import K8sSourceConfig


def describe(config: K8sSourceConfig) -> Description:
    """Say what would be read, and who would hold its addresses; a missing kubeconfig is at its place in the section."""
    problems: list[Problem] = []
    if config.kubeconfig is not None and not config.kubeconfig.exists():
        message = f"{config.kubeconfig} is not there"
        place = Place(file="", path=("kubeconfig",))
        problems.append(Problem(place=place, message=message, severity=Severity.WARNING))
    return Description(lines=tuple(_lines(config)), problems=tuple(problems))


def foresee(config: K8sSourceConfig) -> Desired:
    """Return an address, and a listener where kubevip balances, that stand for those of everything that is read."""
    terms = terms_of(config, node="")
    vip = VirtualIP(
        name="of everything that is read",
        address=ip_address("192.0.2.1"),  # RFC 5737: nobody's
        group=terms.group,
        interface=config.interface,
        announcers=config.announce,
        places=PLACES,
    )
    listener = LoadBalancer(
        name=vip.name, protocol="tcp", proxy=config.proxy or "tcp", port=1, bind_to=(vip.name,), places=PLACES
    )
    return Desired(
        instances=terms.instances,
        groups=terms.groups,
        vips=(vip,),
        load_balancers=(listener,) if config.balances else (),
    )


def _lines(config: K8sSourceConfig) -> Iterator[str]:
    if config.mode is Mode.CONFIG_MAP:
        yield f"the entries of ConfigMap {config.namespace}/{config.config_map}"
    else:
        where = f"namespace {', '.join(config.namespaces)}" if config.namespaces else "all namespaces"
        permitted = ", ".join(map(str, config.addresses)) or "any; `addresses` limits them"
        yield f"Services of type LoadBalancer in {where}; addresses: {permitted}"
    who = "kubevip's listeners" if config.balances else "kube-proxy"
    if config.group is not None:
        holder = f"group {config.group}"
    elif config.election is not None:
        holder = f"election {config.election}"
    else:
        holder = f"Lease {config.own_lease}"
    yield f"held by {holder}; announced by {' and '.join(config.announce)}; balanced by {who}"
