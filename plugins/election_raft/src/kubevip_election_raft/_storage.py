"""The hard state on disk: one small file of two slots, written by turns, and refused when it is damaged or foreign.

A save overwrites the older slot in place and syncs it: one write of a block that is there already, so neither the file
system's journal nor the folder takes part, and the newer slot stays whole whatever moment the machine stops at. The
record fits into one sector, which disks write as a whole; so a slot that does not match its checksum is damage, never
an interrupted save, and is refused rather than read past. Nothing is written while nothing changes.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import math
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from kubevip.errors import ElectionError, Permanent
from kubevip_election_raft._messages import HardState

FORMAT = 1

#: One slot: a block, so that the two never share one. The record itself fits into the first sector of 512 bytes.
SLOT_BYTES = 4096

#: How often the disk is tried at start, and for how long at most, to know how slow it is.
SYNC_SAMPLES, SYNC_SAMPLING_SECONDS = 100, 0.5


class StorageError(Permanent, ElectionError):
    """The state of this member cannot be used; a human must decide."""


class Storage:
    """The state file of one member of one cluster. Its methods block on the disk: call them in a thread."""

    def __init__(self, folder: Path, *, cluster: str, member: str) -> None:
        self._folder, self._path = folder, folder / "state"
        self._cluster, self._member = cluster, member
        self._sequence: int | None = None  # of the newer slot; None before the file was read, and without one

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep the folder for this process alone; makes it if it is missing.

        :raises StorageError: when another election has it.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageError(
                    f"{self._folder} is in use by another raft election; give each its own --state-dir"
                ) from None
            yield
        finally:
            os.close(lock)

    def load(self) -> HardState:
        """Return what was saved last; a fresh state if nothing ever was.

        :raises StorageError: when the file is damaged, or belongs to another cluster or member.
        """
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return HardState()
        except OSError as error:
            raise StorageError(f"cannot read {self._path}: {error.strerror}") from error
        fields = self._newest(text)
        for what, ours in (("cluster", self._cluster), ("member", self._member)):
            if fields[what] != ours:
                raise StorageError(
                    f"{self._path} belongs to {what} {fields[what]!r}, and this is {what} {ours!r}: correct the "
                    f"configuration, or move the file away if this machine was never part of a running {ours!r}"
                )
        self._sequence = fields["sequence"]
        return HardState(term=fields["term"], vote=fields["vote"], promise_seconds=fields["promiseSeconds"])

    def save(self, state: HardState) -> float:
        """Save `state` over the state before the last; return how long it took, in seconds.

        :raises ElectionError: when the disk refuses; nothing may be sent that depends on `state`.
        :raises StorageError: when the file that is to be written to is damaged or foreign.
        """
        if self._sequence is None:
            self.load()
        started = perf_counter()
        try:
            if self._sequence is None:
                self._create(self._path, state)
                self._sequence = 1
            else:
                self._write(self._path, state, self._sequence + 1)
                self._sequence += 1
        except OSError as error:
            raise ElectionError(
                f"cannot write {self._path}: {error.strerror}; a vote that is not on disk is not given"
            ) from error
        return perf_counter() - started

    def measure_sync_seconds(self) -> float:
        """Return how long a save takes here (99th percentile, or the worst of fewer than a hundred).

        :raises ElectionError: when the disk refuses.
        """
        scratch, began = self._folder / "probe", perf_counter()
        taken: list[float] = []
        try:
            self._create(scratch, HardState())
            while len(taken) < SYNC_SAMPLES and (started := perf_counter()) - began < SYNC_SAMPLING_SECONDS:
                self._write(scratch, HardState(), len(taken))
                taken.append(perf_counter() - started)
            scratch.unlink()
        except OSError as error:
            raise ElectionError(f"cannot write {scratch}: {error.strerror}") from error
        return sorted(taken)[math.ceil(len(taken) * 0.99) - 1]

    def _show(self, state: HardState, sequence: int) -> bytes:
        """Return the slot of `state`: a line, its checksum, spaces."""
        fields = {
            "format": FORMAT,
            "sequence": sequence,
            "cluster": self._cluster,
            "member": self._member,
            "term": state.term,
            "vote": state.vote,
            "promiseSeconds": state.promise_seconds,
        }
        line = json.dumps(fields).encode()
        return (line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n").ljust(SLOT_BYTES)

    def _newest(self, text: bytes) -> dict[str, Any]:
        """Return the fields of the newer slot; both must be whole, and one save apart."""
        first, second = (self._parse(text[start : start + SLOT_BYTES]) for start in (0, SLOT_BYTES))
        if len(text) != 2 * SLOT_BYTES or abs(first["sequence"] - second["sequence"]) != 1:
            raise self._damaged()
        return max(first, second, key=lambda fields: int(fields["sequence"]))

    def _parse(self, slot: bytes) -> dict[str, Any]:
        line, _, rest = slot.partition(b"\n")
        if rest != (hashlib.sha256(line).hexdigest().encode() + b"\n").ljust(SLOT_BYTES - len(line) - 1):
            raise self._damaged()
        fields: dict[str, Any] = json.loads(line)
        if fields.get("format") != FORMAT:
            raise StorageError(
                f"{self._path} has format {fields.get('format')!r}; this version reads {FORMAT}: "
                "run the version of kubevip that wrote it"
            )
        return fields

    def _damaged(self) -> StorageError:
        return StorageError(
            f"{self._path} is damaged (its checksum does not match). It held this member's vote, which must not be "
            "guessed: restore the file from a backup of this very moment, or give this machine a new member name"
        )

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _create(self, path: Path, state: HardState) -> None:
        """Make the file with `state` as the newer slot: written, synced, renamed, its folder synced."""
        new = path.with_suffix(".new")
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            _write_all(file, self._show(HardState(), 0) + self._show(state, 1), 0)
            os.fsync(file)
        finally:
            os.close(file)
        new.rename(path)
        self._sync_folder()

    def _write(self, path: Path, state: HardState, sequence: int) -> None:
        """Overwrite the older slot of the file."""
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            _write_all(file, self._show(state, sequence), sequence % 2 * SLOT_BYTES)
            os.fdatasync(file)
        finally:
            os.close(file)


def _write_all(file: int, data: bytes, offset: int) -> None:
    if os.pwrite(file, data, offset) < len(data):
        raise OSError(errno.ENOSPC, "only a part could be written")
