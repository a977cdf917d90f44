"""How a daemon logs: to stderr, one line a record, in words or in JSON; the standard library only.

`2026-11-22T10:15:02.123Z INFO raft leading group=api term=7`. Under the journal each line begins with its priority
(sd-daemon(3)). What peers and files say may be part of a message, so control characters are written escaped.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING

from kubevip._deferred_log import DeferredHandler
from kubevip._stderr import PatientStderr

if TYPE_CHECKING:
    from collections.abc import Mapping

#: syslog(3)
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def configure_logging(level: str, form: str, environment: Mapping[str, str]) -> None:
    """Send what is logged to stderr.

    :param level: "debug", "info", "warning" or "error", for kubevip itself; libraries log from warning on.
    :param form: "text" or "json".
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter(has_priorities=is_journal(environment)))
    logging.basicConfig(level=logging.WARNING, handlers=[DeferredHandler(handler)], force=True)
    logging.getLogger("kubevip").setLevel(level.upper())
    logging.captureWarnings(True)


def make_stderr_patient() -> None:
    """Let nothing in this process wait any more for whoever reads its stderr; see `_stderr`. Before logging begins."""
    try:
        stderr = PatientStderr(sys.stderr.fileno())
    except (AttributeError, OSError, ValueError):  # there is none
        return
    stderr.show_loss = show_loss
    atexit.register(stderr.close)
    sys.stderr = stderr


def show_loss(lines: int) -> str:
    """Return the record that so many lines were lost, as the handler of all records writes it."""
    told = logging.LogRecord(
        "kubevip.log", logging.WARNING, "", 0, "%d lines were lost: nobody read them", (lines,), None
    )
    handler = next(iter(logging.getLogger().handlers), None)
    return handler.format(told) if handler is not None else told.getMessage()


def is_journal(environment: Mapping[str, str]) -> bool:
    """Whether stderr is the journal itself, and not a file that inherited its variable (systemd.exec(5))."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return environment.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class TextFormatter(logging.Formatter):
    """Writes a record as a line; a traceback follows in lines of its own."""

    def __init__(self, *, has_priorities: bool = False) -> None:
        super().__init__()
        self._has_priorities = has_priorities

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line feed at its end."""
        lines = [f"{_stamp(record)} {record.levelname} {_part(record)} {_escaped(record.getMessage())}"]
        if record.exc_info:
            lines += (f"    {_escaped(line)}" for line in self.formatException(record.exc_info).splitlines())
        if self._has_priorities:
            priority = f"<{_PRIORITIES.get(record.levelno, 6)}>"
            lines = [priority + line for line in lines]
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """Writes a record as an object on one line: time, level, part, message and, if there is one, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without a line feed at its end."""
        line = {
            "time": _stamp(record),
            "level": record.levelname,
            "part": _part(record),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def _stamp(record: logging.LogRecord) -> str:
    seconds, milliseconds = divmod(int(record.created * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{milliseconds:03d}Z"


def _part(record: logging.LogRecord) -> str:
    return record.name.removeprefix("kubevip.")


def _escaped(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(it if it.isprintable() else it.encode("unicode_escape", "backslashreplace").decode() for it in text)
