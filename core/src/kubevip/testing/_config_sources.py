"""Checks of a configuration source: whole snapshots, refusals that disturb nothing, reading again when asked."""

from __future__ import annotations

import threading  # noqa: TID251 -- only to name the thread that a snapshot came from
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, create_task_group, current_time, move_on_after, sleep
from attrs import frozen

from kubevip._contract import Feed
from kubevip._latest import Latest
from kubevip._model import Desired, Problem
from kubevip._status import Snapshot
from kubevip.abc import SupportsLoad
from kubevip.errors import ConfigError
from kubevip.testing._duty import SLACK_SECONDS, plain_failures, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from kubevip.abc import ConfigSource

PUBLISH = "ConfigSource.run (publishes whole snapshots, the newest wins)"
REJECT = "ConfigSource.run (tells all problems of what cannot be read; the last good snapshot stays)"
END = "ConfigSource.run (until cancelled; returns when nothing will change again)"
LOAD = "SupportsLoad.load (what run would publish first; ConfigError with all problems)"


@frozen(kw_only=True)
class Edits:
    """What the test can do to what the source reads; each is called from the event loop. None: it cannot be done."""

    change: Callable[[], None] | None = None
    """Make it want something else than before, each time."""
    touch: Callable[[], None] | None = None
    """Write the same again."""
    spoil: Callable[[], None] | None = None
    """Make it unreadable."""
    mend: Callable[[], None] | None = None
    """Make it readable again, as it was before it was spoilt."""


class _Watch:
    """What a source tells."""

    def __init__(self) -> None:
        self.published: Latest[tuple[Desired, ...]] = Latest(())
        self.rejected: Latest[tuple[tuple[Problem, ...], ...]] = Latest(())
        self.reload = Latest(0)
        self._thread, self.is_foreign = threading.get_ident(), False
        self.feed = Feed(
            publish=self._publish, reject=self._reject, status=Latest(Snapshot(node="n1")), reload=self.reload
        )

    @property
    def last(self) -> Desired:
        return self.published.value[-1]

    def _publish(self, desired: Desired) -> None:
        if threading.get_ident() == self._thread:
            self.published.set((*self.published.value, desired))
        else:
            self.is_foreign = True

    def _reject(self, problems: Sequence[Problem]) -> None:
        if threading.get_ident() == self._thread:
            self.rejected.set((*self.rejected.value, tuple(problems)))
        else:
            self.is_foreign = True


async def check_source(
    make: Callable[[], AbstractAsyncContextManager[ConfigSource]],
    edits: Edits | None = None,
    *,
    notice_within_seconds: float = 5.0,
    grace_seconds: float = 1.0,
) -> None:
    """Check a source, whose input is readable now.

    :param make: opens an instance; it is opened twice.
    :param edits: what can be done to the input; None: it never changes.
    :param notice_within_seconds: how long an edit may take to show, without anybody asking to read again.
    :raises AssertionError: naming what is broken.
    """
    edits = edits if edits is not None else Edits()
    with plain_failures():
        async with make() as source:
            watch = _Watch()
            scope, ended = CancelScope(), Event()

            async def run() -> None:
                with scope:
                    await source.run(watch.feed)
                ended.set()

            async with create_task_group() as tg:
                tg.start_soon(run)
                await _first(source, watch, notice_within_seconds)
                await _edited(watch, edits, notice_within_seconds)
                await _asked(watch, notice_within_seconds)
                asked = current_time()
                scope.cancel()
                await ended.wait()
                took = current_time() - asked
                require(took <= grace_seconds + SLACK_SECONDS, END, f"it went on for {took:.2f} s when cancelled")
            told = len(watch.published.value)
            await sleep(SLACK_SECONDS)
            require(len(watch.published.value) == told, END, "it published after it had ended")
            require(not watch.is_foreign, PUBLISH, "it told something from a thread that is not the event loop's")
        async with make() as again:
            if edits.spoil is not None and edits.mend is not None:
                edits.spoil()
                await _refused_at_start(again, notice_within_seconds)
                edits.mend()


