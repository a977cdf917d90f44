"""Records that are written a moment later, together, so that no takeover has to wait for its own log.

Writing a line costs about as much as adding an address, and a takeover says a dozen. The time in a record is that of
what it tells, whenever it is written, and the order is kept. What is a warning or worse, or comes from another thread,
is written at once with all that waited; so is everything before the event loop runs and after it.
"""

from __future__ import annotations

import logging
import threading  # noqa: TID251 -- only to know the event loop's thread from others
from collections import deque

from anyio import Event, sleep

#: For so long records may wait; a takeover is over by then.
DEFER_SECONDS = 0.02

#: With more than this waiting they are written at once: something is going on that ought to be seen.
MOST_WAITING = 1000


class DeferredHandler(logging.Handler):
    """Hands records over to `target`: at once, or `DEFER_SECONDS` later while `run` runs."""

    def __init__(self, target: logging.Handler) -> None:
        super().__init__()
        self._target = target
        self._waiting: deque[logging.LogRecord] = deque()
        self._come = Event()
        self._thread: int | None = None  # in which `run` runs

    def format(self, record: logging.LogRecord) -> str:
        """Return a record as it is written."""
        return self._target.format(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a record."""
        self._waiting.append(record)
        if record.thread != self._thread or record.levelno >= logging.WARNING or len(self._waiting) > MOST_WAITING:
            self.flush()
        elif len(self._waiting) == 1:
            self._come.set()

    def flush(self) -> None:
        """Write what waits."""
        self.acquire()
        try:
            while self._waiting:
                self._target.handle(self._waiting.popleft())
        finally:
            self.release()

    async def run(self) -> None:
        """Let records wait a moment, until cancelled; then none waits."""
        self._thread = threading.get_ident()
        try:
            while True:
                await self._come.wait()
                await sleep(DEFER_SECONDS)
                self._come = Event()
                self.flush()
        finally:
            self._thread = None
            self.flush()


async def defer_log() -> None:
    """Let what this process logs wait a moment, until cancelled, if `configure_logging` made its handler."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, DeferredHandler):
            await handler.run()
