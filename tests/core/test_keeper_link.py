"""The control process's end of the pipes, with the keeper's end in the test's hands."""

from __future__ import annotations

import json
import os
import select
import signal
from typing import TYPE_CHECKING

import pytest
from anyio import Event, fail_after, wait_all_tasks_blocked, wait_readable

from kubevip._keeper_link import Command, KeeperLink, NoKeeper
from kubevip_keeper._protocol import LINE_LIMIT, PAYLOAD_LIMIT, read_will

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


class KeeperEnd:
    def __init__(self) -> None:
        child_reads, self.told = os.pipe()
        self.heard, child_writes = os.pipe()
        owed, child_owes = os.pipe()
        self.owed = os.dup(owed)
        self.environment = {
            "KUBEVIP_KEEPER": f"{child_reads},{child_writes},{owed},{child_owes}",
            "KUBEVIP_INCARNATION": "7",
            "OTHER": "x",
        }
        self.commands: list[Command] = []
        self._obeyed = Event()

    def tell(self, data: bytes) -> None:
        os.write(self.told, data)

    def obey(self, command: Command) -> None:
        self.commands.append(command)
        self._obeyed.set()

    async def until(self, count: int) -> list[Command]:
        with fail_after(10):
            while len(self.commands) < count:
                self._obeyed = Event()
                await self._obeyed.wait()
        return self.commands

    async def hear(self, count: int) -> list[dict[str, object]]:
        text = b""
        with fail_after(10):
            while text.count(b"\n") < count:
                await wait_readable(self.heard)
                text += os.read(self.heard, 1 << 16)
        return [json.loads(line) for line in text.splitlines()]

    def is_owed(self) -> bool:
        return bool(select.select([self.owed], [], [], 0)[0])

    def close(self) -> None:
        for fd in (self.told, self.heard, self.owed):
            try:
                os.close(fd)
            except OSError:
                pass


@pytest.fixture
def keeper() -> Iterator[KeeperEnd]:
    end = KeeperEnd()
    yield end
    end.close()


def link_of(keeper: KeeperEnd) -> KeeperLink:
    link = KeeperLink.from_environment(keeper.environment)
    assert link is not None
    return link


async def test_the_variables_are_taken_out_of_the_environment(keeper: KeeperEnd) -> None:
    link = link_of(keeper)
    assert keeper.environment == {"OTHER": "x"}
    assert link.incarnation == 7
    async with link.serve(keeper.obey):
        pass


async def test_there_is_no_link_without_a_keeper() -> None:
    assert KeeperLink.from_environment({"OTHER": "x"}) is None


async def test_commands_arrive_in_order_and_unknown_ones_are_passed_over(keeper: KeeperEnd) -> None:
    async with link_of(keeper).serve(keeper.obey):
        keeper.tell(b'{"reload":true}\n{"dump":"status"}\n{"later":1}\n{"dump":"tas')
        await keeper.until(2)
        keeper.tell(b'ks"}\n{"stop":true}\n')
        assert await keeper.until(4) == [Command.RELOAD, Command.DUMP_STATUS, Command.DUMP_TASKS, Command.STOP]


async def test_a_keeper_that_is_gone_asks_for_a_graceful_stop(keeper: KeeperEnd) -> None:
    async with link_of(keeper).serve(keeper.obey) as _:
        keeper.close()
        assert await keeper.until(1) == [Command.STOP]


async def test_what_is_said_to_a_keeper_that_is_gone_goes_nowhere(keeper: KeeperEnd) -> None:
    link = link_of(keeper)
    async with link.serve(keeper.obey):
        keeper.close()
        link.ready()
        link.will(1, "os:remove", b"x")
        assert await keeper.until(1) == [Command.STOP]
    link.status_text("left")


async def test_a_keeper_that_is_not_understood_asks_for_a_graceful_stop(keeper: KeeperEnd) -> None:
    async with link_of(keeper).serve(keeper.obey):
        keeper.tell(b"what?\n")
        assert await keeper.until(1) == [Command.STOP]


async def test_a_will_has_left_the_process_when_the_call_returns(keeper: KeeperEnd) -> None:
    link = link_of(keeper)  # not served yet: nothing but the call itself can have sent it
    link.will(5, "package.module:function", b"\x00payload")
    message = json.loads(os.read(keeper.heard, 4096))
    assert read_will(message["will"]) == (5, "package.module:function", b"\x00payload")
    async with link.serve(keeper.obey):
        pass


async def test_what_the_pipe_cannot_take_waits_and_only_the_newest_of_each_matter(keeper: KeeperEnd) -> None:
    link = link_of(keeper)
    async with link.serve(keeper.obey):
        link.will(1, "a:large", bytes(200_000))
        for number in range(100):
            link.status_text(f"status {number}")
            link.will(2, "b:small", b"%d" % number)
        link.will(2, "b:small", None)
        link.ready()
        assert keeper.is_owed()  # should this process die now, the keeper lacks a will
        large, status, small, ready = await keeper.hear(4)
        await wait_all_tasks_blocked()
        assert not keeper.is_owed()
        link.status_text("afterwards")
        assert await keeper.hear(1) == [{"status": "afterwards"}]
    will = large["will"]
    assert isinstance(will, dict)
    assert read_will(will) == (1, "a:large", bytes(200_000))
    assert status == {"status": "status 99"}
    assert small == {"will": {"order": 2, "function": "b:small", "payload": None}}
    assert ready == {"ready": True}


async def test_a_status_is_one_bounded_line(keeper: KeeperEnd) -> None:
    link = link_of(keeper)
    async with link.serve(keeper.obey):
        link.status_text("holds api\nMAINPID=1 " + "x" * 10_000)
        (message,) = await keeper.hear(1)
    text = message["status"]
    assert isinstance(text, str)
    assert text.startswith("holds api MAINPID=1 xxx")
    assert len(text) == 512


@pytest.mark.parametrize(
    ("function", "payload"),
    [
        ("os.remove", b""),
        ("os:", b""),
        (":remove", b""),
        ("os:path.join", b""),
        ("os:remove", bytes(PAYLOAD_LIMIT + 1)),
    ],
)
async def test_a_will_that_no_keeper_would_take_is_refused_here(function: str, payload: bytes) -> None:
    with pytest.raises(ValueError, match="will"):
        NoKeeper().will(1, function, payload)


async def test_the_largest_will_fits_into_a_line(keeper: KeeperEnd) -> None:
    link = link_of(keeper)
    async with link.serve(keeper.obey):
        link.will(1, "a:b", bytes(PAYLOAD_LIMIT))
        (message,) = await keeper.hear(1)
    assert len(json.dumps(message)) < LINE_LIMIT


async def test_signals_to_the_group_are_ignored_while_served(keeper: KeeperEnd) -> None:
    async with link_of(keeper).serve(keeper.obey):
        assert {signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)} == {
            signal.SIG_IGN
        }


async def test_the_descriptors_are_closed_afterwards_and_not_inherited(keeper: KeeperEnd) -> None:
    fds = [int(fd) for fd in keeper.environment["KUBEVIP_KEEPER"].split(",")]
    for fd in fds:
        os.set_inheritable(fd, True)
    async with link_of(keeper).serve(keeper.obey):
        assert [os.get_inheritable(fd) for fd in fds] == [False] * 4
    for fd in fds:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
