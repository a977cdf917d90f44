from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Iterator

import pytest

from kubevip import _stderr
from kubevip._logging import TextFormatter, show_loss
from kubevip._stderr import PatientStderr

PIPE_BYTES = 4096
LINE = "x" * 99 + "\n"


class Pipe:
    """A pipe of one page, which somebody reads when the test says so."""

    def __init__(self) -> None:
        self.readable, self.writable = os.pipe()
        fcntl.fcntl(self.writable, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def fill(self) -> None:
        os.write(self.writable, b"." * (PIPE_BYTES - 1) + b"\n")

    def read_lines(self, until: str) -> list[str]:
        """Read until a line ends with `until`; what `fill` wrote is left out."""
        text = ""
        while not text.endswith(until + "\n"):
            text += os.read(self.readable, 1 << 16).decode()
        return [line for line in text.splitlines() if not line.startswith("....")]

    def close(self) -> None:
        for fd in (self.readable, self.writable):
            os.close(fd)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def took_seconds(begin: float) -> float:
    return time.monotonic() - begin


def test_what_is_written_arrives_in_order_also_when_nobody_reads_for_a_while(pipe: Pipe) -> None:
    stderr = PatientStderr(pipe.writable)
    pipe.fill()
    for number in range(100):
        stderr.write(f"{number}\n")
    assert pipe.read_lines("99") == [str(number) for number in range(100)]
    stderr.close()


def test_nobody_waits_for_a_reader_and_what_is_lost_is_told_in_its_place(pipe: Pipe) -> None:
    stderr = PatientStderr(pipe.writable, room_bytes=10 * len(LINE))
    pipe.fill()
    for _ in range(25):
        stderr.write(LINE)
    expected = [LINE.strip()] * 10 + ["15 lines were lost: nobody read them"]
    assert pipe.read_lines("nobody read them") == expected
    stderr.write("afterwards\n")
    assert pipe.read_lines("afterwards") == ["afterwards"]
    stderr.close()


def test_a_line_that_finds_room_again_comes_after_the_word_of_those_that_did_not(pipe: Pipe) -> None:
    stderr = PatientStderr(pipe.writable, room_bytes=2 * len(LINE))
    pipe.fill()
    for _ in range(3):
        stderr.write(LINE)
    stderr._waiting_bytes -= len(LINE)  # as when the thread has written one, but not yet the other
    stderr.write("afterwards\n")
    assert pipe.read_lines("afterwards")[-2:] == ["1 lines were lost: nobody read them", "afterwards"]
    stderr.close()


def test_the_end_waits_for_a_reader_within_bounds(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_stderr, "CLOSE_SECONDS", 0.1)
    stderr = PatientStderr(pipe.writable)
    pipe.fill()
    stderr.write(LINE)
    began = time.monotonic()
    stderr.close()
    stderr.close()
    assert 0.1 <= took_seconds(began) < 0.19, "once, and not for ever"
    os.read(pipe.readable, 1 << 16)  # so that the thread ends before its pipe


def test_the_end_comes_when_everything_is_written(pipe: Pipe) -> None:
    stderr = PatientStderr(pipe.writable)
    stderr.write(LINE)
    stderr.close()
    assert os.read(pipe.readable, 1 << 16) == LINE.encode()
    stderr.write("too late\n")
    stderr.flush()


def test_a_reader_that_is_gone_is_nobodys_trouble(pipe: Pipe) -> None:
    gone, writable = os.pipe()
    os.close(gone)
    stderr = PatientStderr(writable)
    assert stderr.write(LINE) == len(LINE)
    stderr.close()
    os.close(writable)


def test_what_is_lost_is_told_as_a_record_of_the_log() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter(has_priorities=True))
    root = logging.getLogger()
    before, root.handlers[:] = root.handlers[:], [handler]
    try:
        line = show_loss(7)
    finally:
        root.handlers[:] = before
    assert line.startswith("<4>2")
    assert line.endswith(" WARNING log 7 lines were lost: nobody read them")
