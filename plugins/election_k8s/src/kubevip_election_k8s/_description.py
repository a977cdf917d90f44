"""What the election would do here, for `kubevip check` and `kubevip plan`."""

from __future__ import annotations

from kubevip import Description, Outlook, Place, Problem, Severity
from kubevip_election_k8s._config import LeaseConfig, Scope


def describe(config: LeaseConfig, outlook: Outlook) -> Description:
    """Say which Lease it is and how long clients wait; a missing kubeconfig is at its place in the section."""
    timing = config.timing
    spans = f"{timing.lease_seconds:g}/{timing.renew_seconds:g}/{timing.retry_seconds:g} s"
    one = "Lease" if config.scope is Scope.LEASE else "a Lease for each group, like"
    lines = (f"{one} {config.lease} as {outlook.node_name}, {spans}; node lost {timing.longest_takeover_seconds:g} s",)
    problems: list[Problem] = []
    if config.kubeconfig is not None and not config.kubeconfig.exists():
        message = f"{config.kubeconfig} is not there"
        place = Place(file="", path=("kubeconfig",))
        problems.append(Problem(place=place, message=message, severity=Severity.WARNING))
    return Description(lines=lines, problems=tuple(problems))
