"""What the machine itself is like, as far as figures depend on it: its disk, its clock tick, its processors."""

from __future__ import annotations

import os
import platform
from time import CLOCK_MONOTONIC, clock_getres, perf_counter
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip.errors import KubevipError

if TYPE_CHECKING:
    from pathlib import Path

_SYNCS = 200
_BLOCK = bytes(512)
_CLOCK_MONOTONIC_COARSE = 6  # clock_gettime(2); not in the time module. It advances once a tick


@frozen(kw_only=True)
class Machine:
    """`sync_p99_ms`: what one in a hundred `fdatasync` of the state directories' disk takes longer than, with no load.

    `tick_ms` is the kernel's, in which lifetimes of kernel objects are counted.
    """

    kernel: str
    processors: int
    tick_ms: float
    sync_p99_ms: float

    def describe(self) -> str:
        """Say it in one line."""
        return (
            f"Linux {self.kernel}, {self.processors} processors, tick {self.tick_ms:g} ms;"
            f" fdatasync of the state directory: p99 {self.sync_p99_ms:g} ms"
        )


def look_at_machine(directory: Path) -> Machine:
    """Measure the disk below `directory` for a moment; leaves nothing there.

    :raises KubevipError: it cannot be written to.
    """
    try:
        tick = clock_getres(_CLOCK_MONOTONIC_COARSE)
    except OSError:
        tick = clock_getres(CLOCK_MONOTONIC)
    return Machine(
        kernel=platform.release(),
        processors=len(os.sched_getaffinity(0)),
        tick_ms=round(tick * 1000, 3),
        sync_p99_ms=round(_sync_p99_seconds(directory) * 1000, 2),
    )


def _sync_p99_seconds(directory: Path) -> float:
    path = directory / "sync"
    took: list[float] = []
    try:
        with path.open("wb", buffering=0) as file:
            file.write(_BLOCK)
            os.fsync(file.fileno())  # from here on no size and no place changes, as in the state of an election
            for _ in range(_SYNCS):
                file.seek(0)
                file.write(_BLOCK)
                began = perf_counter()
                os.fdatasync(file.fileno())
                took.append(perf_counter() - began)
        path.unlink()
    except OSError as error:
        raise KubevipError(f"the disk of {directory} cannot be measured: {error.strerror}") from error
    return sorted(took)[-max(_SYNCS // 100, 1)]