async def _first(source: ConfigSource, watch: _Watch, seconds: float) -> None:
    loaded: Desired | None = None
    if isinstance(source, SupportsLoad):
        loaded, warnings = source.load()
        require(all(isinstance(it, Problem) for it in warnings), LOAD, f"the warnings are {warnings!r}")
    with move_on_after(seconds):
        await watch.published.wait_until(bool)
    rejected = "; ".join(str(problem) for problems in watch.rejected.value for problem in problems)
    require(
        bool(watch.published.value),
        PUBLISH,
        f"nothing was published within {seconds:g} s; rejected: {rejected or 'nothing'}",
    )
    require(isinstance(watch.last, Desired), PUBLISH, f"{watch.last!r} was published, which is no Desired")
    require(loaded is None or loaded == watch.last, LOAD, f"it loaded {loaded!r} and published {watch.last!r}")


async def _edited(watch: _Watch, edits: Edits, seconds: float) -> None:
    """Change, touch, spoil and mend; nobody asks to read again."""
    if edits.change is not None:
        await _changes(watch, edits.change, seconds)
    if edits.touch is not None:
        before = watch.last
        edits.touch()
        await sleep(seconds)
        require(watch.last == before, PUBLISH, "the same content, written again, was published as something else")
        require(not watch.rejected.value, REJECT, "the same content, written again, was rejected")
    if edits.spoil is not None and edits.mend is not None:
        before, published, rejected = watch.last, len(watch.published.value), len(watch.rejected.value)
        edits.spoil()
        with move_on_after(seconds):
            await watch.rejected.wait_until(lambda told: len(told) > rejected)
        require(len(watch.rejected.value) > rejected, REJECT, f"nothing was rejected within {seconds:g} s")
        problems = watch.rejected.value[-1]
        require(bool(problems), REJECT, "it rejected without saying why")
        require(all(it.place.file for it in problems), REJECT, f"a problem has no place: {problems!r}")
        require(len(watch.published.value) == published, REJECT, "it published something unreadable")
        edits.mend()
        with move_on_after(seconds):
            await watch.published.wait_until(lambda told: len(told) > published)
        # published again also when it is equal: that is how the core knows that the refusal is over
        require(len(watch.published.value) > published, PUBLISH, "what is readable again was not published")
        require(watch.last == before, PUBLISH, "what was mended is not what it was before")
    if edits.change is not None:
        await _changes(watch, edits.change, seconds)


async def _changes(watch: _Watch, change: Callable[[], None], seconds: float) -> None:
    before = watch.last
    change()
    with move_on_after(seconds):
        await watch.published.wait_until(lambda told: told[-1] != before)
    require(watch.last != before, PUBLISH, f"a change was not published within {seconds:g} s")


async def _asked(watch: _Watch, seconds: float) -> None:
    """Ask to read again what has not changed."""
    before, rejected = watch.last, len(watch.rejected.value)
    watch.reload.set(watch.reload.value + 1)
    await sleep(min(seconds, 1.0))
    require(watch.last == before, PUBLISH, "reading again what had not changed brought something else")
    require(len(watch.rejected.value) == rejected, REJECT, "reading again what had not changed was a problem")


async def _refused_at_start(source: ConfigSource, seconds: float) -> None:
    """Start on unreadable input: it is told, and nothing is published."""
    if isinstance(source, SupportsLoad):
        try:
            source.load()
        except ConfigError as error:
            require(bool(error.problems), LOAD, "it refused without a problem")
        else:
            require(False, LOAD, "unreadable input was loaded")
    watch = _Watch()
    async with create_task_group() as tg:
        tg.start_soon(source.run, watch.feed)
        with move_on_after(seconds):
            await watch.rejected.wait_until(bool)
        tg.cancel_scope.cancel()
    require(bool(watch.rejected.value), REJECT, "unreadable input at start was not told")
    require(not watch.published.value, REJECT, "unreadable input at start was published")
