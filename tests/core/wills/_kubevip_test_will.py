"""Last wills for the tests of the keeper: as a plugin's, they import the standard library alone."""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Iterator


def note(payload: bytes) -> None:
    path, text = json.loads(payload)
    _write(path, ["will", text])


def say(payload: bytes) -> Iterator[None]:
    path, text = json.loads(payload)
    _write(path, ["will prepares", text])
    yield
    _write(path, ["will", text])


def wait_for_preparations(payload: bytes) -> None:
    path, text = json.loads(payload)
    while not any(json.loads(line)[0] == "will prepares" for line in _lines(path)):
        select.poll().poll(5)
    _write(path, ["will", text])


def fail_at_last(payload: bytes) -> None:
    wait_for_preparations(payload)
    raise RuntimeError(json.loads(payload)[1])


def fail(payload: bytes) -> None:
    raise RuntimeError(json.loads(payload)[1])


def note_whether_read(payload: bytes) -> None:
    path, fifo = json.loads(payload)
    os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)  # refused when nobody has it open for reading
    _write(path, ["will", "is read"])


def leave(payload: bytes) -> None:
    raise SystemExit(json.loads(payload)[1])


def hang(payload: bytes) -> None:
    signal.pause()


def look(payload: bytes) -> None:
    path = os.fsdecode(payload)
    with open(path, encoding="utf-8") as file:
        pids = {fact[0]: fact[1] for fact in map(json.loads, file)}
    _write(path, ["will sees", {name: os.path.exists(f"/proc/{pid}") for name, pid in pids.items()}])


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readlines()
    except FileNotFoundError:  # nobody has written anything
        return []


def _write(path: str, fact: object) -> None:
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(fact) + "\n")
