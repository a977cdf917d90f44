"""Whether this member is in touch with its group: only then it knows who holds what."""

from __future__ import annotations

from collections.abc import Callable

from anyio import move_on_after

from kubevip import Latest
from kubevip_election_raft._consensus.ready import SoftState

#: A takeover may be under way for so long, in which nobody leads and everybody keeps what it holds.
PATIENCE_SECONDS, PATIENCE_PROMISES = 1.0, 3.0


class Contact:
    """The touch with a leader. It is there as soon as one is known, and lost when none was for a while."""

    def __init__(
        self, state: Latest[SoftState | None], promise_seconds: Callable[[], float], changed: Callable[[], None]
    ) -> None:
        """Prepare.

        :param promise_seconds: for how long members promise.
        :param changed: called whenever `is_there` has changed.
        """
        self._state, self._promise_seconds, self._changed = state, promise_seconds, changed
        self.is_there = False

    async def run(self) -> None:
        """Follow the state until cancelled."""
        while True:
            await self._state.wait_until(_has_leader)
            self._set(is_there=True)
            await self._state.wait_until(_has_none)
            with move_on_after(max(PATIENCE_SECONDS, PATIENCE_PROMISES * self._promise_seconds())):
                await self._state.wait_until(_has_leader)
                continue
            self._set(is_there=False)

    def _set(self, *, is_there: bool) -> None:
        if is_there != self.is_there:
            self.is_there = is_there
            self._changed()


def _has_leader(state: SoftState | None) -> bool:
    return state is not None and state.leader is not None


def _has_none(state: SoftState | None) -> bool:
    return not _has_leader(state)
