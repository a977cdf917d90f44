"""For nodes of a Kubernetes control plane: the health check "apiserver", and `kubevip manifest`."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kubevip import Command, Description, Provider, hookimpl
from kubevip_control_plane._config import ApiServerConfig

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Iterable

    from kubevip import CheckProvider, Host, Outlook
    from kubevip.abc import Check
    from kubevip.control import Client


@asynccontextmanager
async def open_apiserver(config: ApiServerConfig, host: Host) -> AsyncGenerator[Check]:
    """Make the check; it holds nothing between two questions."""
    from kubevip_control_plane._apiserver_check import ApiServerCheck

    yield ApiServerCheck(config)


def describe_apiserver(config: ApiServerConfig, outlook: Outlook) -> Description:
    """Say what would be asked here."""
    from kubevip_control_plane._apiserver_check import url_of

    return Description(lines=(f"{url_of(config)} (as {config.server_name})",))


def configure_manifest(parser: argparse.ArgumentParser) -> None:
    """Add the options of `kubevip manifest`."""
    from kubevip_control_plane._manifest_command import configure

    configure(parser)


def run_manifest(args: argparse.Namespace, client: Client) -> int:
    """Print the objects."""
    from kubevip_control_plane._manifest_command import run

    return run(args, client)


MANIFEST = Command(
    name="manifest",
    summary="Print the Kubernetes objects that run kubevip in a cluster",
    configure=configure_manifest,
    run=run_manifest,
)

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


@hookimpl
def kubevip_commands() -> Iterable[Command]:
    """Provide `kubevip manifest`."""
    yield MANIFEST
