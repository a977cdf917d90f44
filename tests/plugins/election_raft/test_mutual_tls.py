"""Members with keys over real sockets on loopback: who is heard, what others are told, how keys are replaced."""

from __future__ import annotations

import logging
import shutil
import socket
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from anyio import create_task_group, sleep, to_thread

from kubevip import Leading, Port
from kubevip_election_raft._consensus.messages import MoveRequest, MoveResponse
from kubevip_election_raft._election import RaftElection
from kubevip_election_raft._tls.key_store import KeyStore, Step
from kubevip_election_raft._tls.keyring import Keyring
from kubevip_election_raft._tls.keys import load_keys
from kubevip_election_raft._wire import doorway, transport
from kubevip_election_raft._wire.codec import Decoder, Hello, Welcome
from kubevip_election_raft.plugin import RAFT

from .certificates import NAMES, make_keys
from .test_election import Stand, config, host
from .test_transport import Peer, frame, free_port, talk, until

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("pki") / "keys")


@pytest.fixture
def port() -> int:
    return free_port(("127.0.0.1", "127.0.0.2", "127.0.0.3"))


def member(name: str, port: int, keys: Path, *, owner: str = "", incarnation: int = 1) -> Peer:
    """Return a member with the keys of `owner`, by default its own."""
    owner = owner or name
    return Peer(name, port, keyring=Keyring.load(keys / owner, owner), incarnation=incarnation)


async def test_members_with_keys_hear_each_other(port: int, keys: Path) -> None:
    one, two = member("n1", port, keys), member("n2", port, keys)
    async with one.running(), two.running():
        await until(lambda: not one.problem("n2") and not two.problem("n1"))
        for number in range(100):
            one.transport.send("n2", MoveRequest(request=number, group="g", to="n2"))
        one.transport.send("n2", MoveResponse(request=7))
        two.transport.send("n1", MoveResponse(request=8, refusal="x" * 200))
        await until(lambda: two.received[-1:] == [("n1", MoveResponse(request=7))] and one.received)
    assert two.received[0] == ("n1", MoveRequest(request=0, group="g", to="n2"))
    assert one.received == [("n2", MoveResponse(request=8, refusal="x" * 200))]


