"""The health check "apiserver", for nodes of a Kubernetes control plane."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kubevip import Description, Provider, hookimpl
from kubevip_control_plane._config import ApiServerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from kubevip import CheckProvider, Host, Outlook
    from kubevip.abc import Check


@asynccontextmanager
async def open_apiserver(config: ApiServerConfig, host: Host) -> AsyncGenerator[Check]:
    """Make the check; it holds nothing between two questions."""
    from kubevip_control_plane._apiserver_check import ApiServerCheck

    yield ApiServerCheck(config)


def describe_apiserver(config: ApiServerConfig, outlook: Outlook) -> Description:
    """Say what would be asked here."""
    from kubevip_control_plane._apiserver_check import url_of

    return Description(lines=(f"{url_of(config)} (as {config.server_name})",))


APISERVER = Provider(
    name="apiserver",
    summary="Check that the Kubernetes API server of this node is ready",
    config=ApiServerConfig,
    open=open_apiserver,
    describe=describe_apiserver,
)


@hookimpl
def kubevip_checks() -> Iterable[CheckProvider]:
    """Provide the check of the node's own API server."""
    yield APISERVER
