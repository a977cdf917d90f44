from __future__ import annotations

import json
import logging
import os
import sys
from typing import TYPE_CHECKING

import pytest

from kubevip import _logging
from kubevip._logging import JsonFormatter, TextFormatter, configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator


def record(message: str, *values: object, level: int = logging.INFO, name: str = "kubevip.raft") -> logging.LogRecord:
    made = logging.LogRecord(name, level, __file__, 1, message, values, None)
    made.created = 1795342502.1234
    return made


def failed(message: str) -> logging.LogRecord:
    made = record(message, level=logging.ERROR)
    try:
        raise RuntimeError("line one\nline two")
    except RuntimeError:
        made.exc_info = sys.exc_info()
    return made


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("kubevip")
    before = (root.handlers[:], root.level, own.level)
    yield
    logging.captureWarnings(False)
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    own.setLevel(before[2])


def test_a_record_is_a_line() -> None:
    line = TextFormatter().format(record("leading group=%s term=%d", "api", 7))
    assert line == "2026-11-22T10:15:02.123Z INFO raft leading group=api term=7"


def test_control_characters_are_escaped_so_that_nobody_forges_lines() -> None:
    line = TextFormatter().format(record("from %s", "a\nb\x1b[2J\u2028é"))
    assert line.endswith("INFO raft from a\\nb\\x1b[2J\\u2028é")


def test_a_traceback_follows_in_lines_of_its_own() -> None:
    lines = TextFormatter(has_priorities=True).format(failed("broken")).splitlines()
    assert lines[0].endswith(" ERROR raft broken")
    assert lines[-1] == "<3>    line two"
    assert all(line.startswith("<3>") for line in lines)


def test_json_is_one_object_on_one_line() -> None:
    line = JsonFormatter().format(failed("bro\nken"))
    assert "\n" not in line
    told = json.loads(line)
    assert "line two" in told.pop("exception")
    assert told == {"time": "2026-11-22T10:15:02.123Z", "level": "ERROR", "part": "raft", "message": "bro\nken"}


def test_kubevip_logs_at_the_level_asked_for_and_libraries_from_warning_on(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "text", {})
    logging.getLogger("kubevip.x").debug("fine")
    logging.getLogger("library").info("chatter")
    logging.getLogger("library").warning("trouble")
    told = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert told == ["DEBUG x fine", "WARNING library trouble"]


def test_the_journal_is_known_by_its_stream_and_not_by_the_variable_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with open(os.devnull, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        status = os.fstat(stream.fileno())
        assert _logging.is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
        assert not _logging.is_journal({"JOURNAL_STREAM": "1:2"})
        assert not _logging.is_journal({})
