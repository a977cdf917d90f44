"""`kubevip lab load`: every processor busy, the proxy at full load, and nobody is to lose what it holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from kubevip.errors import KubevipError
from kubevip_lab._holding import longest_gap, without_blind_moments
from kubevip_lab._lab import VIP, VIP_PORT
from kubevip_lab._record import ANSWERED
from kubevip_lab._watch import Prober
from kubevip_lab._witness import open_witness

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping
    from pathlib import Path

    from kubevip_lab._holding import Stretch
    from kubevip_lab._lab import Lab
    from kubevip_lab._show import Show
    from kubevip_lab._witness import Witness

CONNECTIONS = 50
_STORMS = 2
_WORD_SECONDS = 30.0
_EDGE_SECONDS = 0.05
SIGNS = {
    "elections": re.compile(r" INFO raft leading "),
    "lapses": re.compile(r" INFO leadership leading | INFO vip withdrawn | WARNING address fence: .* was silent "),
}
"""What the nodes write when a leader is elected; when a lease lapsed: it is given again, or was renewed too late."""


@frozen(kw_only=True)
class UnderLoad:
    """What happened in `seconds` of load.

    `elections` and `lapses` count what the nodes wrote of; `signs` are these lines. `breaks` counts questions in a row
    that no node answered, as asked of the nodes themselves, `longest_break_ms` is the longest such time. None of them
    should be: nothing is wrong with any node. `blind_moments` counts those at which the holder did not answer for its
    own address either: they are the network's or the watcher's, and no breaks. `processors` were each kept busy by a
    process of ordinary priority.
    """

    subject: str
    timing: str
    seconds: float
    processors: int
    requests_per_second: float
    elections: int
    lapses: int
    signs: tuple[str, ...]
    breaks: int
    longest_break_ms: float
    blind_moments: int
    watcher_late_ms: float

    @property
    def is_good(self) -> bool:
        """Whether nobody lost what it held, while the proxy had something to do."""
        return not (self.elections or self.lapses or self.breaks) and self.requests_per_second > 0

    def report(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        return {"is_good": self.is_good, **asdict(self)}

    def summary(self) -> Iterator[str]:
        """Yield what a person wants to know, a line each."""
        yield (
            f"{self.seconds:.0f} s, {self.processors} busy processors, {self.requests_per_second:.0f} requests/s:"
            f" {self.elections} elections, {self.lapses} lapsed leases, {self.breaks} times nobody answered"
            f" (at most {self.longest_break_ms} ms), {self.blind_moments} blind moments"
        )
        yield from self.signs


def run_load(lab: Lab, show: Show, *, seconds: float, timeout: float, timing: str) -> UnderLoad:
    """Put the cluster under load for `seconds`.

    :raises KubevipError: when it is not whole within `timeout` seconds at the beginning.
    """
    with open_witness(lab, [VIP], asks_own=True) as witness:
        if not witness.look(timeout, lambda: not witness.missing()):
            raise KubevipError(f"the cluster was not whole within {timeout:.0f} s: {witness.missing()}")
        processors = len(os.sched_getaffinity(0))
        logs = {node: daemon.log for node, daemon in lab.subject.daemons.items()}
        with _loaded(lab, witness, processors) as storms:
            witness.look(1.0)  # the load is there
            written = {node: log.stat().st_size for node, log in logs.items()}
            witness.begin()
            start, begun = monotonic(), _answered(storms)
            while (left := start + seconds - monotonic()) > 0:
                witness.look(min(left, _WORD_SECONDS))
                rate = (_answered(storms) - begun) / (monotonic() - start)
                show.say(f"{monotonic() - start:.0f} s, {rate:.0f} requests/s")
            end, total = monotonic(), _answered(storms) - begun
        found = signs(logs, written)
        stretches, blind = without_blind_moments(witness.stretches(), witness.own.stretches())
        count, longest = breaks(stretches, str(VIP), start, end)
        return UnderLoad(
            subject=lab.subject.name,
            timing=timing,
            seconds=round(end - start, 1),
            processors=processors,
            requests_per_second=round(total / (end - start), 1),
            elections=len(found["elections"]),
            lapses=len(found["lapses"]),
            signs=tuple(line for lines in found.values() for line in lines),
            breaks=count,
            longest_break_ms=round(longest * 1000, 1),
            blind_moments=blind,
            watcher_late_ms=round(witness.late_seconds * 1000, 1),
        )


@contextmanager
def _loaded(lab: Lab, witness: Witness, processors: int) -> Generator[list[Prober]]:
    """Keep all processors and the proxy busy inside the block; yields what the load puts on record."""
    storms = [Prober(interval=1.0) for _ in range(_STORMS)]
    with ExitStack() as stack:
        for number, storm in enumerate(storms):
            command = [sys.executable, "-P", "-m", "kubevip_lab._storm", str(VIP), str(VIP_PORT), str(CONNECTIONS)]
            process = lab.client.start(command, output=subprocess.PIPE, errors=sys.stderr.buffer)
            stack.enter_context(witness.watch.fed(process, {f"storm {number}": storm}))
        for _ in range(processors):
            busy = lab.client.start([sys.executable, "-I", "-c", "while True: pass"])
            stack.callback(busy.wait)
            stack.callback(busy.kill)
        yield storms


def _answered(storms: Iterable[Prober]) -> int:
    return sum(each.number for storm in storms for each in storm.records[ANSWERED])


def signs(logs: Mapping[str, Path], written: Mapping[str, int]) -> dict[str, list[str]]:
    """Return the lines that tell of an election or a lapse, in what logs say after their first `written` bytes."""
    found: dict[str, list[str]] = {what: [] for what in SIGNS}
    for node, log in logs.items():
        with log.open("rb") as file:
            file.seek(written[node])
            lines = file.read().decode(errors="replace").splitlines()
        for what, sign in SIGNS.items():
            found[what] += [f"{node} {line}" for line in lines if sign.search(line)]
    return found


def breaks(stretches: Iterable[Stretch], address: str, start: float, end: float) -> tuple[int, float]:
    """Return how often between two moments nobody held the address, and the longest time in seconds.

    Time before the first answer and after the last, shorter than `_EDGE_SECONDS`, is that of the questions themselves.
    """
    mine = sorted((each for each in stretches if each.address == address), key=lambda each: each.start)
    if not mine:
        return 1, end - start
    longest, _ = longest_gap(mine, address, start, end)
    edges = sum(gap > _EDGE_SECONDS for gap in (mine[0].start - start, end - max(each.end for each in mine)))
    if len(mine) == 1 and not edges:
        return 0, 0.0
    return len(mine) - 1 + edges, longest
