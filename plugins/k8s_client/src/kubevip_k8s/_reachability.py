"""Whether a server answers, as far as anybody in this process knows: who waits after an outage is told of its end.

Each part of kubevip has a connection of its own, and pauses of its own after a failure. Those of an election are
short; what follows objects may wait for half a minute, and goes on as soon as the election was answered.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable
from weakref import WeakValueDictionary

from anyio import Event


@runtime_checkable
class SupportsRecovery(Protocol):
    """An `Api` that knows when its server answers again."""

    async def recovered(self) -> None:
        """Return when the server has answered somebody after it had not answered somebody; never for what is now."""
        ...


class Reachability:
    """What is known of one server. Event-loop thread only."""

    def __init__(self) -> None:
        self._answers, self._recovered = True, Event()

    def note(self, *, is_answered: bool) -> None:
        """Take note whether it answered a request, whatever it said; who says that it cannot work has not answered."""
        has_recovered, self._answers = is_answered and not self._answers, is_answered
        if has_recovered:
            self._recovered.set()
            self._recovered = Event()

    async def recovered(self) -> None:
        """See `SupportsRecovery`."""
        await self._recovered.wait()


_known: WeakValueDictionary[str, Reachability] = WeakValueDictionary()


def reachability_of(server: str) -> Reachability:
    """Return what is known of a server, by its address; the same object for all who ask while anybody has it."""
    found = _known.get(server)
    if found is None:
        found = _known[server] = Reachability()
    return found
