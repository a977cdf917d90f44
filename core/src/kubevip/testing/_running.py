"""The core on a given configuration and given providers: what a node runs, without its files, signals and keeper."""

from __future__ import annotations

from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING, Any

from anyio import create_task_group, move_on_after
from attrs import evolve, field, frozen

from kubevip._board import Board
from kubevip._context import Context
from kubevip._latest import Latest
from kubevip._model import Desired, Instance, Kind, Section
from kubevip._observe import Observers
from kubevip._plugin import Origin, Plugin, built_in, load_plugin
from kubevip._plugins import PluginRegistry
from kubevip._reconcile import Reconciler
from kubevip._sources import Sources
from kubevip.abc import Provider
from kubevip.testing._duty import plain_failures
from kubevip.testing._fakes import make_host

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
    from pathlib import Path

    from kubevip._contract import Feed, Host
    from kubevip._status import Snapshot
    from kubevip.abc import (
        AgentProvider,
        AnnouncerProvider,
        AnyProvider,
        CheckProvider,
        ConfigSource,
        ElectionProvider,
        ObserverProvider,
        ProxyProvider,
        SourceProvider,
    )

#: The source that says what the test wants.
TEST_SOURCE = "desired-by-the-test"


@frozen
class _Nothing:
    """There is nothing to configure."""


@frozen(eq=False)
class _TestSource:
    desired: Latest[Desired]

    async def run(self, feed: Feed) -> None:
        seen: Desired | None = None
        while True:
            seen = await self.desired.wait_for_change(seen)
            feed.publish(seen)


@frozen(kw_only=True, eq=False)
class RunningApp:
    """A node that runs."""

    _desired: Latest[Desired] = field(alias="desired")
    _board: Board = field(alias="board")
    _sources: Sources = field(alias="sources")

    def status(self) -> Snapshot:
        """Return what everything is doing now."""
        return self._board.snapshot()

    def set(self, desired: Desired) -> None:
        """Want something else from now on."""
        self._desired.set(desired)

    def reload(self) -> None:
        """Ask all sources to read again, as SIGHUP does."""
        self._sources.read_again()

    async def wait_until(self, test: Callable[[Snapshot], bool], *, seconds: float = 10.0) -> Snapshot:
        """Wait until `test` accepts the status.

        :raises AssertionError: with the status of then, when it does not within `seconds`.
        """
        with move_on_after(seconds):
            return await self._board.published.wait_until(test)
        raise AssertionError(f"not within {seconds:g} s: {self.status()}")


@asynccontextmanager
async def running_app(
    desired: Desired,
    *,
    state_dir: Path,
    elections: Iterable[ElectionProvider] = (),
    announcers: Iterable[AnnouncerProvider] = (),
    proxies: Iterable[ProxyProvider] = (),
    sources: Iterable[SourceProvider] = (),
    agents: Iterable[AgentProvider] = (),
    checks: Iterable[CheckProvider] = (),
    observers: Iterable[ObserverProvider] = (),
    node_name: str = "n1",
    seed: int = 1,
) -> AsyncGenerator[RunningApp]:
    """Run the core on `desired` until left; then everything is withdrawn, released and closed, in order.

    Besides the given providers there are those that the core has itself: election "single", source "static".

    :param state_dir: an existing folder for what instances keep.
    """
    given: tuple[tuple[Kind, Iterable[AnyProvider]], ...] = (
        (Kind.ELECTION, elections),
        (Kind.ANNOUNCER, announcers),
        (Kind.PROXY, proxies),
        (Kind.SOURCE, sources),
        (Kind.AGENT, agents),
        (Kind.CHECK, checks),
        (Kind.OBSERVER, observers),
    )
    wanted = Latest(desired)

    @asynccontextmanager
    async def open_source(config: _Nothing, host: Host) -> AsyncGenerator[ConfigSource]:
        yield _TestSource(wanted)

    source = Provider(name=TEST_SOURCE, summary="What the test wants", config=_Nothing, open=open_source)
    providers = [(kind, provider) for kind, some in given for provider in some]
    plugin = Plugin(
        origin=Origin(name="test", distribution="the test", load=lambda: None),
        providers=((Kind.SOURCE, source), *providers),
    )
    section = Section(provider=TEST_SOURCE)
    base = Desired(instances=(Instance(kind=Kind.SOURCE, name=TEST_SOURCE, section=section),))
    board = Board(node=node_name, instance="test")
    told = Observers()
    followed = Sources(base, PluginRegistry([load_plugin(built_in()), plugin]), board)

    def inside(kind: Kind, name: str) -> Callable[[Any], Awaitable[None]] | None:  # Any: the service is the plugin's
        if kind is Kind.SOURCE:
            return lambda source: followed.follow(name, source)
        if kind is Kind.OBSERVER:
            return lambda observer: told.follow(name, observer)
        return None

    context = Context(board=board, observers=told, rng=Random(seed))
    host = evolve(make_host(state_dir, node_name=node_name, seed=seed), config_digest=lambda: board.config_digest)
    reconciler = Reconciler(host, context, inside=inside)
    with plain_failures():
        async with create_task_group() as tg:
            tg.start_soon(board.run)
            tg.start_soon(followed.run)
            tg.start_soon(reconciler.run, followed.wanted)
            await followed.has_published.wait()
            await reconciler.applied.wait_until(lambda applied: applied is followed.wanted.value)
            yield RunningApp(desired=wanted, board=board, sources=followed)
            tg.cancel_scope.cancel()
