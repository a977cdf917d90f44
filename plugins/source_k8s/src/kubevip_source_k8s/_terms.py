"""Which group and election the addresses of a source get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip import Group, Instance, Kind, Place, Places, Section
from kubevip_source_k8s._translation import Terms

if TYPE_CHECKING:
    from kubevip_source_k8s._config import K8sSourceConfig

#: Where things are that no object of the cluster asks for; the lines of its section are not the source's to know.
PLACES = Places(root=Place(file="source k8s"))

#: The source's own group and election, and the election of groups of one address each.
OWN, OWN_LOCAL = "services", "services-local"


def terms_of(config: K8sSourceConfig, node: str) -> Terms:
    """Return what is the same for all objects of the source on this node."""
    own = config.group is None and config.election is None
    group = config.group or OWN
    instances: tuple[Instance, ...] = ()
    local_instances: tuple[Instance, ...] = ()
    groups: tuple[Group, ...] = ()
    if own:
        instances = (_election(OWN, config),)
        local_instances = (_election(OWN_LOCAL, config, scope="service"),)
        groups = (Group(name=group, election=OWN),)
    elif config.election is not None:
        groups = (Group(name=group, election=config.election, places=PLACES),)
    return Terms(
        node=node,
        group=group,
        balances=config.balances,
        interface=config.interface,
        announcers=config.announce,
        proxy=config.proxy,
        local_election=OWN_LOCAL if own else config.election or "",
        instances=instances,
        local_instances=local_instances,
        groups=groups,
    )


def source_name(config: K8sSourceConfig) -> str:
    """Return what the source is called in what it writes into a cluster: the same on all nodes that elect together."""
    if config.group is None and config.election is None:
        return config.own_lease
    return f"group {config.group or OWN}"


def _election(name: str, config: K8sSourceConfig, **data: object) -> Instance:
    lease = {"lease": config.own_lease}
    section = Section(provider="k8s", data={**lease, **data, **config.access}, places=PLACES.below("lease"))
    return Instance(kind=Kind.ELECTION, name=name, section=section)
