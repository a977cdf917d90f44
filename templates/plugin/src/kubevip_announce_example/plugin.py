"""The announcer "example"."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from kubevip import Provider, hookimpl
from kubevip_announce_example._config import ExampleConfig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from kubevip import AnnouncerProvider, Host
    from kubevip.abc import Announcer


@asynccontextmanager
async def open_example(config: ExampleConfig, host: Host) -> AsyncGenerator[Announcer]:
    """Open an instance. Connections, tables and clients that all addresses share belong here."""
    from kubevip_announce_example._announcer import ProgramAnnouncer  # what is heavy is imported when it is used

    yield ProgramAnnouncer(config)


EXAMPLE = Provider(
    name="example",
    summary="Call a program when an address comes and goes",
    config=ExampleConfig,
    open=open_example,
)


@hookimpl
def kubevip_announcers() -> Iterable[AnnouncerProvider]:
    """Provide it."""
    yield EXAMPLE
