"""Input and output in the order that the node demands."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from queue import SimpleQueue
from random import Random
from threading import Event as ThreadEvent  # noqa: TID251  a disk that takes as long as the test says
from typing import Any

import pytest
from anyio import Event, create_task_group, fail_after, sleep, wait_all_tasks_blocked, wait_readable
from anyio.lowlevel import checkpoint
from attrs import evolve

from kubevip.errors import ElectionError
from kubevip_election_raft._clock import Clock
from kubevip_election_raft._consensus.entries import Entry, HardState, NoOp, Saved
from kubevip_election_raft._consensus.messages import (
    AppendEntries,
    AppendResponse,
    Claim,
    Grant,
    Offer,
    Process,
    PromiseRequest,
    PromiseResponse,
    VoteRequest,
)
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Outgoing, Ready, Role, SoftState
from kubevip_election_raft._consensus.timing import Timing
from kubevip_election_raft._driver import Driver

pytestmark = pytest.mark.anyio

N2 = Process(name="n2", incarnation=1)
CLAIM = Claim(group="g", grant=Grant(term=5, index=1))
ASK = PromiseRequest(round=1, seconds=0.18, claims=(CLAIM,))
VOTE = VoteRequest(term=5, last_index=0, last_term=0)
HEARTBEAT = AppendEntries(term=5, round=1, previous_index=0, previous_term=0, commit=0, seconds=0.18)


class FakeClock:
    """A clock that goes when it is told to."""

    def __init__(self, now: float = 100.0) -> None:
        self.time, self.slept = now, False

    def now(self) -> float:
        return self.time

    def has_slept(self) -> bool:
        slept, self.slept = self.slept, False
        return slept


class FakeDisk:
    """A disk that notes what it saves, and takes until `go` is set for each."""

    def __init__(self, events: list[object], *, error: Exception | None = None) -> None:
        self._events, self._error = events, error
        self.turns: SimpleQueue[None] = SimpleQueue()
        self.at_work = ThreadEvent()

    def save(self, ready: Ready) -> float:
        self.at_work.set()
        self.turns.get(timeout=10)
        if self._error is not None:
            raise self._error
        self._events.append(ready.hard_state or ready.entries)
        return 0.001


class Rig:
    """A driver of n1 of three, free to vote, with everything that it does in `events`."""

    def __init__(self, *, error: Exception | None = None, members: tuple[str, ...] = ("n1", "n2", "n3")) -> None:
        self.events: list[object] = []
        self.sent: list[object] = []
        self.clock, self.disk = FakeClock(), FakeDisk(self.events, error=error)
        self.state: SoftState | None = None
        self.node = Node(
            process=Process(name="n1", incarnation=1),
            members=members,
            timing=Timing(),
            saved=Saved(),
            rng=Random(1),
            now=self.clock.time,
        )
        self.clock.time += 1.0
        self.driver = Driver(self.node, clock=self.clock, disk=self.disk, send=self.send, changed=self.changed)

    def send(self, messages: Sequence[Outgoing]) -> None:
        self.sent += [outgoing.message for outgoing in messages]
        self.events += [type(outgoing.message).__name__ for outgoing in messages]

    def changed(self, state: SoftState) -> None:
        self.state = state

    def receive(self, message: Any) -> None:
        self.driver.do((N2.name, type(message)), lambda node, now: node.step(N2, message, now))

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with create_task_group() as tg:
            tg.start_soon(self.driver.run)
            await wait_all_tasks_blocked()
            yield
            tg.cancel_scope.cancel()

    async def until(self, count: int) -> None:
        with fail_after(10):
            while len(self.events) < count:
                await sleep(0.001)


async def test_a_vote_is_saved_before_it_is_sent() -> None:
    rig = Rig()
    async with rig.running():
        rig.receive(VOTE)
        assert rig.events == []
        rig.disk.turns.put(None)
        await rig.until(2)
    assert rig.events == [HardState(term=5, vote="n2", promise_seconds=0.18), "VoteResponse"]


async def test_what_only_others_count_on_does_not_wait_for_the_disk() -> None:
    """Raft thesis 10.2.1: a candidate's questions, a leader's entries, a holder's requests."""
    rig = Rig()

    def stand(node: Node, now: float) -> Ready:
        node._campaign(now)
        return node.tick(now)

    async with rig.running():
        rig.driver.do("offer", lambda node, now: node.offer((Offer(group="g"),), now))
        rig.driver.do("stand", stand)
        assert rig.events == ["VoteRequest", "VoteRequest"]
        rig.disk.turns.put(None)
        await rig.until(3)
    assert rig.events[2] == HardState(term=1, vote="n1", promise_seconds=0.18)


