"""Publishes what the objects of a cluster want, and tells each what becomes of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anyio import Event, move_on_after, sleep
from anyio.lowlevel import checkpoint

from kubevip import Level, PersistentMap, Severity, Snapshot
from kubevip_source_k8s._events import Said

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from kubevip import Desired, Feed, IPAddress, Latest, Problem
    from kubevip_k8s import JsonObject
    from kubevip_source_k8s._teller import Teller
    from kubevip_source_k8s._translation import Translator

log = logging.getLogger("kubevip.k8s")

#: Changes that come together are published together: a rollout changes the endpoints of a Service several times within
#: a moment. One change costs a millisecond and less in all, so a cluster in which something changes all the time costs
#: 2 % of a processor at most.
PAUSE_SECONDS = 0.05
#: So much is translated in one go, each in a tenth of a millisecond; then others have their turn.
SLICE = 20
#: How often it is looked whether everything was listed; a list that is refused wakes nobody.
LOOK_SECONDS = 1.0
#: How long changes of what is held are gathered.
GATHER_SECONDS = 0.2

_MOST_LINES = 20


class Publication:
    """Translates and publishes after each `touch`, and follows what became of it.

    :param about: returns the object that is named as problems name it ("Service shop/web"), and its kind; events are
        about it.
    :param owner: returns that name for what a wish was set under.
    :param granted: told which addresses are granted to whom.
    """

    def __init__(
        self,
        translator: Translator,
        teller: Teller,
        *,
        node: str,
        about: Callable[[str], tuple[JsonObject, str] | None],
        owner: Callable[[Hashable], str],
        granted: Callable[[PersistentMap[Hashable, tuple[IPAddress, ...]]], None] = lambda granted: None,
    ) -> None:
        self.snapshots = 0
        """How many were published."""
        self._translator, self._teller, self._node = translator, teller, node
        self._about, self._owner, self._take_granted = about, owner, granted
        self._found: tuple[tuple[Problem, ...], PersistentMap[Hashable, tuple[Problem, ...]]] = (), PersistentMap()
        self._problems: Mapping[str, Problem] = {}
        self._further: tuple[Problem, ...] = ()
        self._published: Desired | None = None
        self._news = Event()
        self.is_pending = True
        """Whether there are changes that were not translated yet."""

    def problems(self, api: str = "") -> list[str]:
        """Return what is wrong with the objects; of much of it the first lines, and how many more there are.

        :param api: why the cluster is not followed at the moment, "" if it is.
        """
        old = [f"what is known of the cluster may be old: {api}"] if api else []
        lines = list(self._problems)
        more = [f"and {len(lines) - _MOST_LINES} more; the log has all"] if len(lines) > _MOST_LINES else []
        return [*old, *lines[:_MOST_LINES], *more]

    def touch(self, *, again: bool = False) -> None:
        """Say that something has changed; `again`: publish also what was published already."""
        if again:
            self._published = None
        self.is_pending = True
        self._news.set()

    def set_further(self, problems: tuple[Problem, ...]) -> None:
        """Take over what is wrong with objects that are not translated."""
        self._further = problems
        self.touch()

    async def run(self, feed: Feed, is_ready: Callable[[], bool]) -> None:
        """Publish until cancelled; nothing before everything that matters has been listed once."""
        while not is_ready():
            with move_on_after(LOOK_SECONDS):
                await self._news.wait()
            self._news = Event()
        self._news.set()
        while True:
            await self._news.wait()
            self._news = Event()
            if not is_ready():  # endpoints have come to matter, which were not listed yet: they will wake this
                continue
            while self._translator.work(SLICE):
                await checkpoint()
            translation, self.is_pending = self._translator.now, False
            if translation.desired != self._published:
                self._published = translation.desired
                self.snapshots += 1
                feed.publish(translation.desired)
            if (now := (self._further, translation.problems)) != self._found:
                self._found = now
                self._tell_problems()
            self._take_granted(translation.granted)
            await sleep(PAUSE_SECONDS)

    async def follow(self, status: Latest[Snapshot]) -> None:
        """Tell the objects who holds their addresses, and why nobody can, until cancelled."""
        seen, held, failed = Snapshot(), set[str](), dict[str, str]()
        while True:
            snapshot = status.value
            for line in () if snapshot.problems == seen.problems else snapshot.problems:
                if line not in seen.problems:
                    self.say(line.partition(": ")[0], "LeftOut", line)  # a problem of the core's begins with the object
            for name, vip in snapshot.vips_since(seen).items():
                if vip is None or not vip.is_held:
                    held.discard(name)
                elif name not in held:
                    held.add(name)
                    self._tell_of(vip.address, "AddressHeld", f"is held by node {self._node}", is_warning=False)
                if vip is None or vip.health.level is not Level.FAILED:
                    failed.pop(name, None)
                elif failed.get(name) != vip.health.reason:
                    failed[name] = vip.health.reason
                    why = f"cannot be held by node {self._node}: {vip.health.reason}"
                    self._tell_of(vip.address, "AddressFailed", why)
            seen = snapshot
            await sleep(GATHER_SECONDS)
            await status.wait_for_change(snapshot)

    def _tell_of(self, address: IPAddress, reason: str, what: str, *, is_warning: bool = True) -> None:
        for key in self._translator.sharers(address):
            self.say(self._owner(key), reason, f"{address} {what}", is_warning=is_warning)

    def _tell_problems(self) -> None:
        """Log and tell the problems that were not there before."""
        further, found = self._found
        problems = (*further, *(problem for some in found.values() for problem in some))
        before, self._problems = self._problems, {str(problem): problem for problem in problems}
        for line, problem in self._problems.items():
            if line not in before:
                is_warning = problem.severity is Severity.WARNING
                log.log(logging.WARNING if is_warning else logging.ERROR, "%s", problem)
                self.say(problem.place.file, "Ignored" if is_warning else "Refused", line)

    def say(self, owner: str, reason: str, note: str, *, is_warning: bool = True) -> None:
        """Tell of the object that is named `owner`."""
        if (about := self._about(owner)) is not None:
            note = note.removeprefix(f"{owner}: ")
            self._teller.say(Said(about=about[0], kind=about[1], reason=reason, note=note, is_warning=is_warning))
