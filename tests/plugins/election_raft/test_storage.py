"""What is on disk: scenarios A 19 (a crash between any two steps) and A 20 (damaged, half-written, foreign)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from kubevip.errors import ElectionError, Permanent
from kubevip_election_raft._consensus.entries import (
    Entry,
    Grant,
    GroupState,
    HardState,
    Place,
    Placed,
    Placement,
    Process,
    Saved,
    Snapshot,
)
from kubevip_election_raft._consensus.ready import Ready
from kubevip_election_raft._disk import storage as storage_module
from kubevip_election_raft._disk.storage import ROOM_BYTES, SECTOR_BYTES, Storage, StorageError

HARD_STATE = HardState(term=7, vote="n1", promise_seconds=0.18)


def entry(index: int, term: int = 6, groups: int = 1) -> Entry:
    placed = tuple(Placed(group=f"g{n}", process=Process(name="n1", incarnation=1), why="first") for n in range(groups))
    return Entry(term=term, index=index, command=Place(placed=placed))


FIRST = Ready(hard_state=HardState(term=6, vote="n2", promise_seconds=0.18))
SECOND = Ready(entries=(entry(1), entry(2, groups=20)))
THIRD = Ready(hard_state=HARD_STATE, entries=(entry(2, term=7), entry(3, term=7, groups=20)))
OLD = Saved(hard_state=HardState(term=6, vote="n2", promise_seconds=0.18), entries=SECOND.entries)
NEW = Saved(hard_state=HARD_STATE, entries=(entry(1), entry(2, term=7), entry(3, term=7, groups=20)))


def reopened(storage: Storage) -> Storage:
    return Storage(storage.path.parent, cluster="rack-7", member="n1")


def end_of(storage: Storage) -> int:
    """Where the last block ends."""
    storage.load()
    assert storage._end is not None
    return storage._end


class PowerCutError(Exception):
    """The machine stops here."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path, cluster="rack-7", member="n1")


@pytest.fixture
def used(storage: Storage) -> Storage:
    """With OLD on disk."""
    storage.save(FIRST)
    storage.save(SECOND)
    return storage


def test_a_member_without_a_file_is_fresh(storage: Storage) -> None:
    assert storage.load() == Saved()


def test_what_is_saved_comes_back(used: Storage) -> None:
    assert reopened(used).load() == OLD
    used.save(THIRD)
    assert reopened(used).load() == NEW


def test_entries_replace_those_from_their_first_index_on(used: Storage) -> None:
    used.save(Ready(entries=(entry(1, term=9),)))
    assert reopened(used).load().entries == (entry(1, term=9),)


def test_a_snapshot_replaces_what_is_before_it(used: Storage) -> None:
    placement = Placement(process=Process(name="n2", incarnation=3), grant=Grant(term=6, index=2), why="moved")
    snapshot = Snapshot(index=2, term=6, state=GroupState(placements={"g": placement}))
    used.save(Ready(snapshot=snapshot, entries=(entry(3),)))
    used.save(Ready(entries=(entry(4),)))
    hard_state = OLD.hard_state
    assert reopened(used).load() == Saved(hard_state=hard_state, snapshot=snapshot, entries=(entry(3), entry(4)))


def test_only_the_owner_can_read_it(used: Storage) -> None:
    assert used.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_full_is_replaced_and_nothing_is_lost(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module, "ROOM_BYTES", 4 * SECTOR_BYTES)
    made: list[Path] = []
    create = storage._create

    def note(path: Path, block: bytes) -> None:
        made.append(path)
        create(path, block)

    monkeypatch.setattr(storage, "_create", note)
    for index in range(1, 20):
        storage.save(Ready(entries=(entry(index),)))
        assert reopened(storage).load().entries == tuple(entry(number) for number in range(1, index + 1))
    assert 2 < len(made) < 10


def test_a_save_changes_neither_the_size_nor_another_sector(used: Storage) -> None:
    """So the file system's journal has no part in it, and what was saved before stays whole whatever happens."""
    before, end = used.path.read_bytes(), end_of(used)
    used.save(THIRD)
    after = used.path.read_bytes()
    assert len(after) == len(before)
    assert after[:end] == before[:end]
    assert end % SECTOR_BYTES == 0


