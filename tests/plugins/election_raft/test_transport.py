"""Frames between members over real sockets on loopback. Times are limits for a busy machine; none decides a test."""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from ipaddress import ip_address
from random import Random
from typing import Any

import anyio.lowlevel
import pytest
from anyio import create_task_group, fail_after, sleep, to_thread

from kubevip.errors import ElectionError
from kubevip_election_raft._consensus.entries import MemberRecord
from kubevip_election_raft._consensus.messages import Introduction, Message, MoveRequest, MoveResponse, Process
from kubevip_election_raft._tls.channel import PlainChannel
from kubevip_election_raft._tls.keyring import Keyring
from kubevip_election_raft._wire import doorway, transport
from kubevip_election_raft._wire.codec import LARGEST_FRAME_BYTES, Decoder, Frame, Hello, Payload, Ping, Welcome, encode
from kubevip_election_raft._wire.connection import Connection
from kubevip_election_raft._wire.identity import Identity
from kubevip_election_raft._wire.link import Link
from kubevip_election_raft._wire.sockets import Endpoint, listening
from kubevip_election_raft._wire.transport import Transport

pytestmark = pytest.mark.anyio

NAMES = ("n1", "n2", "n3")


def free_port(addresses: tuple[str, ...]) -> int:
    """Return a port that is free at all of these addresses."""
    while True:
        with ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind((addresses[0], 0))
            port: int = first.getsockname()[1]
            try:
                for address in addresses[1:]:
                    stack.enter_context(socket.socket()).bind((address, port))
            except OSError:
                continue
            return port


