"""Raft election: members elect the holder among themselves, without any server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kubevip import Command, Description, ElectionProvider, Host, Outlook, Provider, Socket, hookimpl
from kubevip.abc import Election
from kubevip_election_raft._config import RaftConfig

if TYPE_CHECKING:
    import argparse

    from kubevip.control import Client


@asynccontextmanager
async def open_raft(config: RaftConfig, host: Host) -> AsyncGenerator[Election]:
    """Join the group; ready when the sockets listen and the state is read, which is before anybody leads."""
    from kubevip_election_raft._instance import open_instance

    async with open_instance(config, host) as election:
        yield election


def describe_raft(config: RaftConfig, outlook: Outlook) -> Description:
    """Say what the member would do here."""
    from kubevip_election_raft._description import describe

    return describe(config, outlook)


def sockets_of(config: RaftConfig) -> Iterable[Socket]:
    """Say where members listen. A group of one listens as soon as there are two, and needs the port then."""
    return (Socket(address=member.address, port=config.port_of(member)) for member in config.members)


RAFT = Provider(
    name="raft",
    summary="Members elect the holder among themselves (Raft), with the lease that takeovers wait for",
    config=RaftConfig,
    open=open_raft,
    describe=describe_raft,
    sockets=sockets_of,
)


def configure_command(parser: argparse.ArgumentParser) -> None:
    """Add the verbs of `kubevip raft`."""
    from kubevip_election_raft._commands.raft import configure

    configure(parser)


def run_command(args: argparse.Namespace, client: Client) -> int:
    """Carry out a verb of `kubevip raft`; returns the exit status."""
    from kubevip_election_raft._commands.raft import run

    return run(args, client)


COMMAND = Command(
    name="raft", summary="members of a raft group, and their keys", configure=configure_command, run=run_command
)


@hookimpl
def kubevip_elections() -> Iterable[ElectionProvider]:
    """Provide the election `raft`."""
    yield RAFT


@hookimpl
def kubevip_commands() -> Iterable[Command]:
    """Provide `kubevip raft`."""
    yield COMMAND
