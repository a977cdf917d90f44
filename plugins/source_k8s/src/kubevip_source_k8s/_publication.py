"""Publishes what the objects of a cluster want, and tells each what becomes of it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anyio import Event, move_on_after, sleep

from kubevip import Level, Severity
from kubevip_source_k8s._events import Said

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping

    from kubevip import Desired, Feed, IPAddress, Latest, Problem, Snapshot
    from kubevip_k8s import JsonObject
    from kubevip_source_k8s._teller import Teller
    from kubevip_source_k8s._translation import Translator

log = logging.getLogger("kubevip.k8s")

#: Changes that come together are published together. The pause after a snapshot grows with its size, so that a cluster
#: in which something changes all the time costs a tenth of a processor at most: the core takes 0.1 ms for each item.
PAUSE_SECONDS, PAUSE_SECONDS_EACH = 0.05, 0.001
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
        granted: Callable[[Mapping[Hashable, tuple[IPAddress, ...]]], None] = lambda granted: None,
    ) -> None:
        self.snapshots = 0
        """How many were published."""
        self._translator, self._teller, self._node = translator, teller, node
        self._about, self._owner, self._take_granted = about, owner, granted
        self._granted: Mapping[Hashable, tuple[IPAddress, ...]] = {}
        self._problems: Mapping[str, Problem] = {}
        self._further: tuple[Problem, ...] = ()
        self._published: Desired | None = None
        self._news = Event()
        self.is_pending = True
        """Whether there are changes that were not translated yet."""

    @property
    def problems(self) -> list[str]:
        """What is wrong with the objects, the first lines of it."""
        return list(self._problems)[:_MOST_LINES]

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
            translation, self.is_pending = self._translator.translate(), False
            if translation.desired != self._published:
                self._published = translation.desired
                self.snapshots += 1
                feed.publish(translation.desired)
            self._tell_problems([problem for found in translation.problems.values() for problem in found])
            self._granted = translation.granted
            self._take_granted(translation.granted)
            await sleep(PAUSE_SECONDS + PAUSE_SECONDS_EACH * len(self._translator))

    async def follow(self, status: Latest[Snapshot]) -> None:
        """Tell the objects who holds their addresses, and why nobody can, until cancelled."""
        held: frozenset[str] = frozenset()
        troubles: frozenset[tuple[str, str]] = frozenset()
        while True:
            snapshot = status.value
            held_now = frozenset(vip.name for vip in snapshot.vips if vip.is_held)
            troubles_now = frozenset(_troubles(snapshot))
            if held_now - held or troubles_now - troubles:
                self._tell_status(held_now - held, troubles_now - troubles)
            held, troubles = held_now, troubles_now
            await sleep(GATHER_SECONDS)
            await status.wait_for_change(snapshot)

    def _tell_problems(self, found: Iterable[Problem]) -> None:
        """Log and tell the problems that were not there before."""
        before, self._problems = self._problems, {str(problem): problem for problem in (*self._further, *found)}
        for line, problem in self._problems.items():
            if line not in before:
                is_warning = problem.severity is Severity.WARNING
                log.log(logging.WARNING if is_warning else logging.ERROR, "%s", problem)
                self.say(problem.place.file, "Ignored" if is_warning else "Refused", line)

    def _tell_status(self, gained: frozenset[str], troubles: frozenset[tuple[str, str]]) -> None:
        for address, why in troubles:
            if not address:  # a problem of the core's, which begins with the object
                self.say(why.partition(": ")[0], "LeftOut", why)
        failed = {address: why for address, why in troubles if address}
        for key, addresses in self._granted.items():
            for address in map(str, addresses):
                if address in gained:
                    note = f"{address} is held by node {self._node}"
                    self.say(self._owner(key), "AddressHeld", note, is_warning=False)
                if address in failed:
                    note = f"{address} cannot be held by node {self._node}: {failed[address]}"
                    self.say(self._owner(key), "AddressFailed", note)

    def say(self, owner: str, reason: str, note: str, *, is_warning: bool = True) -> None:
        """Tell of the object that is named `owner`."""
        if (about := self._about(owner)) is not None:
            note = note.removeprefix(f"{owner}: ")
            self._teller.say(Said(about=about[0], kind=about[1], reason=reason, note=note, is_warning=is_warning))


def _troubles(snapshot: Snapshot) -> Iterable[tuple[str, str]]:
    """Yield the problems of the configuration, and the addresses that this node cannot hold, with the reason."""
    for line in snapshot.problems:
        yield "", line
    for vip in snapshot.vips:
        if vip.health.level is Level.FAILED:
            yield vip.name, vip.health.reason