class Peer:
    """A member's transport, what it received and which ends it noticed."""

    def __init__(
        self, name: str, port: int, *, cluster: str = "rack-7", incarnation: int = 1, keyring: Keyring | None = None
    ) -> None:
        self.endpoints = {n: Endpoint(address=ip_address(f"127.0.0.{i}"), port=port) for i, n in enumerate(NAMES, 1)}
        self.name, self.received, self.lost = name, list[tuple[str, Payload]](), list[str]()
        self.met = list[tuple[str, Introduction, str]]()
        self.identity = Identity(
            process=Process(name=name, incarnation=incarnation),
            cluster=cluster,
            own=self.endpoints[name],
            software="0.1.0",
        )
        self.transport = Transport(
            self.identity,
            {n: endpoint for n, endpoint in self.endpoints.items() if n != name},
            keyring or Keyring(name, None),
            receive=lambda sender, messages: self.received.extend((sender.name, message) for message in messages),
            lost=self.lost.append,
            clock=lambda: 0.0,
            rng=Random(1),
            introduce=lambda: Introduction(members=tuple(MemberRecord(name=n) for n in NAMES)),
            met=lambda sender, introduction, source: self.met.append((sender.name, introduction, source)),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        with listening(self.endpoints[self.name], 16) as listener:
            async with create_task_group() as tg:
                tg.start_soon(self.transport.run, listener)
                yield
                tg.cancel_scope.cancel()

    def problem(self, peer: str) -> str:
        return self.transport.links[peer].problem


@pytest.fixture
def port() -> int:
    return free_port(("127.0.0.1", "127.0.0.2", "127.0.0.3"))


async def until(test: Callable[[], Any]) -> None:
    with fail_after(10):
        while not test():
            await sleep(0.005)


async def test_messages_arrive_in_order_in_both_directions(port: int) -> None:
    one, two = Peer("n1", port), Peer("n2", port)
    async with one.running(), two.running():
        await until(lambda: not one.problem("n2") and not two.problem("n1"))
        for number in range(100):
            one.transport.send("n2", MoveRequest(request=number, group="g", to="n2"))
            await anyio.lowlevel.checkpoint()
        two.transport.send("n1", MoveResponse(request=7))
        await until(lambda: len(two.received) >= 100 and one.received)
    assert two.received == [("n1", MoveRequest(request=number, group="g", to="n2")) for number in range(100)]
    assert one.received == [("n2", MoveResponse(request=7))]


async def test_what_is_said_in_one_breath_and_what_answers_one_read_is_one_write(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = Peer("n1", port), Peer("n2", port)
    writes: list[int] = []

    def write(connection: Connection, data: bytes, write: Any = Connection.write) -> bool:
        if said := [frame for frame in Decoder().feed(data) if not isinstance(frame.message, Ping)]:
            writes.append(len(said))
        return bool(write(connection, data))

    def answer(sender: Process, messages: Sequence[Message]) -> None:
        answers = [MoveResponse(request=number) for number, _ in enumerate(messages, len(two.received) + 1)]
        two.received += [(sender.name, message) for message in messages]
        two.transport.send_all((sender.name, answer) for answer in answers)

    two.transport._receive = answer
    async with one.running(), two.running():
        await until(lambda: not one.problem("n2") and not two.problem("n1"))
        monkeypatch.setattr(Connection, "write", write)
        questions = [MoveRequest(request=number, group="g", to="n2") for number in range(3)]
        one.transport.send_all(("n2", question) for question in questions)
        await until(lambda: len(one.received) == 3)
    assert two.received == [("n1", question) for question in questions]
    assert one.received == [("n2", MoveResponse(request=number)) for number in (1, 2, 3)]
    assert writes == [3, 3]


async def test_a_connection_comes_from_the_members_own_address(port: int) -> None:
    one, two = Peer("n1", port), Peer("n2", port)
    async with one.running(), two.running():
        await until(lambda: not one.problem("n2"))
        connection = one.transport.links["n2"].connection
        assert connection is not None
        assert connection.socket.getsockname()[0] == "127.0.0.1"
        assert connection.socket.getpeername() == ("127.0.0.2", port)
        assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert connection.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000
        assert one.transport.links["n2"].software == "0.1.0"
        assert one.transport.links["n2"].round_trip_seconds() is not None


async def test_a_peer_that_goes_is_noticed_and_one_that_returns_is_met_again(port: int) -> None:
    one = Peer("n1", port)
    async with one.running():
        async with (two := Peer("n2", port)).running():
            await until(lambda: not one.problem("n2") and not two.problem("n1"))
        await until(lambda: "n2" in one.lost)
        await until(lambda: one.problem("n2") == "refused")
        async with (two := Peer("n2", port, incarnation=2)).running():
            await until(lambda: not one.problem("n2") and not two.problem("n1"))
            two.transport.send("n1", MoveResponse(request=1))
            await until(lambda: one.received)


async def test_a_peer_that_comes_back_before_its_reset_was_read_is_heard(port: int) -> None:
    one, two = Peer("n1", port), Peer("n2", port)
    with socket.socket() as reset:  # as the kernel leaves a connection after a RST: shutdown(2) says ENOTCONN
        one.transport._incoming["n2"] = Connection(reset, PlainChannel())
        async with one.running(), two.running():
            await until(lambda: not two.problem("n1"))
            two.transport.send("n1", MoveResponse(request=1))
            await until(lambda: one.received)


async def test_without_descriptors_connections_wait(
    port: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = Peer("n1", port), Peer("n2", port)
    accept, left = socket.socket.accept, [3]

    def exhausted(listener: socket.socket) -> tuple[socket.socket, Any]:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", exhausted)
    async with one.running(), two.running():
        await until(lambda: not one.problem("n2") and not two.problem("n1"))
    assert "a connection has to wait: Too many open files" in caplog.text


async def test_why_there_is_no_connection_is_known(port: int) -> None:
    """Scenario A 16: another cluster, a member of another name, nobody."""
    one = Peer("n1", port)
    other_cluster, impostor = Peer("n2", port, cluster="rack-8"), Peer("n2", port)
    impostor.endpoints = one.endpoints | {"n2": one.endpoints["n3"]}  # listens where n3 should
    async with one.running(), other_cluster.running(), impostor.running():
        await until(lambda: one.problem("n2") == "wrong cluster")
        await until(lambda: one.problem("n3") == "this is n2, not n3")
        await until(lambda: other_cluster.problem("n1") == "wrong cluster")
    assert one.received == []


async def talk(port: int, *data: bytes, source: str = "127.0.0.9", wait: bool = True) -> bytes:
    """Say something to n1 as a stranger; return everything that it says before it hangs up."""

    def run() -> bytes:
        answer = b""
        with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as connection:
            for part in data:
                connection.sendall(part)
            try:
                while wait and (more := connection.recv(4096)):
                    answer += more
            except ConnectionResetError:
                pass
        return answer

    return await to_thread.run_sync(run)


def frame(message: Payload, *, name: str = "n2", cluster: str = "rack-7", incarnation: int = 1) -> bytes:
    return encode(Frame(cluster=cluster, sender=Process(name=name, incarnation=incarnation), message=message))


@pytest.mark.parametrize(
    ("greeting", "source", "refusal"),
    [
        (frame(Hello(to="n1"), cluster="rack-8"), "127.0.0.2", "wrong cluster"),
        (frame(Hello(to="n1"), name="n9"), "127.0.0.2", "n9 is not a member of the group (members: n1, n2, n3)"),
        (frame(Hello(to="n1")), "127.0.0.9", "n2 is at 127.0.0.2 here, not at 127.0.0.9"),
        (frame(Hello(to="n3")), "127.0.0.2", "this is n1, not n3"),
        (frame(Ping()), "127.0.0.2", "no greeting"),
    ],
)
async def test_a_stranger_is_told_why_it_is_not_heard(
    port: int, greeting: bytes, source: str, refusal: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenario A 16."""
    one = Peer("n1", port)
    async with one.running():
        with caplog.at_level(logging.WARNING, "kubevip.raft.transport"):
            answer = await talk(port, greeting, frame(MoveRequest(request=1, group="g", to="n2")), source=source)
    # A connection that is closed with unread data is reset, which may overtake the answer.
    assert [it.message for it in Decoder().feed(answer)] in ([], [Welcome(refusal=refusal, software="0.1.0")])
    assert refusal in caplog.text
    assert one.received == []


@pytest.mark.parametrize(
    "noise",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00" + b"\x00" * 100,
        (LARGEST_FRAME_BYTES + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x02{}",
    ],
)
async def test_noise_ends_a_connection_and_nothing_else(port: int, noise: bytes) -> None:
    one, two = Peer("n1", port), Peer("n2", port)
    async with one.running(), two.running():
        assert await talk(port, noise) == b""
        await until(lambda: not two.problem("n1"))
        two.transport.send("n1", Ping())
    assert one.received == []


async def test_who_says_nothing_is_hung_up_on(port: int) -> None:
    one = Peer("n1", port)
    async with one.running():
        assert await talk(port) == b""


async def test_strangers_that_say_nothing_do_not_keep_a_member_out(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_SECONDS", 30.0)
    one, two = Peer("n1", port), Peer("n2", port)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(one.running())
        for _ in range(doorway.MOST_STRANGERS):
            stranger = await anyio.connect_tcp("127.0.0.1", port, local_host="127.0.0.9")
            await stack.enter_async_context(stranger)
        last = await stack.enter_async_context(await anyio.connect_tcp("127.0.0.1", port, local_host="127.0.0.9"))
        with fail_after(10), pytest.raises(anyio.EndOfStream):  # their places are taken
            await last.receive()
        await stack.enter_async_context(two.running())
        await until(lambda: not two.problem("n1"))


async def test_a_frame_of_somebody_else_ends_the_connection(port: int) -> None:
    one = Peer("n1", port)
    async with one.running():
        request = MoveRequest(request=1, group="g", to="n2")
        forged = frame(request, incarnation=9)
        await talk(port, frame(Hello(to="n1")), frame(request), forged, frame(request), source="127.0.0.2")
        await until(lambda: one.lost == ["n2"])
    assert one.received == [("n2", request)]


async def test_an_address_of_another_machine_and_a_port_that_is_taken_are_named() -> None:
    with pytest.raises(ElectionError, match=r"192\.0\.2\.1 is not an address of this machine"):
        with listening(Endpoint(address=ip_address("192.0.2.1"), port=10000), 1):
            pass
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        with pytest.raises(ElectionError, match=f"127.0.0.1:{taken}/tcp: the port is taken"):
            with listening(Endpoint(address=ip_address("127.0.0.1"), port=taken), 1):
                pass


async def test_what_a_peer_does_not_read_is_bounded_and_the_newest_is_kept() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        connection = Connection(ours, PlainChannel())
        link = Link(name="n2", endpoint=Endpoint(address=ip_address("127.0.0.2"), port=1), connection=connection)
        while connection.is_clear:
            link.send((bytes, b"x" * 4096))
        for number in range(1000):
            link.send((int, f"heartbeat {number}".encode()))
            link.send((str, f"answer {number}".encode()))
        assert list(link._unsent.values()) == [b"heartbeat 999", b"answer 999"]
        received = b""
        while not link.flush():
            received += theirs.recv(1 << 20)
        received += theirs.recv(1 << 20)
    assert received.endswith(b"heartbeat 999answer 999")
    assert set(received.removesuffix(b"heartbeat 999answer 999")) == {ord("x")}


async def test_peers_that_come_and_go_while_it_runs(port: int) -> None:
    one, two, three = Peer("n1", port), Peer("n2", port), Peer("n3", port)
    async with one.running(), two.running(), three.running():
        await until(lambda: not (one.problem("n2") or one.problem("n3") or two.problem("n1") or three.problem("n1")))
        kept = one.transport.links["n2"].connection
        one.transport.set_peers({"n2": one.endpoints["n2"]})
        assert list(one.transport.links) == ["n2"]
        await until(lambda: three.problem("n1") == "n3 is not a member of the group (members: n1, n2, n3)")
        assert one.transport.links["n2"].connection is kept
        assert one.lost == []  # who is no peer any more is not missed
        one.transport.set_peers({"n2": one.endpoints["n2"], "n3": one.endpoints["n3"]})
        await until(lambda: not one.problem("n3") and not three.problem("n1"))
        three.transport.send("n1", MoveResponse(request=1))
        await until(lambda: one.received)


async def test_without_a_connection_nothing_waits() -> None:
    link = Link(name="n2", endpoint=Endpoint(address=ip_address("127.0.0.2"), port=1))
    link.send((int, b"heartbeat"))
    assert not link._unsent