async def test_entries_are_saved_before_they_are_answered_for() -> None:
    rig = Rig()
    entry = Entry(term=5, index=1, command=NoOp())
    async with rig.running():
        rig.disk.turns.put(None)
        rig.disk.turns.put(None)
        rig.receive(evolve(HEARTBEAT, entries=(entry,)))
        await rig.until(2)
    assert rig.events == [HardState(term=5), "AppendResponse"]
    assert rig.node._log.saved == 1


async def test_what_arrives_while_the_disk_works_waits_its_turn() -> None:
    rig = Rig()
    async with rig.running():
        rig.receive(VOTE)
        rig.receive(HEARTBEAT)
        with fail_after(10):
            while not rig.disk.at_work.is_set():
                await sleep(0.001)
        assert rig.events == []
        assert rig.node.state.leader is None
        rig.disk.turns.put(None)
        await rig.until(3)
    assert rig.events[1:] == ["VoteResponse", "AppendResponse"]
    assert rig.state is not None
    assert rig.state.leader == "n2"


async def test_a_disk_that_hangs_fills_no_memory() -> None:
    """Of what arrives meanwhile, the newest of each sender and kind waits, and no more."""
    rig = Rig()
    async with rig.running():
        rig.receive(VOTE)
        for number in range(1000):
            rig.receive(evolve(HEARTBEAT, round=number))
            rig.receive(evolve(VOTE, term=4))
        rig.disk.turns.put(None)
        await rig.until(4)
        await wait_all_tasks_blocked()
    assert rig.events[1:] == ["VoteResponse", "AppendResponse", "VoteResponse"]
    (answer,) = [message for message in rig.sent if isinstance(message, AppendResponse)]
    assert answer.round == 999


async def test_other_tasks_run_between_what_waited_for_the_disk() -> None:
    rig, taken, seen = Rig(), list[int](), list[int]()

    def take(number: int) -> Callable[[Node, float], Ready]:
        def action(node: Node, now: float) -> Ready:
            taken.append(number)
            if number == 1:  # happens while the others wait: takes its turn after them
                rig.driver.do(10, take(10))
            return Ready()

        return action

    async with rig.running():
        rig.receive(VOTE)
        for number in range(10):
            rig.driver.do(number, take(number))
        rig.disk.turns.put(None)
        with fail_after(10):
            while len(taken) < 11:
                seen.append(len(taken))
                await checkpoint()
    assert taken == list(range(11))
    assert len({count for count in seen if 0 < count < 11}) >= 3


async def test_an_answer_that_needs_no_disk_leaves_at_once() -> None:
    rig = Rig()
    rig.node._voter.hard_state = rig.node._persisted = HardState(term=5, vote="n2", promise_seconds=0.18)
    rig.receive(HEARTBEAT)
    rig.receive(ASK)
    assert rig.events == ["AppendResponse", "PromiseResponse"]
    assert rig.sent[1] == PromiseResponse(round=1, incarnation=1)


