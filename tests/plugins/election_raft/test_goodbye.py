"""What a member's parent process tells the peers: it is heard at once, by those that are there, and bounded in time."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from anyio import create_task_group, to_thread
from attrs import evolve

from kubevip import Port
from kubevip_election_raft import _goodbye
from kubevip_election_raft._codec import Hello
from kubevip_election_raft._keys import FILES
from kubevip_election_raft._messages import Goodbye, MoveResponse
from kubevip_election_raft.plugin import RAFT
from kubevip_keeper._protocol import will_message
from kubevip_keeper._wills import FIRST_STATEMENT

from .certificates import make_keys
from .test_election import config, host
from .test_mutual_tls import member
from .test_transport import Peer, frame, free_port, until

pytestmark = pytest.mark.anyio

PEERS = ("n2", "n3")
SAID = MoveResponse(request=7)  # any message: what is said is finished bytes


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("pki") / "keys")


@pytest.fixture
def port() -> int:
    return free_port(("127.0.0.1", "127.0.0.2", "127.0.0.3"))


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_goodbye, "SECONDS", 10.0)  # the machine may be busy


def will(port: int, folder: Path | None, *, incarnation: int = 1, name: str = "n1") -> bytes:
    """Return the will of n1, or of somebody with its keys."""
    frames = {peer: frame(Hello(to=peer), name=name, incarnation=incarnation) for peer in PEERS}
    said = frame(SAID, name=name, incarnation=incarnation)
    return _goodbye.make(
        "127.0.0.1",
        [] if folder is None else [str(folder / file) for file in FILES],
        [(peer, f"127.0.0.{peer[1]}", port, frames[peer] + said) for peer in PEERS],
    )


async def say(payload: bytes) -> None:
    await to_thread.run_sync(lambda: list(_goodbye.say(payload)))


@pytest.mark.parametrize("has_keys", [True, False], ids=["keys", "plain"])
async def test_every_peer_hears_it(port: int, keys: Path, has_keys: bool) -> None:
    def peer(name: str) -> Peer:
        return member(name, port, keys) if has_keys else Peer(name, port)

    two, three = peer("n2"), peer("n3")
    async with two.running(), three.running():
        await say(will(port, keys / "n1" if has_keys else None))
        await until(lambda: two.received and three.received)
        await until(lambda: two.lost == three.lost == ["n1"])
    assert two.received == three.received == [("n1", SAID)]


async def test_it_is_heard_beside_a_connection_that_hangs(port: int, keys: Path) -> None:
    """Of a frozen member: its own connections stand, and say nothing."""
    one, two, three = (member(name, port, keys) for name in ("n1", "n2", "n3"))
    async with two.running(), three.running():
        async with one.running():
            await until(lambda: not (one.problem("n2") or one.problem("n3")))
            await say(will(port, keys / "n1"))
            await until(lambda: two.received and three.received)


async def test_a_peer_that_is_away_takes_nothing_from_the_others(port: int, keys: Path) -> None:
    three = member("n3", port, keys)
    async with three.running():
        await say(will(port, keys / "n1"))
        await until(lambda: three.received)


@pytest.mark.parametrize("has_keys", [True, False], ids=["keys", "plain"])
async def test_that_nobody_heard_it_is_an_error_that_says_why(port: int, keys: Path, has_keys: bool) -> None:
    with pytest.raises(OSError, match=r"no peer heard it: n2 \(refused\), n3 \(refused\)"):
        await say(will(port, keys / "n1" if has_keys else None))


async def test_a_peer_of_another_ca_does_not_take_it(port: int, keys: Path, tmp_path: Path) -> None:
    two = member("n2", port, make_keys(tmp_path / "other"))
    async with two.running():
        with pytest.raises(OSError, match=r"n2 \(.*certificate verify failed"):
            await say(will(port, keys / "n1"))
    assert two.received == []


async def test_who_is_in_the_place_of_a_peer_is_told_nothing(port: int, keys: Path) -> None:
    impostor = member("n2", port, keys, owner="n3")
    async with impostor.running():
        with pytest.raises(OSError, match=r"n2 \(somebody else is there\)"):
            await say(will(port, keys / "n1"))
    assert impostor.received == []


async def test_nobody_says_it_for_another(port: int, keys: Path) -> None:
    two = member("n2", port, keys)
    async with two.running():
        with pytest.raises(OSError, match=r"n2 \(its certificate is for n1, not for n3\)"):
            await say(will(port, keys / "n1", name="n3"))
    assert two.received == []


@pytest.fixture
def mute(port: int) -> Iterator[None]:
    """Peers that accept and say nothing."""
    with socket.create_server(("127.0.0.2", port)), socket.create_server(("127.0.0.3", port)):
        yield


@pytest.mark.usefixtures("mute")
@pytest.mark.parametrize("has_keys", [True, False], ids=["keys", "plain"])
async def test_peers_that_do_not_answer_hold_it_up_for_a_bounded_time(
    port: int, keys: Path, has_keys: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_goodbye, "SECONDS", 0.05)
    began = time.monotonic()
    with pytest.raises(OSError, match=r"n2 \(no answer\), n3 \(no answer\)"):
        await say(will(port, keys / "n1" if has_keys else None))
    assert time.monotonic() - began >= 0.05


async def test_a_peer_that_does_not_even_accept_holds_it_up_for_a_bounded_time(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_goodbye, "SECONDS", 0.05)
    with ExitStack() as stack:
        stack.enter_context(socket.create_server(("127.0.0.2", port), backlog=0))
        for _ in range(3):  # more than its queue takes: what comes then is not answered
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(("127.0.0.2", port))
        with pytest.raises(OSError, match=r"n2 \(no answer\), n3 \(refused\)"):
            await say(will(port, None))


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"", "refused"),
        (b"\xff\xff\xff\xff" + b"x" * 20_000, "refused"),
        (b"\x00\x00\x00\x02{}", "no welcome"),
        (b"\x00\x00\x00\x02[}", "no welcome"),
    ],
)
async def test_an_answer_that_is_none_is_bounded_and_no_welcome(port: int, answer: bytes, problem: str) -> None:
    with socket.create_server(("127.0.0.2", port)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        async with create_task_group() as tg:
            tg.start_soon(to_thread.run_sync, serve)
            with pytest.raises(OSError, match=rf"n2 \({problem}\)"):
                await say(will(port, None))


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
    async with two.running():
        two.transport._identity = evolve(two.identity, cluster="default")
        async with RAFT.open(settings, host(tmp_path, "n1", will=wills, incarnation=7)):
            ((order, function), payload), *others = wills.left.items()
            assert others == []
            assert (order, function) == (_goodbye.ORDER, _goodbye.FUNCTION)
            assert order >= FIRST_STATEMENT  # it rests on the deeds
            await say(payload)
            await until(lambda: ("n1", Goodbye()) in two.received)
        assert wills.left == {}


async def test_a_member_that_is_alone_leaves_none(tmp_path: Path) -> None:
    wills = Wills()
    async with RAFT.open(config(1), host(tmp_path, "n1", will=wills)):
        assert wills.left == {}


def test_it_needs_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import kubevip_election_raft._goodbye; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert result.stdout.split() == ["kubevip_election_raft"]
