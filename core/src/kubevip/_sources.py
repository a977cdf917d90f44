"""What all sources want together: the newest good snapshot of each, merged, resolved and handed on."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from anyio import Event
from anyio.lowlevel import checkpoint
from attrs import frozen

from kubevip._contract import Feed
from kubevip._latest import Latest
from kubevip._model import Kind, Severity
from kubevip._resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip._board import Board
    from kubevip._model import Desired, Problem
    from kubevip._plugins import PluginRegistry
    from kubevip._resolved import Resolved
    from kubevip.abc import ConfigSource

logger = logging.getLogger("kubevip.config")


@frozen(kw_only=True)
class Refusal:
    """A configuration that was not taken over: when (wall-clock seconds, for people), and why."""

    at: float
    problems: tuple[Problem, ...]


class Sources:
    """Merges what the sources publish. `wanted` is None until one of them has published.

    `base` is what the command line wants; it comes first, so nothing overrides it.
    """

    def __init__(self, base: Desired, registry: PluginRegistry, board: Board) -> None:
        self.wanted: Latest[Resolved | None] = Latest(None)
        self.has_published = Event()
        self.reload = Latest(0)
        self.since: float | None = None
        self._base, self._registry, self._board = base, registry, board
        self._snapshots: dict[str, Desired] = {}
        self._refused: dict[str, Refusal] = {}
        self._told: frozenset[str] = frozenset()
        self._merge()

    async def follow(self, name: str, source: ConfigSource) -> None:
        """Run `source` and take over what it publishes, until cancelled or it has nothing more to say."""
        await checkpoint()
        await source.run(
            Feed(
                publish=partial(self._publish, name),
                reject=partial(self._reject, name),
                status=self._board.published,
                reload=self.reload,
            )
        )

    def read_again(self) -> None:
        """Ask all sources to read again."""
        self.reload.set(self.reload.value + 1)

    @property
    def refused(self) -> Refusal | None:
        """The newest refusal that no good configuration has followed."""
        return max(self._refused.values(), key=lambda refusal: refusal.at, default=None)

    def _publish(self, name: str, desired: Desired) -> None:
        if self._snapshots.get(name) == desired and name not in self._refused:
            return
        self._snapshots[name] = desired
        self._refused.pop(name, None)
        logger.info("taken over source=%s digest=%s", name, desired.digest or "-")
        self.since = time.time()  # noqa: TID251 -- shown to people, decides nothing
        self._merge()
        self.has_published.set()

    def _reject(self, name: str, problems: Sequence[Problem]) -> None:
        at = time.time()  # noqa: TID251 -- shown to people, decides nothing
        self._refused[name] = Refusal(at=at, problems=tuple(problems))
        for problem in problems:
            logger.error("refused source=%s: %s", name, problem)
        self._board.touch()

    def _merge(self) -> None:
        ordered, followed = [self._base], set[str]()
        for desired in ordered:  # grows: a source may name further sources
            for instance in desired.instances:
                if instance.kind is Kind.SOURCE and instance.name not in followed:
                    followed.add(instance.name)
                    if (snapshot := self._snapshots.get(instance.name)) is not None:
                        ordered.append(snapshot)
        # what a source said goes with it; one that fails and is restarted is still wanted, and its word stands
        self._snapshots = {name: said for name, said in self._snapshots.items() if name in followed}
        self._refused = {name: refusal for name, refusal in self._refused.items() if name in followed}
        resolved = resolve(ordered, self._registry)
        told = frozenset(map(str, resolved.problems))
        for problem in resolved.problems:
            if str(problem) not in self._told:
                level = logging.WARNING if problem.severity is Severity.WARNING else logging.ERROR
                logger.log(level, "%s", problem)
        self._told = told
        self._board.problems = tuple(map(str, resolved.problems))
        self._board.config_digest = resolved.digest
        self.wanted.set(resolved)
        self._board.touch()
