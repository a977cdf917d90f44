"""The configuration source "k8s"."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kubevip import Provider, hookimpl
from kubevip_source_k8s._config import K8sSourceConfig, Mode
from kubevip_source_k8s._environment import from_environment

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from kubevip import Description, Desired, Host, Outlook, SourceProvider
    from kubevip.abc import ConfigSource


@asynccontextmanager
async def open_k8s(config: K8sSourceConfig, host: Host) -> AsyncGenerator[ConfigSource]:
    """Open a connection to the API; nothing is asked of it before the source runs."""
    from kubevip_k8s import Access, open_api
    from kubevip_source_k8s._config_map_source import ConfigMapSource
    from kubevip_source_k8s._services_source import ServicesSource

    access = Access(
        kubeconfig=config.kubeconfig,
        context=config.context,
        server=config.server,
        tls_server_name=config.tls_server_name,
    )
    async with open_api(access) as api:
        if config.mode is Mode.SERVICES:
            yield ServicesSource(api, config, node=host.node_name, rng=host.rng)
        else:
            yield ConfigMapSource(api, config, node=host.node_name, rng=host.rng)


def describe_k8s(config: K8sSourceConfig, outlook: Outlook) -> Description:
    """Say what would be read, and who would hold its addresses."""
    from kubevip_source_k8s._description import describe

    return describe(config)


def foresee_k8s(config: K8sSourceConfig) -> Desired:
    """Return what everything that is read will have in common."""
    from kubevip_source_k8s._description import foresee

    return foresee(config)


K8S = Provider(
    name="k8s",
    summary="Read virtual IPs from Services or from ConfigMaps of a Kubernetes cluster",
    config=K8sSourceConfig,
    open=open_k8s,
    describe=describe_k8s,
    default=from_environment,
    foresee=foresee_k8s,
)


@hookimpl
def kubevip_config_sources() -> Iterable[SourceProvider]:
    """Yield the Kubernetes source."""
    yield K8S
