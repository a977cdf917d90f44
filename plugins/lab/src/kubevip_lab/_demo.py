"""`kubevip lab demo`: the holder is stopped, killed, frozen and cut off, and each time another takes over."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from kubevip.errors import KubevipError
from kubevip_lab._busyness import busy_note
from kubevip_lab._faults import FAULTS
from kubevip_lab._lab import VIP
from kubevip_lab._round import Round, run_round, wait_until_whole
from kubevip_lab._watch import open_watch

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

    from kubevip_lab._lab import Lab
    from kubevip_lab._show import Show

FAULT_NAMES = ("term", "kill", "freeze", "cut")
INTERVAL_SECONDS = 0.001
TIMEOUT_SECONDS = 15.0
LIMIT_SECONDS = 85.0
"""The demonstration ends by itself, whatever the subject does."""


@frozen(kw_only=True)
class Demonstration:
    """What was seen: the backends that the client reached through the address, and a round for each fault."""

    subject: str
    backends: tuple[str, ...]
    rounds: tuple[Round, ...]

    @property
    def is_good(self) -> bool:
        """Whether the client reached backends and every takeover worked."""
        return bool(self.backends) and all(each.is_good for each in self.rounds)

    @property
    def verdict(self) -> str:
        """The last line: that all went well, or what did not."""
        if self.is_good:
            return "every takeover worked, and never did two nodes answer"
        if not self.backends:
            return f"the client reached no backend through the address{busy_note()}"
        wrong = [f"{it.holder_before} {FAULTS[it.fault].done}: {it.trouble}" for it in self.rounds if it.trouble]
        return f"not every takeover worked: {'; '.join(wrong)}{busy_note()}"

    def report(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        return {"is_good": self.is_good, **asdict(self)}


def demonstrate(lab: Lab, show: Show) -> Demonstration:
    """Let each fault happen once to whoever holds the address.

    :raises KubevipError: when the cluster does not become whole in time before or after a fault.
    """
    rounds: list[Round] = []
    with (
        _at_most(LIMIT_SECONDS),
        open_watch(lab, INTERVAL_SECONDS) as watch,
    ):
        show.say("waiting for a leader and for answers through the address")
        holder = wait_until_whole(lab, watch, TIMEOUT_SECONDS)
        backends: set[str] = set()

        def are_all_seen() -> bool:
            backends.update(each.by for each in watch.probers["http"].since(0))
            return backends >= set(lab.backends)

        watch.pump(TIMEOUT_SECONDS, are_all_seen)
        show.say(f"{holder} holds {VIP}; the client reaches {', '.join(sorted(backends))} through it")
        for name in FAULT_NAMES:
            holder = wait_until_whole(lab, watch, TIMEOUT_SECONDS)
            rounds.append(run_round(lab, watch, FAULTS[name], holder, TIMEOUT_SECONDS, say=show.say))
            show.add(rounds[-1])
    result = Demonstration(subject=lab.subject.name, backends=tuple(sorted(backends)), rounds=tuple(rounds))
    show.say(result.verdict)
    return result


@contextmanager
def _at_most(seconds: float) -> Generator[None]:
    """Raise an error into the block when it takes longer."""

    def end(number: int, frame: FrameType | None) -> None:
        raise KubevipError(f"the demonstration did not end within {seconds:.0f} s{busy_note()}")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
