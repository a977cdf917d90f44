"""The loss of a majority for good: recovery by hand, and those of before that come back."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio import Event, create_task_group
from attrs import evolve

from kubevip import Leading
from kubevip.errors import ElectionError, NoDaemonError
from kubevip_election_raft._commands import raft
from kubevip_election_raft._config import RaftConfig
from kubevip_election_raft._consensus.entries import (
    Entry,
    Grant,
    HardState,
    MemberRecord,
    Place,
    Placed,
    Placement,
    Process,
    Saved,
    SetMembers,
)
from kubevip_election_raft._consensus.epoch import EPOCH_STEP, count_of, joining, members_of, recovered
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Ready
from kubevip_election_raft._consensus.timing import DEFAULT
from kubevip_election_raft._disk.storage import Storage, StorageError
from kubevip_election_raft._election import RaftElection
from kubevip_election_raft._instance import SupersededError
from kubevip_election_raft._wire.codec import Frame, FrameError, Ping, decode, encode
from kubevip_election_raft.plugin import RAFT

from .group import Group
from .test_election import Stand, config, host, until

N1 = Process(name="n1", incarnation=1, birth=11)
THREE = tuple(MemberRecord(name=name, birth=birth) for name, birth in (("n1", 11), ("n2", 12), ("n3", 13)))
OLD = Saved(
    hard_state=HardState(term=4, vote="n2", promise_seconds=0.18, birth=11),
    entries=(
        Entry(term=3, index=1, command=SetMembers(members=THREE)),
        Entry(term=4, index=2, command=Place(placed=(Placed(group="g", process=N1),))),
    ),
)


NAMES = tuple(evolve(record, birth=0) for record in THREE)
UNBORN = evolve(OLD, entries=(evolve(OLD.entries[0], command=SetMembers(members=NAMES)), OLD.entries[1]))


def begin(*keep: str, saved: Saved = OLD, own: str = "n1", seed: int = 1) -> Saved:
    return recovered(saved, own=own, keep=keep, rng=Random(seed))


# What a state becomes


def test_recovery_keeps_what_was_agreed_and_the_members_that_are_named() -> None:
    new = begin("n1", "n3")
    assert members_of(new) == (THREE[0], evolve(THREE[2], birth=0))  # n3 comes without its disk
    assert new.snapshot.state.placements == {"g": Placement(process=N1, grant=Grant(term=4, index=2))}
    assert (new.snapshot.index, new.snapshot.term, new.hard_state.term) == (3, 5, 5)
    assert (new.hard_state.promise_seconds, new.hard_state.birth) == (0.18, 11)


def test_each_recovery_makes_a_later_epoch_and_no_two_the_same() -> None:
    first, second = begin("n1", seed=1), begin("n1", seed=2)
    assert count_of(first.hard_state.epoch) == count_of(second.hard_state.epoch) == 1
    assert first.hard_state.epoch != second.hard_state.epoch
    third = begin("n1", saved=first, seed=3)
    assert count_of(third.hard_state.epoch) == 2
    assert third.hard_state.epoch > max(first.hard_state.epoch, second.hard_state.epoch)


@pytest.mark.parametrize(
    ("saved", "keep", "refusal"),
    [
        (OLD, ("n2",), "this is n1, which has to be among those that are kept"),
        (OLD, ("n1", "n9"), r"n9: no member \(members: n1, n2, n3\)"),
        (Saved(), ("n1",), "never had a leader"),
    ],
)
def test_what_cannot_be_recovered_is_refused(saved: Saved, keep: tuple[str, ...], refusal: str) -> None:
    with pytest.raises(ValueError, match=refusal):
        begin(*keep, saved=saved)


def test_who_joins_knows_others_and_keeps_silent_for_as_long_as_it_may_have_promised() -> None:
    state = joining(OLD, own="n1", epoch=7, known=THREE)
    assert members_of(state) == (evolve(THREE[1], birth=0), evolve(THREE[2], birth=0))
    assert state.hard_state == HardState(promise_seconds=0.18, epoch=7)
    assert state.entries == ()


# What a group does with it; its members have no births


def test_who_was_recovered_alone_holds_and_who_joins_does_not_stand_until_it_is_added() -> None:
    alone = begin("n1", saved=UNBORN)
    joins = {name: joining(UNBORN, own=name, epoch=alone.hard_state.epoch, known=THREE) for name in ("n2", "n3")}
    group = Group(disks={"n1": alone, **joins})
    group.advance(5.0)
    assert group.leaders == group.holders == ["n1"]
    assert not group["n2"].is_member
    group.crash("n1")
    group.advance(20.0)  # two that join are no majority of anything, however many they are
    assert group.leaders == group.holders == []


def test_what_was_held_by_a_member_that_was_given_up_is_held_because_that_was_removed() -> None:
    alone = begin("n3", saved=UNBORN, own="n3")
    joins = {name: joining(UNBORN, own=name, epoch=alone.hard_state.epoch, known=THREE) for name in ("n1", "n2")}
    group = Group(disks={"n3": alone, **joins})
    group.advance(5.0)
    assert group.holders == ["n3"]
    assert group["n3"].state.holdings["g"].rise.why == "n1 was removed"


def test_who_is_added_to_a_recovered_group_succeeds_the_others() -> None:
    alone = begin("n1", saved=UNBORN)
    joins = {name: joining(UNBORN, own=name, epoch=alone.hard_state.epoch, known=THREE) for name in ("n2", "n3")}
    group = Group(disks={"n1": alone, **joins})
    group.advance(1.0)
    for name in ("n2", "n3"):
        refused: list[str] = []
        group.meet(name, group.leaders[0])

        def add(node: Any, now: float, name: str = name, refused: list[str] = refused) -> Any:
            refused.append(node.change_members(MemberRecord(name=name), is_removal=False, now=now).refusal)
            return node.tick(now)

        group.do(group.leaders[0], add)
        assert refused == [""]
        group.advance(1.0)
    assert group["n2"].members == ("n1", "n2", "n3")
    group.crash("n1")
    group.advance(2.0)
    assert group.holders in (["n2"], ["n3"])


@pytest.mark.parametrize("answers", [True, False])
def test_what_one_holds_alone_is_held_on_while_a_second_one_is_added(*, answers: bool) -> None:
    """To the end of the lease that it had: if the second one does not answer by then, two are no majority."""
    alone = begin("n1", saved=UNBORN)
    joins = {name: joining(UNBORN, own=name, epoch=alone.hard_state.epoch, known=THREE) for name in ("n2", "n3")}
    group = Group(disks={"n1": alone, **joins})
    group.advance(1.0)
    before = group["n1"].state.holdings["g"]
    group.meet("n2", "n1")

    def add(node: Node, now: float) -> Ready:
        node.change_members(MemberRecord(name="n2"), is_removal=False, now=now)
        return node.tick(now)

    group.do("n1", add)
    assert group["n1"]._quorum == 2
    group.advance(0.1, delivers=False)
    assert group["n1"].state.holdings["g"].tenure == before.tenure
    assert group["n1"].state.holdings["g"].until <= group.now - 0.1 + DEFAULT.lease_seconds
    group.advance(1.0, delivers=answers)
    assert group.holders == (["n1"] if answers else [])
    if answers:
        assert group["n1"].state.holdings["g"].tenure == before.tenure


def test_a_kept_member_joins_without_being_added() -> None:
    two = begin("n1", "n2", saved=UNBORN)
    group = Group(disks={"n1": two, "n2": joining(UNBORN, own="n2", epoch=two.hard_state.epoch, known=THREE)})
    group.crash("n3")
    group.advance(2.0)
    assert group.leaders == ["n1"]
    assert group["n2"].members == ("n1", "n2")


# On the wire


def test_every_frame_bears_its_epoch_and_none_bears_the_first() -> None:
    first = Frame(cluster="c", sender=N1, message=Ping())
    later = evolve(first, epoch=EPOCH_STEP + 5)
    assert b'"e":' not in encode(first)
    assert [decode(encode(frame)[4:]) for frame in (first, later)] == [first, later]


@pytest.mark.parametrize("epoch", [b"-1", b"true", b"1.5", b'"1"', b"9007199254740993", b"null"])
def test_what_is_no_epoch_is_refused(epoch: bytes) -> None:
    body = encode(Frame(cluster="c", sender=N1, message=Ping(), epoch=12345))[4:]
    with pytest.raises(FrameError, match="expected an epoch"):
        decode(body.replace(b"12345", epoch))


# The command


class Stopped:
    """A daemon that does not run, and where its state is."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "control.sock"

    def request(self, verb: str) -> object:
        raise NoDaemonError("no daemon answers")


