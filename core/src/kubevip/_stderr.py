"""A stderr that nobody waits for: what is written is handed to a thread, within bounds.

Whoever reads stderr may stop reading: a pager, a hung log collector, a terminal that was paused, a full disk. The event
loop must not stop with them, nor must a stop of the process. So there is room for `ROOM_BYTES`; what does not fit is
lost, counted, and told in its place as soon as there is room again. The order is kept.
"""

from __future__ import annotations

import io
import os
import select
import threading  # noqa: TID251 -- it is there before the event loop and after it
from queue import SimpleQueue
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

#: What may wait to be read: some thousand lines.
ROOM_BYTES = 256 << 10

#: How long the end of the process may be delayed for what still waits.
CLOSE_SECONDS = 0.5


class PatientStderr(io.TextIOBase):
    """A text stream to the descriptor `fd` on which writing never waits. Its thread begins with it.

    `show_loss(lines)` says as one line that so many were lost.
    """

    def __init__(self, fd: int, room_bytes: int = ROOM_BYTES) -> None:
        self.show_loss: Callable[[int], str] = lambda lines: f"{lines} lines were lost: nobody read them"
        self._fd, self._room_bytes = fd, room_bytes
        self._pieces: SimpleQueue[bytes] = SimpleQueue()
        self._lock = threading.RLock()  # of what follows; a signal handler may write as well
        self._waiting_bytes = self._lost_lines = 0
        self._is_closing = False
        self._thread = threading.Thread(target=self._write_all, name="stderr", daemon=True)
        self._thread.start()

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._fd)

    def write(self, text: str, /) -> int:
        """Have `text` written, or lose it when there is no room; return its length."""
        data = text.encode(errors="backslashreplace")
        with self._lock:
            if self._lost_lines and self._waiting_bytes + len(data) <= self._room_bytes:
                self._tell_loss()
            if self._is_closing or self._waiting_bytes + len(data) > self._room_bytes:
                self._lost_lines += text.count("\n")
            else:
                self._put(data)
        return len(text)

    def close(self) -> None:
        """Wait until everything is written, but not for longer than `CLOSE_SECONDS`; what comes later is lost."""
        with self._lock:
            if self._is_closing:
                return
            self._is_closing = True
            self._pieces.put(b"")
        if self._thread is not threading.current_thread():
            self._thread.join(CLOSE_SECONDS)

    def _put(self, data: bytes) -> None:
        if data:
            self._waiting_bytes += len(data)
            self._pieces.put(data)

    def _tell_loss(self) -> None:
        lines, self._lost_lines = self._lost_lines, 0
        self._put(f"{self.show_loss(lines)}\n".encode(errors="backslashreplace"))

    def _write_all(self) -> None:
        while data := self._pieces.get():
            self._write(data)
            with self._lock:
                self._waiting_bytes -= len(data)
                if self._lost_lines and not self._waiting_bytes and not self._is_closing:
                    self._tell_loss()

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._fd, data) :]
            except BlockingIOError:  # whoever shares the descriptor made it so
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()
            except OSError:  # a closed terminal or a full disk: there is nobody to tell
                return