CREATING = ("open", "pwrite", "fsync", "close", "rename", "open", "fsync", "close")
SAVING = ("open", "pwrite", "fdatasync", "close")


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int, *, is_before: bool) -> None:
    """Let the machine stop before or after the step of this number."""
    left = [step]

    def crashing(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0 and is_before:
                raise PowerCutError
            result = call(*arguments, **options)
            if left[0] < 0:
                raise PowerCutError
            return result

        return wrapper

    for name in ("open", "pwrite", "fsync", "fdatasync", "close"):
        monkeypatch.setattr(os, name, crashing(getattr(os, name)))
    monkeypatch.setattr(Path, "rename", crashing(Path.rename))


@pytest.mark.parametrize("step", range(len(SAVING)), ids=SAVING)
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_crash_at_any_step_of_a_save_leaves_the_old_state_or_the_new_one(
    used: Storage, monkeypatch: pytest.MonkeyPatch, step: int, is_before: bool
) -> None:
    """Scenario A 19."""
    with monkeypatch.context() as patch:
        crash_at(patch, step, is_before=is_before)
        with pytest.raises(PowerCutError):
            used.save(THIRD)
    is_written = step > 1 or (step == 1 and not is_before)
    restarted = reopened(used)
    assert restarted.load() == (NEW if is_written else OLD)
    restarted.save(THIRD)
    assert reopened(used).load() == NEW


def interrupted(storage: Storage) -> tuple[bytes, int, int]:
    """What is on disk after OLD and NEW, and where the last save begins and ends."""
    start = end_of(storage)
    storage.save(THIRD)
    return storage.path.read_bytes(), start, end_of(storage)


def test_a_save_that_was_interrupted_at_any_byte_is_cut_off(used: Storage) -> None:
    """Scenario A 19: the process was killed while the system copied; it was never told that it is saved."""
    whole, start, end = interrupted(used)
    end = start + len(whole[start:end].rstrip(b"\0"))
    for length in range(end - start):
        used.path.write_bytes(whole[: start + length].ljust(len(whole), b"\0"))
        restarted = reopened(used)
        assert restarted.load() == OLD
        assert not used.path.read_bytes()[start:].strip(b"\0")
        restarted.save(THIRD)
        assert reopened(used).load() == NEW


def test_a_save_of_which_any_sector_is_missing_is_cut_off(used: Storage) -> None:
    """Scenario A 19: the machine lost its power while the disk wrote, in whatever order it likes."""
    whole, start, end = interrupted(used)
    sectors = range(start, end, SECTOR_BYTES)
    assert len(sectors) > 2
    for missing in range(1, 2 ** len(sectors)):
        data = bytearray(whole)
        for number, position in enumerate(sectors):
            if missing >> number & 1:
                data[position : position + SECTOR_BYTES] = bytes(SECTOR_BYTES)
        used.path.write_bytes(data)
        assert reopened(used).load() == OLD
        assert not used.path.read_bytes()[start:].strip(b"\0")


@pytest.mark.parametrize("step", range(len(CREATING)))
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_crash_at_any_step_of_the_first_save_leaves_nothing_or_the_state(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, step: int, is_before: bool
) -> None:
    """Scenario A 19."""
    with monkeypatch.context() as patch:
        crash_at(patch, step, is_before=is_before)
        with pytest.raises(PowerCutError):
            storage.save(FIRST)
    is_renamed = step > 4 or (step == 4 and not is_before)
    restarted = reopened(storage)
    assert restarted.load() == (Saved(hard_state=OLD.hard_state) if is_renamed else Saved())
    restarted.save(Ready(hard_state=HARD_STATE))  # what the crash left behind is in nobody's way
    assert reopened(storage).load() == Saved(hard_state=HARD_STATE)


@pytest.mark.parametrize("step", range(len(CREATING)))
def test_a_crash_at_any_step_of_a_compaction_leaves_the_old_state_or_the_new_one(
    used: Storage, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Scenario A 21: a snapshot that is interrupted."""
    snapshot = Snapshot(index=2, term=6)
    with monkeypatch.context() as patch:
        crash_at(patch, step, is_before=False)
        with pytest.raises(PowerCutError):
            used.save(Ready(snapshot=snapshot))
    new = Saved(hard_state=OLD.hard_state, snapshot=snapshot)
    assert reopened(used).load() == (new if step >= 4 else OLD)


def test_the_file_is_synced_before_it_is_there_and_a_save_before_it_returns(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, fdatasync, rename = os.fsync, os.fdatasync, Path.rename

    def note_fsync(file: int) -> None:
        steps.append("folder" if os.path.isdir(f"/proc/self/fd/{file}") else "file")
        fsync(file)

    def note_fdatasync(file: int) -> None:
        steps.append("data")
        fdatasync(file)

    def note_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "fdatasync", note_fdatasync)
    monkeypatch.setattr(Path, "rename", note_rename)
    storage.save(FIRST)
    storage.save(SECOND)
    assert steps == ["file", "rename", "folder", "data"]


def test_a_file_with_any_byte_changed_is_refused(used: Storage) -> None:
    """Scenario A 20: in any block, the last one as well, whose saving was reported."""
    text, end = used.path.read_bytes(), end_of(used)
    for position in range(len(text[:end].rstrip(b"\0"))):
        if text[position] == 0:
            continue  # room between two blocks: below
        damaged = bytearray(text)
        damaged[position] ^= 0x01
        used.path.write_bytes(damaged)
        with pytest.raises(StorageError, match="is damaged"):
            reopened(used).load()


def test_a_block_that_is_gone_before_another_is_refused(used: Storage) -> None:
    """Scenario A 20: only the last save can have been interrupted."""
    text = bytearray(used.path.read_bytes())
    for block in (0, SECTOR_BYTES):
        damaged = text.copy()
        damaged[block : block + SECTOR_BYTES] = bytes(SECTOR_BYTES)
        used.save(Ready(hard_state=HARD_STATE))
        used.path.write_bytes(damaged)
        if block == 0:
            with pytest.raises(StorageError, match="is damaged"):
                reopened(used).load()


def test_a_file_cut_short_anywhere_is_refused(used: Storage) -> None:
    """Scenario A 20: half-written is not silently empty."""
    text = used.path.read_bytes()
    for length in (*range(0, 4 * SECTOR_BYTES, 7), len(text) - ROOM_BYTES, len(text) - 1):
        used.path.write_bytes(text[:length])
        with pytest.raises(StorageError, match="is damaged"):
            reopened(used).load()


@pytest.mark.parametrize(
    ("cluster", "member", "message"),
    [
        ("rack-8", "n1", "belongs to cluster 'rack-7', and this is cluster 'rack-8'"),
        ("rack-7", "n2", "belongs to member 'n1', and this is member 'n2'"),
    ],
)
def test_a_foreign_file_is_refused_and_named(tmp_path: Path, cluster: str, member: str, message: str) -> None:
    storage = Storage(tmp_path, cluster="rack-7", member="n1")
    storage.save(FIRST)
    with pytest.raises(StorageError, match=message) as caught:
        Storage(tmp_path, cluster=cluster, member=member).load()
    assert str(storage.path) in str(caught.value)
    assert "correct the configuration" in str(caught.value)
    assert isinstance(caught.value, Permanent)


def test_a_file_of_another_format_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.path.write_bytes(b'{"format": 1, "sequence": 4, "cluster": "rack-7"}')
    with pytest.raises(StorageError, match="has format 1; this version reads 2"):
        storage.load()
    storage.path.unlink()
    show = storage_module._show
    with monkeypatch.context() as patch:
        patch.setattr(storage_module, "_show", lambda block: show(evolve(block, format=3)))
        storage.save(FIRST)
    with pytest.raises(StorageError, match="has format 3; this version reads 2"):
        reopened(storage).load()


def test_a_disk_that_refuses_is_an_error_and_the_old_state_stays(
    used: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(ElectionError, match="No space left on device") as caught:
            used.save(THIRD)
    assert not isinstance(caught.value, Permanent)
    assert reopened(used).load() == OLD
    used.save(THIRD)
    assert reopened(used).load() == NEW


def test_a_second_election_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    first = Storage(tmp_path / "raft", cluster="rack-7", member="n1")
    second = Storage(tmp_path / "raft", cluster="rack-7", member="n1")
    with first.locked(), pytest.raises(StorageError, match="in use by another raft election"), second.locked():
        pass
    with second.locked():
        pass


@pytest.mark.parametrize("name", ["raft", "raft/lock"])
def test_a_folder_that_cannot_be_used_is_named_with_what_it_has_to_be(tmp_path: Path, name: str) -> None:
    if name == "raft":
        (tmp_path / "raft").write_text("foreign")
    else:
        (tmp_path / name).mkdir(parents=True)
    storage = Storage(tmp_path / "raft", cluster="rack-7", member="n1")
    remedy = f"cannot use {tmp_path / name}: .*; {tmp_path / 'raft'} has to be a folder that this process may write to"
    with pytest.raises(ElectionError, match=remedy), storage.locked():
        pass


def test_a_disk_on_which_one_sync_takes_all_the_time_is_measured_too(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr(storage_module, "perf_counter", lambda: float(next(clock)))
    assert storage.measure_sync_seconds() == 1.0
    assert os.listdir(storage.path.parent) == []


@pytest.mark.parametrize("step", ["write_all", "write_synced"])
def test_measuring_a_disk_that_is_full_leaves_nothing(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage_module, step, refuse)
    with pytest.raises(ElectionError, match="No space left on device; a member needs 256 KiB there"):
        storage.measure_sync_seconds()
    assert os.listdir(storage.path.parent) == []


def test_measuring_the_disk_leaves_nothing_but_the_state(storage: Storage) -> None:
    storage.save(FIRST)
    assert storage.measure_sync_seconds() > 0
    assert os.listdir(storage.path.parent) == ["state"]
    assert storage.load() == Saved(hard_state=OLD.hard_state)