class Running(Stopped):
    """A daemon that answers."""

    def request(self, verb: str) -> object:
        return {}


def recover(client: Any, *words: str) -> int:
    parser = argparse.ArgumentParser()
    raft.configure(parser)
    return raft.run(parser.parse_args(("recover", *words)), client)


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    made = Storage(tmp_path / "raft", cluster="blue", member="n1")
    with made.locked():
        made.replace(OLD, "unused")
    return made


def test_recover_begins_an_epoch_and_keeps_the_old_state(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = storage.path.read_bytes()
    assert recover(Stopped(tmp_path), "--keep", "n1,n3", "--yes") == 0
    saved = storage.load()
    assert count_of(saved.hard_state.epoch) == 1
    assert [record.name for record in members_of(saved)] == ["n1", "n3"]
    assert (tmp_path / "raft" / "state.epoch-0").read_bytes() == before
    assert "goes on with n1, n3; given up: n2" in capsys.readouterr().out


def test_no_old_state_is_ever_written_over(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "raft" / "state.epoch-0").write_text("older")
    assert recover(Stopped(tmp_path), "--keep", "n1", "--yes") == 0
    assert (tmp_path / "raft" / "state.epoch-0").read_text() == "older"
    assert (tmp_path / "raft" / "state.epoch-0.1").exists()


@pytest.mark.parametrize(("typed", "is_done"), [("n1", True), ("yes", False), ("", False)])
def test_recover_wants_the_name_of_the_member(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, typed: str, is_done: bool
) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: typed)
    if is_done:
        recover(Stopped(tmp_path), "--keep", "n1")
    else:
        with pytest.raises(ElectionError, match="not confirmed"):
            recover(Stopped(tmp_path), "--keep", "n1")
    assert (storage.load() != OLD) == is_done


