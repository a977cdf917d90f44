"""`kubevip lab idle`: what every process of a cluster costs while nothing happens."""

from __future__ import annotations

import time
from time import monotonic
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from kubevip.errors import KubevipError
from kubevip_lab._daemon import command_line
from kubevip_lab._round import wait_until_whole
from kubevip_lab._usage import Usage, usage
from kubevip_lab._watch import open_watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubevip_lab._lab import Lab
    from kubevip_lab._show import Show

_SETTLE_SECONDS = 3.0
_WIDTHS = (6, 9, 8, 7, 9, 9, 9, 11, 9)
_HEADINGS = ("NODE", "ROLE", "PROCESS", "CPU", "RESIDENT", "SHARED/N", "PRIVATE", "SWITCHES/S", "WRITTEN")


@frozen(kw_only=True)
class ProcessAtRest:
    """One process. Memory in megabytes of a million bytes; `process` is "keeper", "control" or "worker"."""

    node: str
    role: str
    process: str
    cpu_percent: float
    resident_mb: float
    proportional_mb: float
    private_mb: float
    switches_per_second: float
    written_bytes: int


@frozen(kw_only=True)
class AtRest:
    """All processes of a subject over `seconds`."""

    subject: str
    timing: str
    seconds: float
    processes: tuple[ProcessAtRest, ...]

    @property
    def is_good(self) -> bool:
        """Whether nothing was written to a disk."""
        return all(each.written_bytes == 0 for each in self.processes)

    def report(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        return {"is_good": self.is_good, **asdict(self)}

    def table(self) -> Iterator[str]:
        """Yield a line for each process, after a heading."""
        yield _line(_HEADINGS)
        for each in self.processes:
            memory = (f"{size:.1f} MB" for size in (each.resident_mb, each.proportional_mb, each.private_mb))
            rest = (f"{each.switches_per_second:.0f}", f"{each.written_bytes} B")
            yield _line((each.node, each.role, each.process, f"{each.cpu_percent:.2f} %", *memory, *rest))


def measure_at_rest(lab: Lab, show: Show, *, seconds: float, timeout: float, timing: str) -> AtRest:
    """Wait until the cluster is whole, leave it alone, and measure for `seconds`; nobody asks it anything meanwhile.

    :raises KubevipError: when it is not whole within `timeout` seconds, or a process ended or came.
    """
    with open_watch(lab, 0.01) as watch:
        holder = wait_until_whole(lab, watch, timeout)
    show.say(f"{holder} holds the address; measuring for {seconds:.0f} s")
    time.sleep(_SETTLE_SECONDS)  # noqa: TID251 - there is no event loop here
    processes = {node: _processes(lab, node) for node in lab.nodes}
    before = {pid: usage(pid) for pids in processes.values() for pid in pids}
    began = monotonic()
    time.sleep(seconds)  # noqa: TID251 - as above
    try:
        after = {pid: usage(pid) for pid in before}
    except OSError as error:
        raise KubevipError(f"a process ended while nothing happened: {error.filename}") from error
    took = monotonic() - began
    if trouble := lab.subject.trouble():
        raise KubevipError(f"the cluster did not stay whole while nothing happened: {trouble}")
    return AtRest(
        subject=lab.subject.name,
        timing=timing,
        seconds=round(took, 1),
        processes=tuple(
            _at_rest(node, "holder" if node == holder else "follower", kind, before[pid], after[pid], took)
            for node, pids in processes.items()
            for pid, kind in pids.items()
        ),
    )


def _processes(lab: Lab, node: str) -> dict[int, str]:
    """Return the node's processes and what each is."""
    control = lab.subject.control_process(node)
    return {
        pid: "control" if pid == control else "worker" if b"_worker" in command_line(pid) else "keeper"
        for pid in lab.subject.daemons[node].tree()
    }


def _at_rest(node: str, role: str, process: str, before: Usage, after: Usage, seconds: float) -> ProcessAtRest:
    return ProcessAtRest(
        node=node,
        role=role,
        process=process,
        cpu_percent=round(100 * (after.cpu_seconds - before.cpu_seconds) / seconds, 2),
        resident_mb=round(after.resident_bytes / 1e6, 1),
        proportional_mb=round(after.proportional_bytes / 1e6, 1),
        private_mb=round(after.private_bytes / 1e6, 1),
        switches_per_second=round((after.switches - before.switches) / seconds, 1),
        written_bytes=after.written_bytes - before.written_bytes,
    )


def _line(cells: tuple[str, ...]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
