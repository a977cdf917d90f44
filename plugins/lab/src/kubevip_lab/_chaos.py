"""`kubevip lab chaos`: random faults for minutes, and whether two nodes ever held an address at one instant."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from attrs import define, field

from kubevip.errors import KubevipError
from kubevip_lab._chaos_report import ChaosReport
from kubevip_lab._faults import FAULTS
from kubevip_lab._schedule import schedule
from kubevip_lab._witness import open_witness

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from ipaddress import IPv4Address

    from kubevip_lab._lab import Lab
    from kubevip_lab._schedule import Step
    from kubevip_lab._show import Show
    from kubevip_lab._witness import Witness

_STOPS = ("term", "killall", "poweroff")
_AGAIN_SECONDS = 0.1  # until it is looked again whether a program that was asked to has stopped
_STOP_SECONDS = 15.0


def run_chaos(
    lab: Lab, show: Show, vips: Sequence[IPv4Address], *, seed: int, seconds: float, timeout: float
) -> ChaosReport:
    """Let the faults of a seed happen, repair all, wait until the cluster is whole, and say what was seen.

    :raises KubevipError: when it is not whole within `timeout` seconds at the beginning.
    """
    steps = schedule(seed, lab.nodes, seconds, len(vips))
    with open_witness(lab, vips) as witness:
        show.say("waiting until every address is held and all nodes take part")
        if not witness.look(timeout, lambda: not witness.missing()):
            raise KubevipError(f"the cluster was not whole within {timeout:.0f} s: {witness.missing()}")
        witness.begin()
        start = monotonic()
        with _open_timetable(lab, witness, show.say) as timetable:
            timetable.carry_out(steps, seconds)
            repaired = monotonic()
            show.say("all is repaired; waiting until the cluster is whole")
            is_whole = witness.look(timeout, lambda: not witness.missing())
        end = monotonic()
        return ChaosReport(
            subject=lab.subject.name,
            nodes=lab.nodes,
            addresses=tuple(str(vip) for vip in vips),
            seed=seed,
            start=start,
            end=end,
            steps=tuple(steps),
            stretches=tuple(witness.stretches()),
            overlaps=tuple(witness.overlaps()),
            trouble="" if is_whole else witness.missing(),
            recovery_seconds=end - repaired,
            ended=tuple(timetable.ended),
            late_seconds=witness.late_seconds,
        )


@define
class _Timetable:
    """Carries out steps and their repairs. `down` are nodes whose daemon is stopped because a step did so."""

    lab: Lab
    witness: Witness
    say: Callable[[str], None]
    ended: list[str] = field(factory=list[str])
    down: set[str] = field(factory=set[str])
    moves: list[subprocess.Popen[bytes]] = field(factory=list[subprocess.Popen[bytes]])
    _due: list[tuple[float, int, Step, bool]] = field(factory=list[tuple[float, int, "Step", bool]])
    _order: count[int] = field(factory=count)

    def carry_out(self, steps: Sequence[Step], seconds: float) -> None:
        """Let everything happen at its time, for `seconds` or as long as the last repair takes."""
        for step in steps:
            self._plan(step.at, step, is_repair=False)
        start = monotonic()
        while self._due or monotonic() - start < seconds:
            now = monotonic() - start
            due = self._due[0][0] if self._due else seconds
            if now < due:
                self.witness.look(due - now)
                self._look_for_ended()
                continue
            _, _, step, is_repair = heappop(self._due)
            if is_repair:
                self._repair(step, now)
            else:
                self._inject(step, now)

    def _plan(self, at: float, step: Step, *, is_repair: bool) -> None:
        heappush(self._due, (at, next(self._order), step, is_repair))

    def _inject(self, step: Step, now: float) -> None:
        self.say(str(step))
        if step.until is not None:
            self._plan(max(step.until, now), step, is_repair=True)
        try:
            match step.fault:
                case "partition" | "oneway":
                    self.lab.network.partition(step.node, step.others, is_one_way=step.fault == "oneway")
                case "move":
                    self._move(step)
                case fault:
                    if fault in _STOPS:
                        self.down.add(step.node)
                    FAULTS[fault].inject(self.lab, step.node)
        except KubevipError as error:
            self.say(f"          {error}")  # between a death and the keeper's next start there is nothing to kill

    def _repair(self, step: Step, now: float) -> None:
        daemon = self.lab.subject.daemons[step.node]
        if step.fault == "term" and daemon.pid is not None:
            if step.until is not None and now < step.until + _STOP_SECONDS:
                self._plan(now + _AGAIN_SECONDS, step, is_repair=True)
                return
            self.ended.append(f"{step.node} did not stop within {_STOP_SECONDS:.0f} s")
            daemon.kill()
        if step.fault in ("partition", "oneway"):
            self.lab.network.heal()
        else:
            FAULTS[step.fault].repair(self.lab, step.node)
        if step.fault in _STOPS:
            self.down.discard(step.node)

    def _move(self, step: Step) -> None:
        arguments = self.lab.subject.move_command(step.node, step.others[0], step.number)
        if arguments:
            self.moves.append(self.lab.network.hosts[step.node].start(arguments))

    def _look_for_ended(self) -> None:
        for node, daemon in self.lab.subject.daemons.items():
            if daemon.pid is None and node not in self.down:
                self.down.add(node)
                self.ended.append(f"{node} ended by itself with status {daemon.exit_status}")
                self.say(f"          {self.ended[-1]}")


@contextmanager
def _open_timetable(lab: Lab, witness: Witness, say: Callable[[str], None]) -> Generator[_Timetable]:
    timetable = _Timetable(lab, witness, say)
    try:
        yield timetable
    finally:
        for move in timetable.moves:
            move.kill()
            move.wait()
