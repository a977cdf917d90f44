"""What the keeper holds of a process: its end of the pair is in the test's hands."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from kubevip._kept import MOST_KEPT, Kept

if TYPE_CHECKING:
    from collections.abc import Iterator


class Thing:
    """A pipe; it is released when nobody can write to it any more."""

    def __init__(self) -> None:
        self._readable, self.fd = os.pipe()
        os.set_blocking(self._readable, False)

    @property
    def is_released(self) -> bool:
        try:
            return os.read(self._readable, 1) == b""
        except BlockingIOError:
            return False

    def close(self) -> None:
        os.close(self.fd)


class Process:
    """What keeps, and the end that its keeper has."""

    def __init__(self) -> None:
        sending, held = socket.socketpair()
        self.keeper = held.dup()
        self.kept = Kept(sending.detach(), held.detach())


@pytest.fixture
def process() -> Iterator[Process]:
    process = Process()
    yield process
    process.kept.close()
    process.keeper.close()


def test_what_is_kept_outlives_the_process_until_the_keeper_lets_go(process: Process) -> None:
    things = [Thing(), Thing()]
    for thing in things:
        process.kept.keep(thing.fd)
    for thing in things:
        thing.close()
    process.kept.close()
    assert [thing.is_released for thing in things] == [False, False]
    process.keeper.close()
    assert [thing.is_released for thing in things] == [True, True]


def test_what_is_let_go_is_released_when_it_is_closed_and_the_others_stay(process: Process) -> None:
    one, other = Thing(), Thing()
    let_go = process.kept.keep(one.fd)
    process.kept.keep(other.fd)
    let_go()
    let_go()  # once more does nothing
    one.close()
    other.close()
    assert (one.is_released, other.is_released) == (True, False)


def test_more_than_can_be_held_is_released_as_ever(process: Process) -> None:
    thing = Thing()
    for _ in range(MOST_KEPT):
        process.kept.keep(thing.fd)
    more = Thing()
    process.kept.keep(more.fd)
    thing.close()
    more.close()
    assert (thing.is_released, more.is_released) == (False, True)


def test_without_a_keeper_nothing_is_held_and_nothing_fails(process: Process) -> None:
    thing = Thing()
    process.keeper.close()
    process.kept.close()
    process.kept.keep(thing.fd)()
    thing.close()
    assert thing.is_released