async def test_a_disk_that_refuses_ends_the_run_and_nothing_is_sent() -> None:
    rig = Rig(error=ElectionError("cannot write: No space left on device"))
    rig.disk.turns.put(None)
    rig.receive(VOTE)
    with pytest.raises(ExceptionGroup) as caught:
        await rig.driver.run()
    assert [str(error) for error in caught.value.exceptions] == ["cannot write: No space left on device"]
    assert rig.events == []


async def test_a_slow_disk_is_told(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()

    def save(ready: Ready) -> float:
        rig.events.append(ready.hard_state)
        return 0.2

    monkeypatch.setattr(rig.disk, "save", save)
    async with rig.running():
        with caplog.at_level(logging.WARNING, "kubevip.raft"):
            rig.receive(VOTE)
            await rig.until(2)
    assert "saving the vote took 200 ms" in caplog.text


async def test_a_leader_whose_machine_slept_leads_no_more() -> None:
    rig = Rig(members=("n1",))
    async with rig.running():
        rig.disk.turns.put(None)
        rig.disk.turns.put(None)
        rig.driver.do("fitness", lambda node, now: node.offer((Offer(group="g"),), now))
        rig.driver.do("tick", lambda node, now: node.tick(now))
        with fail_after(10):
            while rig.state is None or "g" not in rig.state.holdings:
                await sleep(0.001)
        rig.clock.slept = True
        rig.driver.do("fitness", lambda node, now: node.offer((Offer(group="g"),), now))
        assert rig.node.state.role is Role.FOLLOWER
        assert rig.node.state.holdings == {}


async def test_heartbeats_put_the_alarm_off_before_it_rings_in_vain() -> None:
    rig = Rig()
    async with rig.running():
        rig.driver.do("fitness", lambda node, now: node.offer((Offer(group="g"),), now))
        rig.disk.turns.put(None)
        rig.receive(HEARTBEAT)
        await rig.until(2)
        armed: list[float] = []
        for number in range(2, 12):
            rig.clock.time += rig.node.timing.heartbeat_seconds
            rig.receive(evolve(HEARTBEAT, round=number))
            await wait_all_tasks_blocked()
            assert rig.clock.time < rig.driver._rings_at <= rig.node.deadline
            armed.append(rig.driver._rings_at)
    assert 1 < len(set(armed)) < len(armed)  # not at each of them


async def test_a_late_loop_reads_before_it_stands() -> None:
    """A loop that did not run for long finds the heartbeat that it missed in the socket, and stays a follower."""
    node = Node(
        process=Process(name="n1", incarnation=1),
        members=("n1", "n2", "n3"),
        timing=Timing(),
        saved=Saved(hard_state=HardState(term=5)),
        rng=Random(1),
        now=Clock().now() - 1.0,
    )
    sent: list[str] = []
    driver = Driver(
        node,
        clock=Clock(),
        disk=FakeDisk([]),
        send=lambda messages: sent.extend(type(outgoing.message).__name__ for outgoing in messages),
        changed=lambda state: None,
    )
    ours, theirs = socket.socketpair()
    heard = Event()

    async def read() -> None:
        await wait_readable(ours)
        ours.recv(1)
        driver.do("heartbeat", lambda node, now: node.step(N2, HEARTBEAT, now))
        heard.set()

    with ours, theirs:
        node._voter.hard_state = node._persisted = HardState(term=5, promise_seconds=0.18)
        node._standing.at = Clock().now() + 0.4
        async with create_task_group() as tg:
            tg.start_soon(read)
            driver.do("fitness", lambda node, now: node.offer((Offer(group="g"),), now))
            tg.start_soon(driver.run)
            await wait_all_tasks_blocked()
            theirs.send(b"x")
            ThreadEvent().wait(0.5)  # the loop stands still for longer than the time to stand
            with fail_after(5):
                await heard.wait()
            tg.cancel_scope.cancel()
    assert sent == ["AppendResponse"]
    assert node.state.role is Role.FOLLOWER
