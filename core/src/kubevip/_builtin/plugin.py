"""Providers that are always there: election "single", source "static"."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip._builtin._single import SingleElection
from kubevip._builtin._static import StaticConfig, StaticSource
from kubevip._contract import Description
from kubevip.abc import Provider
from kubevip.hookspecs import hookimpl

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from kubevip._contract import Host, Outlook
    from kubevip.abc import ConfigSource, Election, ElectionProvider, SourceProvider


@frozen(kw_only=True)
class SingleConfig:
    """The election of a single node has nothing to configure."""


@asynccontextmanager
async def _open_single(config: SingleConfig, host: Host) -> AsyncGenerator[Election]:
    yield SingleElection()


def _describe_single(config: SingleConfig, outlook: Outlook) -> Description:
    return Description(lines=(f"{outlook.node_name} alone: always holds; nobody takes over",))


@asynccontextmanager
async def _open_static(config: StaticConfig, host: Host) -> AsyncGenerator[ConfigSource]:
    yield StaticSource(config.desired)


SINGLE = Provider(
    name="single",
    summary="A node that is alone always leads",
    config=SingleConfig,
    open=_open_single,
    describe=_describe_single,
)

STATIC = Provider(
    name="static", summary="A configuration given by a program, once", config=StaticConfig, open=_open_static
)


@hookimpl
def kubevip_elections() -> Iterable[ElectionProvider]:
    """Yield the election of a single node."""
    yield SINGLE


@hookimpl
def kubevip_config_sources() -> Iterable[SourceProvider]:
    """Yield the static source."""
    yield STATIC