async def test_a_member_of_another_ca_is_refused_counted_and_waited_for_by_name(
    port: int, keys: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenario 145."""
    one, two = member("n1", port, keys), member("n2", port, make_keys(tmp_path / "other"))
    with caplog.at_level(logging.INFO, "kubevip.raft"):
        async with one.running(), two.running():
            await until(lambda: one.problem("n2") == two.problem("n1") == "wrong CA")
            await until(lambda: one.transport.refused_count > 3)
    assert one.received == two.received == []
    assert "connection from 127.0.0.2 refused: wrong CA" in caplog.text
    assert "cannot reach peer=n2 at=127.0.0.2" in caplog.text
    assert "PRIVATE" not in caplog.text
    refusals = [it.message for it in caplog.records if it.message == "connection from 127.0.0.2 refused: wrong CA"]
    assert len(refusals) == 1  # the same again is counted only


async def test_status_says_that_a_member_of_another_ca_is_waited_for(port: int, keys: Path, tmp_path: Path) -> None:
    settings = config(3, port=Port(port), insecure=False, pki=keys / "n1")
    two = member("n2", port, make_keys(tmp_path / "other"))
    async with two.running(), RAFT.open(settings, host(tmp_path, "n1")) as election:
        assert isinstance(election, RaftElection)
        expected = f"waiting for 1 of n2 at 127.0.0.2:{port} (wrong CA), n3 at 127.0.0.3:{port} (refused)"
        await until(lambda: election.status().get("waiting") == expected)
        await until(lambda: election.status()["refused"])


async def test_the_certificate_tells_who_it_is_and_the_address_does_not(
    port: int, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Scenario 145: n3 is at n2's address with keys of its own, which are good, and says that it is n2."""
    one, three = member("n1", port, keys), member("n2", port, keys, owner="n3")
    async with one.running(), three.running():
        await until(lambda: one.problem("n2") == "n3 is there")
        await until(lambda: three.problem("n1") == "its certificate is for n3, not for n2")
    assert one.received == []
    assert "its certificate is for n3, not for n2 (it says it is n2)" in caplog.text


async def test_a_member_is_heard_from_whatever_address_it_comes(port: int, keys: Path) -> None:
    """Behind another router, say: the certificate is what counts."""
    one = member("n1", port, keys)
    async with one.running():
        answer = await converse(port, keys / "n2", frame(Hello(to="n1")), source="127.0.0.9")
        assert [it.message for it in Decoder().feed(answer)] == [Welcome(software="0.1.0")]
        await until(lambda: one.lost == ["n2"])


async def converse(port: int, keys: Path, data: bytes, *, source: str) -> bytes:
    """Say something to n1 with the keys of a folder; return what it answers first."""

    def run() -> bytes:
        context = load_keys(keys, None).client
        context.check_hostname = False
        with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as connection:
            with context.wrap_socket(connection) as secured:
                secured.sendall(data)
                return secured.recv(4096)

    return await to_thread.run_sync(run)


async def test_who_has_good_keys_and_is_no_member_is_told_so(port: int, tmp_path: Path) -> None:
    keys = make_keys(tmp_path / "keys", (*NAMES, "n9"))
    one = member("n1", port, keys)
    async with one.running():
        answer = await converse(port, keys / "n9", frame(Hello(to="n1"), name="n9"), source="127.0.0.9")
    (answered,) = Decoder().feed(answer)
    assert answered.message == Welcome(
        refusal="n9 is not a member of the group (members: n1, n2, n3)", software="0.1.0"
    )


@pytest.mark.parametrize(
    "noise",
    [frame(Hello(to="n1")), b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x40\x01" + b"\x01" * 0x4001, b"\x00" * 70_000],
)
async def test_what_is_no_handshake_is_never_taken_for_a_frame(
    port: int, keys: Path, noise: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario 149: nothing is decoded of somebody who has proven nothing."""

    def refuse(decoder: Decoder, data: bytes) -> list[object]:
        raise AssertionError("decoded")

    monkeypatch.setattr(Decoder, "feed", refuse)
    one = member("n1", port, keys)
    async with one.running():
        with suppress(OSError):  # it may be hung up on before it has said all
            assert (await talk(port, noise, source="127.0.0.2"))[:2] in (b"", b"\x15\x03")  # nothing, or an alert
        await until(lambda: one.transport.refused_count == 1)


async def test_members_with_and_without_keys_do_not_meet_and_say_why(port: int, keys: Path) -> None:
    one, two = member("n1", port, keys), Peer("n2", port)
    async with one.running(), two.running():
        await until(lambda: two.problem("n1") == "it has keys, and this member was told to do without")
        await until(lambda: one.problem("n2") == "refused")
    assert one.received == two.received == []


async def test_a_handshake_that_does_not_go_on_is_ended(
    port: int, keys: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(transport, "HANDSHAKE_SECONDS", 0.05)
    one = member("n1", port, keys)
    async with one.running():
        assert await talk(port, b"\x16\x03\x01") == b""
    assert "no greeting in time" in caplog.text


async def test_strangers_cannot_have_it_shake_hands_all_day(port: int, keys: Path) -> None:
    """Scenario 156: each handshake costs a millisecond; strangers get so many in a row, and members their own."""
    one, two = member("n1", port, keys), member("n2", port, keys)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(one.running())
        one.transport._doorway._left = 3.0
        for _ in range(3):
            assert (await talk(port, b"\x00" * 16))[:2] == b"\x15\x03"
        assert await talk(port, b"\x00" * 16) == b""  # hung up on, unread
        await stack.enter_async_context(two.running())
        await until(lambda: not two.problem("n1"))
    assert one.transport.refused_count == 4


def test_the_door_lets_strangers_in_again_after_a_while() -> None:
    now = 0.0
    door = doorway.Doorway(["127.0.0.2"], lambda: now)
    for _ in range(doorway.MOST_STRANGERS_IN_A_ROW):
        assert door.admit("127.0.0.9") == ""
        door.leave("")
    assert door.admit("127.0.0.9") is None
    assert door.admit("127.0.0.2") == "127.0.0.2"
    now = 1.0
    assert door.admit("127.0.0.9") == ""


def test_what_the_door_remembers_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    door = doorway.Doorway([], lambda: 0.0)
    for number in range(1000):
        door.refuse(f"192.0.2.{number}", "wrong CA")
        assert len(door._logged_at) <= 256
    assert door.refused_count == 1000


# Replacing keys


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "KEYS_SECONDS", 0.05)
    monkeypatch.setattr(transport, "RENEWAL_SECONDS", 0.05)


def install(store: KeyStore, place: Path, name: str) -> None:
    """Copy the keys of a member to where it has them, as scp does."""
    (place / name).mkdir(exist_ok=True)
    for path in sorted((store.folder / name).iterdir()):
        shutil.copy(path, place / name / path.name)


@pytest.mark.usefixtures("soon")
async def test_a_member_whose_ca_is_trusted_no_more_is_hung_up_on(port: int, tmp_path: Path) -> None:
    """Scenario 146: a connection does not outlive the keys that allowed it."""
    store = KeyStore(tmp_path / "keys")
    store.create(NAMES)
    place = tmp_path / "pki"
    place.mkdir()
    for name in NAMES:
        install(store, place, name)
    one, two = member("n1", port, place), member("n2", port, place)
    async with one.running(), two.running():
        await until(lambda: not one.problem("n2") and not two.problem("n1"))
        for _ in Step:
            store.replace_authority()
        install(store, place, "n1")  # n2 was forgotten
        await until(lambda: one.problem("n2") == two.problem("n1") == "wrong CA")
        assert not one.transport._incoming
        install(store, place, "n2")
        await until(lambda: not one.problem("n2") and not two.problem("n1"))


@pytest.mark.usefixtures("soon")
async def test_a_new_ca_costs_no_leader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario 146: three members, three steps, each copied to one member after the other."""
    store = KeyStore(tmp_path / "keys")
    store.create(NAMES)
    place = tmp_path / "pki"
    place.mkdir()
    for name in NAMES:
        install(store, place, name)
    renewed, installed = list[str](), list[str]()
    refresh = Keyring.refresh

    def count(keyring: Keyring) -> bool:
        if changed := refresh(keyring):
            renewed.append(keyring._name)
        return changed

    monkeypatch.setattr(Keyring, "refresh", count)
    stands = [Stand() for _ in NAMES]
    base = config(3, insecure=False)
    async with AsyncExitStack() as stack:
        elections: list[RaftElection] = []
        for name in NAMES:
            settings = RAFT.config(
                members=base.members, port=base.port, timing=base.timing, pki=place / name, stand_first=name == "n1"
            )
            election = await stack.enter_async_context(RAFT.open(settings, host(tmp_path, name)))
            assert isinstance(election, RaftElection)
            elections.append(election)
        tg = await stack.enter_async_context(create_task_group())
        for stand, election in zip(stands, elections, strict=True):
            tg.start_soon(stand.run, election)
        await until(lambda: any(stand.holds for stand in stands))
        leader = next(stand for stand in stands if stand.holds)
        terms = {report.term for report in leader.reports if isinstance(report, Leading)}
        for _ in Step:
            store.replace_authority()
            for name in NAMES:
                install(store, place, name)
                installed.append(name)
                await until(lambda: len(renewed) == len(installed))
                await sleep(0.1)
        assert leader.holds
        first = next(index for index, report in enumerate(leader.reports) if isinstance(report, Leading))
        assert all(isinstance(report, Leading) for report in leader.reports[first:])
        assert {report.term for report in leader.reports if isinstance(report, Leading)} == terms
        assert not any(isinstance(it, Leading) for stand in stands if stand is not leader for it in stand.reports)
        tg.cancel_scope.cancel()
    assert renewed == installed
