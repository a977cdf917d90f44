"""What a member's parent process tells the peers: it is heard at once, by those that are there, and bounded in time."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from anyio import create_task_group, to_thread
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from kubevip import Port
from kubevip_election_raft._consensus.entries import Process
from kubevip_election_raft._consensus.messages import Goodbye
from kubevip_election_raft._last_will import LastWill
from kubevip_election_raft._wire import goodbye
from kubevip_election_raft._wire.codec import Ping
from kubevip_election_raft._wire.goodbye import HEARD, MAGIC, SECRET_BYTES
from kubevip_election_raft._wire.seals import GOODBYE_BYTES, Seals, seal_of
from kubevip_election_raft._wire.sockets import Endpoint
from kubevip_election_raft.plugin import RAFT
from kubevip_keeper._protocol import will_message
from kubevip_keeper._wills import FIRST_STATEMENT

from .certificates import make_keys
from .test_election import config, host
from .test_mutual_tls import member
from .test_transport import Peer, free_port, until

pytestmark = pytest.mark.anyio

PEERS = ("n2", "n3")
SECRET = bytes(range(SECRET_BYTES))
ONE = Process(name="n1", incarnation=1)
SAID = [("n1", Goodbye())]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("pki") / "keys")


@pytest.fixture
def port() -> int:
    return free_port(("127.0.0.1", "127.0.0.2", "127.0.0.3"))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(goodbye, "SECONDS", 10.0)  # the machine may be busy


@pytest.fixture(params=[True, False], ids=["keys", "plain"])
def peer(request: pytest.FixtureRequest, port: int, keys: Path) -> Callable[[str], Peer]:
    """A peer that knows the seal of n1, as every one does that n1 has spoken to."""

    def made(name: str) -> Peer:
        peer = member(name, port, keys) if request.param else Peer(name, port)
        peer.transport._mourner.learn(ONE, Ping(seal=seal_of(SECRET)))
        return peer

    return made


def will(port: int, secret: bytes = SECRET) -> bytes:
    """Return the will of n1, or of somebody who guesses."""
    return goodbye.make("127.0.0.1", secret, [(peer, f"127.0.0.{peer[1]}", port) for peer in PEERS])


async def say(payload: bytes) -> None:
    await to_thread.run_sync(lambda: list(goodbye.say(payload)))


async def test_every_peer_hears_it(port: int, peer: Callable[[str], Peer]) -> None:
    two, three = peer("n2"), peer("n3")
    async with two.running(), three.running():
        await say(will(port))
        assert two.received == three.received == SAID


async def test_a_peer_that_has_never_been_met_otherwise_is_told_the_seal_first_of_all(port: int, keys: Path) -> None:
    """Of a frozen member: its own connections stand, and say nothing."""
    one, two = member("n1", port, keys), member("n2", port, keys)
    one.transport._mourner._seal = seal_of(SECRET)
    async with two.running(), one.running():
        await until(lambda: not one.problem("n2") and two.transport._mourner._seals.dead(MAGIC + SECRET))
        await say(will(port))
        assert two.received == SAID


async def test_a_peer_that_is_away_takes_nothing_from_the_others(port: int, peer: Callable[[str], Peer]) -> None:
    three = peer("n3")
    async with three.running():
        await say(will(port))
        assert three.received == SAID


async def test_that_nobody_heard_it_is_an_error_that_says_why(port: int) -> None:
    with pytest.raises(OSError, match=r"no peer heard it: n2 \(refused\), n3 \(refused\)"):
        await say(will(port))


async def test_who_does_not_know_the_secret_is_not_believed(
    port: int, peer: Callable[[str], Peer], caplog: pytest.LogCaptureFixture
) -> None:
    two = peer("n2")
    with caplog.at_level(logging.INFO, "kubevip.raft"):
        async with two.running():
            with pytest.raises(OSError, match=r"n2 \(refused\)"):
                await say(will(port, bytes(SECRET_BYTES)))
    assert two.received == []
    assert two.transport.refused_count == 2  # it is said twice: the first might have been late
    assert "a goodbye that nobody has to believe" in caplog.text
    assert SECRET.hex() not in caplog.text


async def test_it_may_come_in_pieces_and_what_is_cut_short_is_nothing(port: int, peer: Callable[[str], Peer]) -> None:
    two, said = peer("n2"), MAGIC + SECRET

    def speak(*pieces: bytes) -> bytes:
        with socket.create_connection(("127.0.0.2", port), timeout=10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            return connection.recv(10)

    async with two.running():
        assert await to_thread.run_sync(speak, said[:20]) == b""
        assert two.received == []
        assert await to_thread.run_sync(speak, said[:1], said[1:7], said[7:]) == HEARD
    assert two.received == SAID


async def test_who_tired_of_waiting_for_the_deeds_is_called_again(port: int, peer: Callable[[str], Peer]) -> None:
    two = peer("n2")
    async with two.running():
        steps = goodbye.say(will(port))
        await to_thread.run_sync(next, steps)
        await until(lambda: two.transport.refused_count)  # "no greeting in time"
        await to_thread.run_sync(lambda: list(steps))
    assert two.received == SAID


@pytest.fixture
def mute(port: int) -> Iterator[None]:
    """Peers that accept and say nothing."""
    with socket.create_server(("127.0.0.2", port)), socket.create_server(("127.0.0.3", port)):
        yield


@pytest.mark.usefixtures("mute")
async def test_peers_that_do_not_answer_hold_it_up_for_a_bounded_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goodbye, "SECONDS", 0.05)
    began = time.monotonic()
    with pytest.raises(OSError, match=r"n2 \(no answer\), n3 \(no answer\)"):
        await say(will(port))
    assert time.monotonic() - began >= 0.05


async def test_a_peer_that_does_not_even_accept_holds_it_up_for_a_bounded_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(goodbye, "SECONDS", 0.05)
    with ExitStack() as stack:
        stack.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        for _ in range(3):  # more than its queue takes: what comes then is not answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(("127.0.0.2", port))
        with pytest.raises(OSError, match=r"n2 \(no answer\), n3 \(refused\)"):
            await say(will(port))


@pytest.mark.parametrize("answer", [b"", b"\x15\x03\x03", b"x" * 20_000])
async def test_an_answer_that_is_none_is_a_refusal(port: int, answer: bytes) -> None:
    with socket.create_server(("127.0.0.2", port)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(4096)
                    connection.sendall(answer)

        async with create_task_group() as tg:
            tg.start_soon(to_thread.run_sync, serve)
            with pytest.raises(OSError, match=r"n2 \(refused\)"):
                await say(will(port))


# Whom it is believed of


def test_a_seal_stands_for_the_newest_process_of_a_peer() -> None:
    seals, other = Seals(), b"o" * SECRET_BYTES
    seals.learn(ONE, seal_of(SECRET))
    assert seals.dead(MAGIC + SECRET) == ONE
    seals.learn(evolve(ONE, incarnation=2), seal_of(other))
    seals.learn(ONE, seal_of(SECRET))  # late
    assert seals.dead(MAGIC + SECRET) is None
    assert seals.dead(MAGIC + other) == evolve(ONE, incarnation=2)


def test_a_peer_without_a_seal_is_never_believed_to_be_dead() -> None:
    seals = Seals()
    seals.learn(ONE, "")
    assert seals.dead(MAGIC + SECRET) is None


@given(said=st.binary(max_size=2 * GOODBYE_BYTES) | st.binary(min_size=SECRET_BYTES).map(lambda end: MAGIC + end))
def test_nothing_but_the_secret_is_believed(said: bytes) -> None:
    seals = Seals()
    seals.learn(ONE, seal_of(SECRET))
    assert seals.dead(said) is None


def test_no_two_processes_have_the_same_secret() -> None:
    own = Endpoint(address=config(1).members[0].address, port=Port(10000))
    assert len({LastWill(lambda *_: None, own).seal for _ in range(100)}) == 100


class Wills:
    """What a keeper has been left."""

    def __init__(self) -> None:
        self.left: dict[tuple[int, str], bytes] = {}

    def __call__(self, order: int, function: str, payload: bytes | None) -> None:
        will_message(order, function, payload)  # as the keeper's link checks it
        self.left.pop((order, function), None)
        if payload is not None:
            self.left[order, function] = payload


@pytest.mark.parametrize("has_keys", [True, False], ids=["keys", "plain"])
async def test_a_member_leaves_its_goodbye_and_takes_it_back_when_it_stops(
    port: int, keys: Path, tmp_path: Path, has_keys: bool
) -> None:
    settings = config(3, port=Port(port), insecure=not has_keys, pki=keys / "n1" if has_keys else None)
    two, wills = member("n2", port, keys) if has_keys else Peer("n2", port), Wills()
    two.transport._identity = two.transport._greeter._identity = evolve(two.identity, cluster="default")
    async with two.running():
        async with RAFT.open(settings, host(tmp_path, "n1", will=wills, incarnation=7)):
            ((order, function), payload), *others = wills.left.items()
            assert others == []
            assert (order, function) == (goodbye.ORDER, goodbye.FUNCTION)
            assert order >= FIRST_STATEMENT  # it rests on the deeds
            await until(lambda: two.transport._mourner._seals._sealed)
            await say(payload)
            assert ("n1", Goodbye()) in two.received
        assert wills.left == {}


async def test_a_member_that_is_alone_leaves_none(tmp_path: Path) -> None:
    wills = Wills()
    async with RAFT.open(config(1), host(tmp_path, "n1", will=wills)):
        assert wills.left == {}


def test_it_needs_the_standard_library_alone_and_no_cryptography() -> None:
    code = (
        "import sys; before = set(sys.modules); import kubevip_election_raft._wire.goodbye; "
        "assert 'ssl' not in sys.modules; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ["kubevip_election_raft"]
