"""Lease election: whoever holds a Lease of Kubernetes holds the virtual IPs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager

from kubevip import Description, ElectionProvider, Host, Outlook, Provider, hookimpl
from kubevip.abc import Election
from kubevip_election_k8s._config import LeaseConfig, Scope


@asynccontextmanager
async def open_lease(config: LeaseConfig, host: Host) -> AsyncGenerator[Election]:
    """Be ready to stand; whether the API answers shows when somebody does."""
    from kubevip_election_k8s._instance import open_instance

    async with open_instance(config, host) as election:
        yield election


def describe_lease(config: LeaseConfig, outlook: Outlook) -> Description:
    """Say what the election would do here."""
    from kubevip_election_k8s._description import describe

    return describe(config, outlook)


def claims_lease(config: LeaseConfig) -> str:
    """Say which Lease has one holder for all that name it; Leases of single groups are named after these."""
    return f"Lease {config.lease}" if config.scope is Scope.LEASE else ""


K8S = Provider(
    name="k8s",
    summary="Whoever holds a Lease of Kubernetes holds the virtual IPs",
    config=LeaseConfig,
    open=open_lease,
    describe=describe_lease,
    claims=claims_lease,
)


@hookimpl
def kubevip_elections() -> Iterable[ElectionProvider]:
    """Provide the election `k8s`."""
    yield K8S
