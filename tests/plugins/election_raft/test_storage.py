"""The hard state on disk: scenarios A 19 (a crash between any two steps) and A 20 (damaged, half-written, foreign)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubevip.errors import ElectionError, Permanent
from kubevip_election_raft._messages import HardState
from kubevip_election_raft._storage import SLOT_BYTES, Storage, StorageError

OLD = HardState(term=6, vote="n2", promise_seconds=0.18)
NEW = HardState(term=7, vote="n1", promise_seconds=0.18)


class PowerCutError(Exception):
    """The machine stops here."""


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path, cluster="rack-7", member="n1")


def test_a_member_without_a_file_is_fresh(storage: Storage) -> None:
    assert storage.load() == HardState()


def test_what_is_saved_comes_back(storage: Storage) -> None:
    storage.save(OLD)
    storage.save(NEW)
    assert storage.load() == NEW


def test_a_fresh_state_comes_back(storage: Storage) -> None:
    storage.save(HardState())
    assert storage.load() == HardState()


def test_only_the_owner_can_read_it(storage: Storage) -> None:
    storage.save(OLD)
    assert storage.path.stat().st_mode & 0o777 == 0o600


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
    storage: Storage, monkeypatch: pytest.MonkeyPatch, step: int, is_before: bool
) -> None:
    """Scenario A 19."""
    storage.save(OLD)
    with monkeypatch.context() as patch:
        crash_at(patch, step, is_before=is_before)
        with pytest.raises(PowerCutError):
            storage.save(NEW)
    is_written = step > 1 or (step == 1 and not is_before)
    restarted = Storage(storage.path.parent, cluster="rack-7", member="n1")
    assert restarted.load() == (NEW if is_written else OLD)
    restarted.save(NEW)
    assert Storage(storage.path.parent, cluster="rack-7", member="n1").load() == NEW


@pytest.mark.parametrize("step", range(len(CREATING)))
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
def test_a_crash_at_any_step_of_the_first_save_leaves_nothing_or_the_state(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, step: int, is_before: bool
) -> None:
    """Scenario A 19."""
    with monkeypatch.context() as patch:
        crash_at(patch, step, is_before=is_before)
        with pytest.raises(PowerCutError):
            storage.save(OLD)
    is_renamed = step > 4 or (step == 4 and not is_before)
    restarted = Storage(storage.path.parent, cluster="rack-7", member="n1")
    assert restarted.load() == (OLD if is_renamed else HardState())
    restarted.save(NEW)  # what the crash left behind is in nobody's way
    assert restarted.load() == NEW


def test_a_save_never_touches_the_slot_of_the_state_before(storage: Storage) -> None:
    """A save that the machine does not survive must leave what was promised before."""
    storage.save(OLD)
    before = storage.path.read_bytes()
    storage.save(NEW)
    after = storage.path.read_bytes()
    changed = [start for start in (0, SLOT_BYTES) if before[start:][:SLOT_BYTES] != after[start:][:SLOT_BYTES]]
    assert len(changed) == 1
    kept = SLOT_BYTES - changed[0]
    assert b'"vote": "n2"' in after[kept:][:SLOT_BYTES]


def test_a_record_fits_into_one_sector(storage: Storage) -> None:
    name = "n" * 63
    Storage(storage.path.parent, cluster=name, member=name).save(HardState(term=2**53, vote=name, promise_seconds=0.18))
    for start in (0, SLOT_BYTES):
        assert storage.path.read_bytes()[start + 512 :][: SLOT_BYTES - 512].strip() == b""


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
    storage.save(OLD)
    storage.save(NEW)
    assert steps == ["file", "rename", "folder", "data"]


def test_a_file_with_any_byte_changed_is_refused(storage: Storage) -> None:
    """Scenario A 20."""
    storage.save(OLD)
    text = storage.path.read_bytes()
    for position in (*range(600), *range(SLOT_BYTES - 2, SLOT_BYTES + 600), len(text) - 1):
        damaged = bytearray(text)
        damaged[position] ^= 0x01
        storage.path.write_bytes(damaged)
        with pytest.raises(StorageError, match="is damaged"):
            storage.load()


def test_a_file_cut_short_anywhere_is_refused(storage: Storage) -> None:
    """Scenario A 20: half-written is not silently empty."""
    storage.save(OLD)
    text = storage.path.read_bytes()
    for length in (*range(600), *range(SLOT_BYTES - 2, SLOT_BYTES + 600), len(text) - 1):
        storage.path.write_bytes(text[:length])
        with pytest.raises(StorageError, match="is damaged"):
            storage.load()


@pytest.mark.parametrize(
    ("cluster", "member", "message"),
    [
        ("rack-8", "n1", "belongs to cluster 'rack-7', and this is cluster 'rack-8'"),
        ("rack-7", "n2", "belongs to member 'n1', and this is member 'n2'"),
    ],
)
def test_a_foreign_file_is_refused_and_named(tmp_path: Path, cluster: str, member: str, message: str) -> None:
    storage = Storage(tmp_path, cluster="rack-7", member="n1")
    storage.save(OLD)
    with pytest.raises(StorageError, match=message) as caught:
        Storage(tmp_path, cluster=cluster, member=member).load()
    assert str(storage.path) in str(caught.value)
    assert "correct the configuration" in str(caught.value)
    assert isinstance(caught.value, Permanent)


def test_a_file_of_a_later_format_is_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubevip_election_raft._storage.FORMAT", 2)
    storage.save(OLD)
    monkeypatch.undo()
    with pytest.raises(StorageError, match="has format 2; this version reads 1"):
        storage.load()


def test_a_disk_that_refuses_is_an_error_and_the_old_state_stays(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage.save(OLD)

    def full(file: int, data: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(ElectionError, match="No space left on device") as caught:
            storage.save(NEW)
    assert not isinstance(caught.value, Permanent)
    assert storage.load() == OLD


def test_a_second_election_is_refused_while_the_first_runs(tmp_path: Path) -> None:
    first = Storage(tmp_path / "raft", cluster="rack-7", member="n1")
    second = Storage(tmp_path / "raft", cluster="rack-7", member="n1")
    with first.locked(), pytest.raises(StorageError, match="in use by another raft election"), second.locked():
        pass
    with second.locked():
        pass


def test_measuring_the_disk_leaves_nothing_but_the_state(storage: Storage) -> None:
    storage.save(OLD)
    assert storage.measure_sync_seconds() > 0
    assert os.listdir(storage.path.parent) == ["state"]
    assert storage.load() == OLD
