"""What all sources want together: the newest good snapshot of each, merged, resolved and handed on."""

from __future__ import annotations

import logging
import time
from functools import partial
from typing import TYPE_CHECKING

from anyio import Event
from anyio.lowlevel import checkpoint
from attrs import evolve, frozen

from kubevip._contract import Feed
from kubevip._latest import Latest
from kubevip._model import Desired, Kind, Severity
from kubevip._resolution import Resolution
from kubevip._resolve import resolve

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from kubevip._board import Board
    from kubevip._model import Problem
    from kubevip._plugins import PluginRegistry
    from kubevip._resolved import Resolved
    from kubevip.abc import ConfigSource

logger = logging.getLogger("kubevip.config")


@frozen(kw_only=True)
class Refusal:
    """A configuration that was not taken over: when (wall-clock seconds, for people), and why."""

    at: float
    problems: tuple[Problem, ...]


_NOTHING = Desired()
_LEFT_OUT = " is left out: "  # what the resolver says between an item and the reason


class Sources:
    """Merges what the sources publish, while `run` runs.

    `base` is what the command line wants; it comes first, so nothing overrides it. `loaded` is what sources said before
    anything ran, by name, and `resolved` what all of that wants together: then `wanted` begins with it, and no source
    has to say it again. Without them it begins with what `base` alone wants.
    """

    def __init__(
        self,
        base: Desired,
        registry: PluginRegistry,
        board: Board,
        *,
        loaded: Mapping[str, Desired] | None = None,
        resolved: Resolved | None = None,
    ) -> None:
        self.wanted: Latest[Resolved | None] = Latest(None)
        self.has_published = Event()
        self.reload = Latest(0)
        self.since: float | None = None
        self._base, self._registry, self._board = base, registry, board
        self._said: dict[str, Desired] = dict(loaded or {})
        self._merged: dict[str, Desired] = {}  # the part of it that is in `wanted`
        self._refused: dict[str, Refusal] = {}
        self._mended: set[str] = set()  # what is good again, though perhaps the same as before it was refused
        self._told: frozenset[str] = frozenset()
        self._news = Event()
        self._resolution = Resolution(registry)
        if resolved is None:
            resolved = resolve((base, *self._said.values()), registry)
        self._take(self._said, resolved, changed=self._said.keys(), followed=self._said.keys())

    async def run(self) -> None:
        """Merge what is published, until cancelled."""
        while True:
            await self._news.wait()
            self._news = Event()
            said = dict(self._said)
            snapshots = _followed(self._base, said)
            resolved = await self._resolution.update(snapshots)
            changed = {name for name in snapshots.keys() & said.keys() if said[name] != self._merged.get(name)}
            self._take(said, resolved, changed=changed, followed=snapshots.keys())

    async def follow(self, name: str, source: ConfigSource) -> None:
        """Run `source` and take over what it publishes, until cancelled or it has nothing more to say."""
        await checkpoint()
        said = self._said.get(name) if name not in self._refused else None
        await source.run(
            Feed(
                publish=partial(self._publish, name),
                reject=partial(self._reject, name),
                status=self._board.published,
                reload=self.reload,
                known=said.text_digest if said is not None else "",
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
        self._said[name] = desired
        if self._refused.pop(name, None) is not None:
            self._mended.add(name)
            self._board.touch()
        self._news.set()

    def _reject(self, name: str, problems: Sequence[Problem]) -> None:
        at = time.time()  # noqa: TID251 -- shown to people, decides nothing
        self._refused[name] = Refusal(at=at, problems=tuple(problems))
        for problem in problems:
            logger.error("refused source=%s: %s", name, problem)
        self._board.touch()

    def _take(
        self, said: Mapping[str, Desired], resolved: Resolved, *, changed: Collection[str], followed: Collection[str]
    ) -> None:
        """Make what was said, and comes to `resolved`, what is wanted, unless it says nothing new.

        :param changed: the sources that say something else than what is wanted now.
        :param followed: the sources that are configured.
        """
        if not self._news.is_set():  # else it is about more than was merged, and merged again
            # what a source said goes with it; one that fails and is restarted is still wanted, and its word stands
            self._said = {name: desired for name, desired in self._said.items() if name in followed}
            self._refused = {name: refusal for name, refusal in self._refused.items() if name in followed}
        taken = [name for name in said if name in changed or name in self._mended]
        self._mended.difference_update(said)
        if self.wanted.value is not None and not taken:
            return
        before = self.wanted.value
        for name in taken:
            was = self._merged.get(name)
            if was is not None and name in changed and _differ_in_backends_alone(was, said[name]):
                logger.debug("backends changed source=%s", name)  # which come and go all the time
                continue
            logger.info("taken over source=%s digest=%s", name, said[name].digest or "-")
            self.since = time.time()  # noqa: TID251 -- shown to people, decides nothing
        self._merged = {name: desired for name, desired in said.items() if name in followed}
        if before is None or before.problems is not resolved.problems or before.digest != resolved.digest:
            problems = fold(resolved.problems)
            self._tell(problems)
            self._board.problems = tuple(map(str, problems))
            self._board.config_digest = resolved.digest
            self._board.touch()
        self.wanted.set(resolved)
        if taken:
            self.has_published.set()

    def _tell(self, problems: Sequence[Problem]) -> None:
        """Log the problems that were not there before."""
        for problem in problems:
            if str(problem) not in self._told:
                level = logging.WARNING if problem.severity is Severity.WARNING else logging.ERROR
                logger.log(level, "%s", problem)
        self._told = frozenset(map(str, problems))


def fold(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Say once what is wrong at one place for one reason, and how much else is left out because of it.

    One setting of a source may be the group of hundreds of addresses.
    """
    counts: dict[tuple[object, ...], int] = {}
    first: dict[tuple[object, ...], Problem] = {}
    for problem in dict.fromkeys(problems):
        key = problem.place, problem.severity, problem.message.partition(_LEFT_OUT)[2] or problem.message
        first.setdefault(key, problem)
        counts[key] = counts.get(key, 0) + 1
    return tuple(
        evolve(problem, message=f"{problem.message} (and {counts[key] - 1} more)") if counts[key] > 1 else problem
        for key, problem in first.items()
    )


def _differ_in_backends_alone(before: Desired, now: Desired) -> bool:
    """Return whether two snapshots of a source want the same, but for where connections go."""

    def is_same(name: str) -> bool:
        old, new = before.parts.get(name), now.parts.get(name)
        return old is not None and new is not None and _differ_in_backends_alone(old, new)

    return _without_backends(before) == _without_backends(now) and all(
        map(is_same, now.parts.changed_since(before.parts))
    )


def _without_backends(desired: Desired) -> Desired:
    """Leave out the parts, too."""
    balancers = tuple(evolve(balancer, backends=()) for balancer in desired.load_balancers)
    return evolve(desired, load_balancers=balancers, parts=_NOTHING.parts)


def _followed(base: Desired, said: Mapping[str, Desired]) -> dict[str, Desired]:
    """Return the snapshots of the sources that are configured, in order, by their names; "" is the base."""
    ordered = {"": base}
    waiting = [base]
    for desired in waiting:  # grows: a source may name further sources
        for instance in desired.instances:
            if instance.kind is Kind.SOURCE and instance.name not in ordered:
                ordered[instance.name] = said.get(instance.name, _NOTHING)
                waiting.append(ordered[instance.name])
    return ordered
