"""How fast this machine is, as far as the protocol's time spans depend on it: its disk and its timers.

Both are measured at the start, when everything on a machine starts, so a bad figure counts only when it stays bad.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

from anyio import current_time, sleep, to_thread
from attrs import frozen

from kubevip_election_raft._consensus.timing import Timing
from kubevip_election_raft._disk.storage import Storage

#: How often what looks slow is measured, and the pause between.
TRIES, TRY_SECONDS = 3, 0.5

#: So many short sleeps show how late a timer may be.
SLEEPS, SLEEP_SECONDS = 20, 0.002


@frozen(kw_only=True)
class Pace:
    """The time spans to use here; in `warnings`, what of this machine does not suit them, a line each."""

    timing: Timing
    warnings: tuple[str, ...] = ()


async def measure_pace(wanted: Timing, storage: Storage) -> Pace:
    """Measure this machine; `wanted` gets a longer promise if the disk needs one.

    :raises ElectionError: when the disk refuses.
    """

    async def sync_seconds() -> float:
        return await to_thread.run_sync(storage.measure_sync_seconds)

    best_sync = await _best_of(sync_seconds, lambda seconds: wanted.for_disk(seconds) == wanted)
    timing = wanted.for_disk(best_sync)
    warnings: list[str] = []
    if timing != wanted:
        warnings.append(
            f"this disk is slow: a sync takes {best_sync * 1000:.0f} ms, so the promise is "
            f"{timing.promise_seconds * 1000:.0f} ms instead of {wanted.promise_seconds * 1000:.0f}, "
            "and a lost node is replaced that much later"
        )
    late = await _best_of(measure_late_seconds, lambda seconds: seconds <= timing.slack_seconds / 2)
    if late > timing.slack_seconds / 2:
        warnings.append(
            f"this machine wakes up as much as {late * 1000:.0f} ms late, and these time spans bear "
            f"{timing.slack_seconds * 1000:.0f} ms: there may be false elections. `timing: relaxed` bears more; "
            "a machine that is not overloaded, and no CPU quota, need less"
        )
    return Pace(timing=timing, warnings=tuple(warnings))


async def measure_late_seconds() -> float:
    """Return by how much the latest of some short sleeps was too long."""
    latest = 0.0
    for _ in range(SLEEPS):
        asleep_at = current_time()
        await sleep(SLEEP_SECONDS)
        latest = max(latest, current_time() - asleep_at - SLEEP_SECONDS)
    return latest


async def _best_of(measure: Callable[[], Awaitable[float]], is_good: Callable[[float], bool]) -> float:
    """Return the first good figure, or the smallest of some."""
    best = math.inf
    for left in reversed(range(TRIES)):
        best = min(best, await measure())
        if is_good(best):
            break
        if left:
            await sleep(TRY_SECONDS)
    return best
