"""The keeper's log, in the form of the control process's own, without the module logging and its megabytes."""

from __future__ import annotations

import json
import os
import time

from kubevip_keeper._outlet import Outlet
from kubevip_keeper._place import option

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_PRIORITIES = {"info": 6, "warning": 4, "error": 3}  # syslog(3)
_STDERR = 2


class Log:
    """Writes lines to a descriptor, stderr by default; never raises, never waits.

    Lines for which there is no room are counted, and the next one that finds some is preceded by their number.
    """

    def __init__(
        self, *, is_json: bool = False, has_priorities: bool = False, level: str = "info", fd: int = _STDERR
    ) -> None:
        self._is_json, self._has_priorities, self._outlet = is_json, has_priorities, Outlet(fd)
        self._lost = 0
        self._threshold = _LEVELS.get(level.lower(), _LEVELS["info"])

    @classmethod
    def from_command_line(cls, arguments: Sequence[str], environment: Mapping[str, str]) -> Log:
        """Return the log that `--log-format`, `--log-level`, their variables and the journal ask for."""
        form = option(arguments, "--log-format") or environment.get("KUBEVIP_LOG_FORMAT") or "text"
        level = option(arguments, "--log-level") or environment.get("KUBEVIP_LOG_LEVEL") or "info"
        return cls(is_json=form == "json", has_priorities=_is_journal(environment), level=level)

    def info(self, message: str, *args: object) -> None:
        """Say that a state changed."""
        self._write("info", message, args)

    def warning(self, message: str, *args: object) -> None:
        """Say that something is degraded but dealt with."""
        self._write("warning", message, args)

    def error(self, message: str, *args: object) -> None:
        """Say that somebody has to look at something."""
        self._write("error", message, args)

    def _write(self, level: str, message: str, args: tuple[object, ...]) -> None:
        if _LEVELS[level] < self._threshold:
            return
        if self._lost and self._outlet.write(self._line("warning", f"{self._lost} lines were lost: nobody read them")):
            self._lost = 0
        text = (message % args if args else message).replace("\n", "\\n")
        if self._lost or not self._outlet.write(self._line(level, text)):
            self._lost += 1

    def _line(self, level: str, text: str) -> bytes:
        seconds, milliseconds = divmod(time.clock_gettime_ns(time.CLOCK_REALTIME) // 1_000_000, 1000)
        stamp = f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"
        if self._is_json:
            line = json.dumps({"time": stamp, "level": level.upper(), "part": "keeper", "message": text})
        else:
            prefix = f"<{_PRIORITIES[level]}>" if self._has_priorities else ""
            line = f"{prefix}{stamp} {level.upper()} keeper {text}"
        return line.encode(errors="backslashreplace") + b"\n"


def _is_journal(environment: Mapping[str, str]) -> bool:
    """Whether stderr is the journal itself, and not a file that inherited its variable (systemd.exec(5))."""
    try:
        status = os.fstat(_STDERR)
    except OSError:
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