def test_recover_is_refused_while_the_daemon_runs_or_its_state_is_in_use(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(ElectionError, match="stop it"):
        recover(Running(tmp_path), "--keep", "n1", "--yes")
    with storage.locked(), pytest.raises(StorageError, match="in use"):
        recover(Stopped(tmp_path), "--keep", "n1", "--yes")
    assert storage.load() == OLD


def test_recover_is_refused_where_no_state_is(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is this the --state-dir of a member"):
        recover(Stopped(tmp_path), "--keep", "n1", "--yes")
    assert list(tmp_path.iterdir()) == []


# Whole members


class _Member:
    """A member that runs in a task of its own, over real sockets, until `stop`."""

    def __init__(self, folder: Path, raft: RaftConfig, name: str) -> None:
        self._host, self._config = host(folder, name), raft
        self.stand = Stand()
        self.election: RaftElection | None = None
        self.ended, self._stopping = Event(), Event()
        self.error: BaseException | None = None

    async def run(self) -> None:
        try:
            async with RAFT.open(self._config, self._host) as election, create_task_group() as tg:
                assert isinstance(election, RaftElection)
                self.election = election
                tg.start_soon(self.stand.run, election)
                await self._stopping.wait()
                self.stand.scope.cancel()
                await self.stand.ended.wait()
        except ExceptionGroup as error:
            self.error = error
        finally:
            self.ended.set()

    async def stop(self) -> None:
        self._stopping.set()
        await self.ended.wait()

    @property
    def status(self) -> Mapping[str, object]:
        return self.election.status() if self.election is not None else {}


@pytest.mark.anyio
async def test_two_of_three_are_lost_and_come_back(tmp_path: Path) -> None:
    """The third is recovered and holds; one that comes back holds nothing, joins, and is added."""
    raft = config(3)
    async with create_task_group() as tg:

        def start(name: str) -> _Member:
            member = _Member(tmp_path, raft, name)
            tg.start_soon(member.run)
            return member

        members = [start(name) for name in ("n1", "n2", "n3")]
        await until(lambda: any(member.stand.holds for member in members))
        await until(lambda: all(_births(member) == 3 for member in members))
        for member in members:
            await member.stop()

        assert recover(Stopped(tmp_path / "n3"), "--keep", "n3", "--yes") == 0
        n3 = start("n3")
        await until(lambda: n3.stand.holds)
        assert n3.status["epoch"] == 1

        old = start("n1")  # it does not know yet
        await old.ended.wait()
        assert isinstance(old.error, ExceptionGroup)
        assert old.error.subgroup(SupersededError) is not None
        assert not any(isinstance(report, Leading) for report in old.stand.reports)
        assert (tmp_path / "n1" / "raft" / "state.epoch-0").exists()

        n1 = start("n1")
        await until(lambda: "waiting to be added" in str(n1.status.get("waiting")))
        assert n3.stand.holds
        assert n3.election is not None
        added = {"name": "n1", "address": "127.0.0.1", "port": int(raft.port)}
        assert await n3.election.request("add", added) == "n1 is a member"
        await until(lambda: n1.status["leader"] is not None and "waiting" not in n1.status)
        assert n1.status["epoch"] == 1
        assert not n1.stand.holds
        await n1.stop()
        await n3.stop()


def _births(member: _Member) -> int:
    driver = member.election._driver if member.election is not None else None
    return sum(record.birth > 0 for record in driver.node.records) if driver is not None else 0
