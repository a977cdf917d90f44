"""The hard state on disk: one small file, replaced as a whole, and refused when it is damaged or somebody else's.

Write, sync, rename, sync the folder: whatever moment the machine stops at, the file holds the old state or the new one.
Nothing is written while nothing changes.
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

#: How often the disk is tried at start, and for how long at most, to know how slow it is.
SYNC_SAMPLES, SYNC_SAMPLING_SECONDS = 100, 0.5


class StorageError(Permanent, ElectionError):
    """The state of this member cannot be used; a human must decide."""


class Storage:
    """The state file of one member of one cluster. Its methods block on the disk: call them in a thread."""

    def __init__(self, folder: Path, *, cluster: str, member: str) -> None:
        self._folder, self._path = folder, folder / "state"
        self._cluster, self._member = cluster, member

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
            self._sync_folder()  # a save whose last step failed is only now known to be on disk
        except FileNotFoundError:
            return HardState()
        except OSError as error:
            raise StorageError(f"cannot read {self._path}: {error.strerror}") from error
        fields = self._parse(text)
        for what, ours in (("cluster", self._cluster), ("member", self._member)):
            if fields[what] != ours:
                raise StorageError(
                    f"{self._path} belongs to {what} {fields[what]!r}, and this is {what} {ours!r}: correct the "
                    f"configuration, or move the file away if this machine was never part of a running {ours!r}"
                )
        return HardState(term=fields["term"], vote=fields["vote"], promise_seconds=fields["promiseSeconds"])

    def save(self, state: HardState) -> float:
        """Replace what is saved; return how long it took, in seconds.

        :raises ElectionError: when the disk refuses; nothing may be sent that depends on `state`.
        """
        return self._replace(self._path, self._show(state))

    def measure_sync_seconds(self) -> float:
        """Return how long a save takes here (99th percentile, or the worst of fewer than a hundred)."""
        scratch, started = self._folder / "probe", perf_counter()
        taken: list[float] = []
        while len(taken) < SYNC_SAMPLES and perf_counter() - started < SYNC_SAMPLING_SECONDS:
            taken.append(self._replace(scratch, self._show(HardState())))
        scratch.unlink()
        return sorted(taken)[math.ceil(len(taken) * 0.99) - 1]

    def _show(self, state: HardState) -> bytes:
        fields = {
            "format": FORMAT,
            "cluster": self._cluster,
            "member": self._member,
            "term": state.term,
            "vote": state.vote,
            "promiseSeconds": state.promise_seconds,
        }
        line = json.dumps(fields).encode()
        return line + b"\n" + hashlib.sha256(line).hexdigest().encode() + b"\n"

    def _parse(self, text: bytes) -> dict[str, Any]:
        line, _, checksum = text.partition(b"\n")
        if checksum.strip() != hashlib.sha256(line).hexdigest().encode():
            raise StorageError(
                f"{self._path} is damaged (its checksum does not match). It held this member's vote, which must not be "
                "guessed: restore the file from a backup of this very moment, or give this machine a new member name"
            )
        fields: dict[str, Any] = json.loads(line)
        if fields.get("format") != FORMAT:
            raise StorageError(
                f"{self._path} has format {fields.get('format')!r}; this version reads {FORMAT}: "
                "run the version of kubevip that wrote it"
            )
        return fields

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _replace(self, path: Path, text: bytes) -> float:
        started, new = perf_counter(), path.with_suffix(".new")
        try:
            file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                if os.write(file, text) < len(text):
                    raise OSError(errno.ENOSPC, "only a part could be written")
                os.fsync(file)
            finally:
                os.close(file)
            new.rename(path)
            self._sync_folder()
        except OSError as error:
            raise ElectionError(
                f"cannot write {path}: {error.strerror}; a vote that is not on disk is not given"
            ) from error
        return perf_counter() - started
