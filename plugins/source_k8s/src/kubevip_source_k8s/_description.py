"""What the source would read, for `kubevip check` and `kubevip plan`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip import Description, Place, Problem, Severity
from kubevip_source_k8s._config import Mode

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
