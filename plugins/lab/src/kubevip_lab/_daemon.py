"""A program under test on one host: start it, find all its processes, signal them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kubevip_lab._host import Host


_REAP_SECONDS = 1.0


@define
class Daemon:
    """A program on `host` that may have children; what it says is appended to `log`."""

    host: Host
    arguments: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The number of its first process while that runs."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def exit_status(self) -> int | None:
        """What its first process ended with; None while it runs and before it was started."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it, unless it runs."""
        if self.pid is None:
            with self.log.open("ab") as log:
                self._process = self.host.start(self.arguments, output=log, environment=self.environment)

    def tree(self) -> tuple[int, ...]:
        """Return all its processes, parents before children; empty when it does not run."""
        return () if (pid := self.pid) is None else (pid, *descendants(pid))

    def children(self) -> tuple[int, ...]:
        """Return the children of its first process."""
        return () if (pid := self.pid) is None else _children().get(pid, ())

    def wait(self, seconds: float) -> int:
        """Wait for the first process to end and return its status; killed after `seconds` (-9)."""
        if self._process is None:
            return 0
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()

    def kill(self) -> None:
        """Kill all its processes and reap them: as the sandbox's first process this one inherits their children."""
        tree = self.tree()
        send(tree, signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        for pid in tree[1:]:
            _reap(pid)

    def last_lines(self, count: int) -> tuple[str, ...]:
        """Return the end of its log."""
        try:
            return tuple(self.log.read_text(errors="replace").splitlines()[-count:])
        except OSError:
            return ()


def descendants(pid: int) -> tuple[int, ...]:
    """Return children, their children and so on, parents first, without those that have ended."""
    children = _children()
    found: list[int] = []
    level = children.get(pid, ())
    while level:
        found += level
        level = tuple(child for parent in level for child in children.get(parent, ()))
    return tuple(found)


def command_line(pid: int) -> bytes:
    """Return the arguments of a process, each followed by a zero byte; empty when it has ended."""
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return b""


def send(pids: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to each; those that have ended meanwhile are passed over."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def _reap(pid: int) -> None:
    """Wait for a process that was killed and whose parent was; some programs take a zombie for a living one."""
    end = monotonic() + _REAP_SECONDS
    while monotonic() < end and Path("/proc", str(pid)).exists():
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            time.sleep(0.001)  # noqa: TID251 - its parent has not ended yet


def _children() -> dict[int, tuple[int, ...]]:
    """Map each living process to its living children, from /proc."""
    found: dict[int, tuple[int, ...]] = {}
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        try:
            state, parent = (path / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue  # ended meanwhile
        if state not in ("Z", "X"):
            found[int(parent)] = (*found.get(int(parent), ()), int(path.name))
    return found
