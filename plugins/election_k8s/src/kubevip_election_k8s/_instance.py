"""Opens the election: connects it to the API, and puts the parts together."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from random import Random

from anyio import create_task_group

from kubevip import Host
from kubevip_election_k8s._clock import BootClock, Clock
from kubevip_election_k8s._config import LeaseConfig
from kubevip_election_k8s._election import LeaseElection
from kubevip_election_k8s._last_will import LastWill, access_of
from kubevip_k8s import Access, Api, SupportsCredentials, open_api, open_control_plane_api, own_server

#: What makes an identity unlike any other of this node: a state directory that was lost counts from one again.
UNIQUE_BITS = 40

#: By state folder, node and Lease, the last terms that this process reported: one that is opened again must not repeat
#: them.
_last_terms: dict[tuple[Path, str, str], dict[str, int]] = {}


@asynccontextmanager
async def open_instance(config: LeaseConfig, host: Host) -> AsyncGenerator[LeaseElection]:
    """Run the election while the body runs. Nothing is asked of the API before somebody stands."""
    async with _open_api(config) as api:

        def access() -> Mapping[str, object] | None:
            return access_of(api.credentials if isinstance(api, SupportsCredentials) else None)

        async with open_election(config, host, api, BootClock(), access) as election:
            yield election


def _open_api(config: LeaseConfig) -> AbstractAsyncContextManager[Api]:
    if config.control_plane:
        accesses = own_server(
            config.kubeconfig,
            context=config.context,
            server=config.server,
            tls_server_name=config.tls_server_name,
        )
        return open_control_plane_api(accesses)
    access = Access(
        kubeconfig=config.kubeconfig,
        context=config.context,
        server=config.server,
        tls_server_name=config.tls_server_name,
    )
    return open_api(access)


@asynccontextmanager
async def open_election(
    config: LeaseConfig,
    host: Host,
    api: Api,
    clock: Clock,
    access: Callable[[], Mapping[str, object] | None] = lambda: None,
) -> AsyncGenerator[LeaseElection]:
    """Run the election over `api` and `clock` while the body runs.

    :param access: how a last will reaches the API.
    """
    rng = Random(host.rng.getrandbits(64))
    identity = identity_of(host, rng)
    will = LastWill(host.will, identity, access)
    with will.left():
        async with create_task_group() as tg:
            election = LeaseElection(
                config.lease_name,
                config.scope,
                api,
                tg,
                identity=identity,
                node=host.node_name,
                timing=config.timing,
                clock=clock,
                rng=rng,
                will=will,
                last_terms=_last_terms.setdefault((host.state_dir, host.node_name, config.lease), {}),
            )
            tg.start_soon(will.run)
            tg.start_soon(election.run)
            yield election
            tg.cancel_scope.cancel()


def identity_of(host: Host, rng: Random) -> str:
    """Return what this process is called in a Lease: node, underscore, incarnation, and what nobody else draws.

    Two processes of a node must never renew for each other, nor one for its predecessor.
    """
    return f"{host.node_name}_{host.incarnation}-{rng.getrandbits(UNIQUE_BITS):010x}"
