"""The addresses of names, with a resolver that does what the test says."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Generator
from threading import Event as ThreadEvent  # noqa: TID251  a resolver that takes as long as the test says
from typing import Any

import pytest
from anyio import create_task_group, current_time, fail_after, sleep

from kubevip_dataplane import _names
from kubevip_dataplane._names import Names

pytestmark = pytest.mark.anyio

#: Asks a resolver that is dead, gives up, and ends; prints when `main` is over.
PROCESS = """
import socket, sys, threading
import anyio
from kubevip_dataplane._question import Question
asked = threading.Event()
def getaddrinfo(*args, **options):
    asked.set()
    threading.Event().wait(60)
socket.getaddrinfo = getaddrinfo
async def main():
    with anyio.move_on_after(0.1):
        await Question("shop.example").answer()
assert not asked.is_set()
anyio.run(main, backend=sys.argv[1])
assert asked.is_set()
print("over", flush=True)
"""


class User:
    """Needs one name."""

    def __init__(self) -> None:
        self.changes = 0

    def names(self) -> tuple[str, ...]:
        return ("shop.example",)

    def names_changed(self) -> None:
        self.changes += 1


class Resolver:
    """Answers when it may."""

    def __init__(self) -> None:
        self.asked = 0
        self.may_answer = ThreadEvent()
        self.error: Exception | None = None

    def getaddrinfo(self, host: str, port: object, **options: Any) -> list[tuple[Any, ...]]:
        self.asked += 1
        assert self.may_answer.wait(20)
        if self.error is not None:
            raise self.error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 0))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Generator[Resolver]:
    resolver = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", resolver.getaddrinfo)
    yield resolver
    resolver.may_answer.set()


async def until_changed(names: Names, user: User, count: int) -> None:
    with fail_after(10):
        while user.changes < count:
            await sleep(0.001)


def test_a_dead_resolver_does_not_delay_the_end_of_the_process(anyio_backend_name: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", PROCESS, anyio_backend_name], capture_output=True, text=True, timeout=20, check=False
    )
    assert (ended.stdout, ended.stderr, ended.returncode) == ("over\n", "", 0)


async def test_a_question_that_is_still_open_is_not_asked_again(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_names, "QUESTION_SECONDS", 0.01)
    monkeypatch.setattr(_names, "RETRY_SECONDS", 0.01)
    names, user = Names(current_time), User()
    names.add(user)
    async with create_task_group() as tg:
        tg.start_soon(names.run)
        await until_changed(names, user, 1)
        assert names.problem("shop.example") == "its name is not answered for"
        await sleep(0.1)  # some tries
        assert resolver.asked == 1
        resolver.may_answer.set()  # and the next try is a new question
        await until_changed(names, user, 2)
        assert names.address("shop.example") == "192.0.2.7"
        assert resolver.asked == 2
        tg.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "Name or service not known"),
        (UnicodeError("label too long"), "no host name"),
    ],
)
async def test_what_the_resolver_says_is_the_problem(resolver: Resolver, error: Exception, problem: str) -> None:
    resolver.error = error
    resolver.may_answer.set()
    names, user = Names(current_time), User()
    names.add(user)
    async with create_task_group() as tg:
        tg.start_soon(names.run)
        await until_changed(names, user, 1)
        tg.cancel_scope.cancel()
    assert names.address("shop.example") is None
    assert names.problem("shop.example") == f"its name is not known: {problem}"
