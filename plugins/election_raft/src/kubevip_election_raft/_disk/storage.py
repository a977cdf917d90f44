"""What a member must not forget, on disk: one file of blocks, one after the other, each synced before it counts.

Every save is one write and one sync, whatever it consists of: term and vote, entries, or both. It goes into space that
was written with zeros before, so neither the file's length nor the file system's journal takes part. A save that the
machine did not survive was never reported: it is the last block, part of it is still zeros, and it is cut off at the
next start. Anything else that is not what its checksum says is damage, and is refused rather than read past; so is the
state of another cluster or member. Nothing is written while nothing changes.

A block begins at a multiple of 512 bytes, which disks write as a whole: eight hex digits of length, eight of its
complement, 64 of SHA-256, and a line of JSON. The first block of a file holds everything; when the file is full, or the
log was compacted, a new file is written, synced, and renamed over the old one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import Any

from attrs import frozen

from kubevip.errors import ElectionError, Permanent
from kubevip_election_raft._consensus.entries import Entry, HardState, Saved, Snapshot
from kubevip_election_raft._consensus.ready import Ready
from kubevip_election_raft._disk.files import link_aside, write_all, write_synced
from kubevip_election_raft._plain import ShapeError, parse, to_plain

FORMAT = 2

SECTOR_BYTES = 512

#: Room after the first block of a new file: some hundred saves.
ROOM_BYTES = 256 * 1024

#: Length, its complement, and the checksum, before the JSON of a block.
LENGTH_BYTES = 8 + 8
HEADER_BYTES = LENGTH_BYTES + 64

#: How often the disk is tried at start, and for how long at most, to know how slow it is.
SYNC_SAMPLES, SYNC_SAMPLING_SECONDS = 100, 0.5


class StorageError(Permanent, ElectionError):
    """The state of this member cannot be used; a human must decide."""


@frozen(kw_only=True)
class _Block:
    """What one save wrote; the first block of a file names its owner and has a snapshot."""

    format: int = FORMAT
    cluster: str = ""
    member: str = ""
    hard_state: HardState | None = None
    snapshot: Snapshot | None = None
    entries: tuple[Entry, ...] = ()


class Storage:
    """The state file of one member of one cluster. Its methods block on the disk: call them in a thread."""

    def __init__(self, folder: Path, *, cluster: str, member: str) -> None:
        self._folder, self._path = folder, folder / "state"
        self._cluster, self._member = cluster, member
        self._saved = Saved()
        self._end: int | None = None  # where the next block goes; None before the file was read, and without one
        self._size = 0

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep the folder for this process alone; makes it if it is missing.

        :raises StorageError: when another election has it.
        :raises ElectionError: when it cannot be made or written to.
        """
        lock = self._open_lock()
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

    def _open_lock(self) -> int:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            return os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ElectionError(
                f"cannot use {error.filename}: {error.strerror}; {self._folder} has to be a folder that this process "
                "may write to (see --state-dir)"
            ) from error

    def load(self) -> Saved:
        """Return what was saved last; a fresh state if nothing ever was. Cuts off a save that was interrupted.

        :raises StorageError: when the file is damaged, or belongs to another cluster or member.
        :raises ElectionError: when the disk refuses.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return Saved()
        except OSError as error:
            raise StorageError(
                f"cannot read {self._path}: {error.strerror}; it holds this member's vote and has to be a file that "
                "this process may read and write"
            ) from error
        end, saved = 0, Saved()
        for block, block_end in self._blocks(data):
            end, saved = block_end, saved.after(block.hard_state, block.snapshot, block.entries)
        self._cut_off(data, end)
        self._end, self._size, self._saved = end, len(data), saved
        return saved

    def save(self, ready: Ready) -> float:
        """Save what `ready` wants to persist; return how long it took, in seconds.

        :raises ElectionError: when the disk refuses; nothing may be sent that depends on it.
        :raises StorageError: when the file that is to be written to is damaged or foreign.
        """
        if self._end is None:
            self.load()
        started = perf_counter()
        saved = self._saved.after(ready.hard_state, ready.snapshot, ready.entries)
        try:
            self._write(saved, ready)
        except OSError as error:
            self._end = None  # it is not known how much of it is there: read it again
            raise ElectionError(
                f"cannot write {self._path}: {error.strerror}; a vote that is not on disk is not given"
            ) from error
        self._saved = saved
        return perf_counter() - started

    def replace(self, saved: Saved, aside: str) -> Path | None:
        """Save `saved` in the place of all that there is, which is kept as a file `aside` (or `aside.1`, ...).

        Return that file; None when there was nothing. A crash leaves the one state or the other.

        :raises ElectionError: when the disk refuses.
        """
        whole = _Block(
            cluster=self._cluster,
            member=self._member,
            hard_state=saved.hard_state,
            snapshot=saved.snapshot,
            entries=saved.entries,
        )
        try:
            kept = link_aside(self._path, self._folder / aside)
            self._create(self._path, _show(whole))
        except OSError as error:
            raise ElectionError(f"cannot replace {self._path}: {error.strerror}") from error
        self._end = None  # read it again before the next save
        return kept

    def measure_sync_seconds(self) -> float:
        """Return how long a save takes here (99th percentile, or the worst of fewer than a hundred).

        :raises ElectionError: when the disk refuses.
        """
        scratch, taken = self._folder / "probe", list[float]()
        block = _show(_Block(hard_state=HardState()))
        try:
            self._create(scratch, b"")
            began = perf_counter()  # making the file may have taken longer than all samples may
            while not taken or (len(taken) < SYNC_SAMPLES and perf_counter() - began < SYNC_SAMPLING_SECONDS):
                started = perf_counter()
                write_synced(scratch, block, len(taken) * SECTOR_BYTES)
                taken.append(perf_counter() - started)
        except OSError as error:
            raise ElectionError(
                f"cannot write {scratch}: {error.strerror}; a member needs {ROOM_BYTES // 1024} KiB there for its votes"
            ) from error
        finally:
            for left in (scratch, _new_of(scratch)):
                with suppress(OSError):  # a disk that takes nothing more may refuse this, too
                    left.unlink(missing_ok=True)
        return sorted(taken)[math.ceil(len(taken) * 0.99) - 1]

    # Writing

    def _write(self, saved: Saved, ready: Ready) -> None:
        block = _show(_Block(hard_state=ready.hard_state, entries=ready.entries))
        if self._end is not None and ready.snapshot is None and self._end + len(block) <= self._size:
            write_synced(self._path, block, self._end)
            self._end += len(block)
            return
        whole = _show(
            _Block(
                cluster=self._cluster,
                member=self._member,
                hard_state=saved.hard_state,
                snapshot=saved.snapshot,
                entries=saved.entries,
            )
        )
        self._create(self._path, whole)
        self._end, self._size = len(whole), len(whole) + ROOM_BYTES

    def _create(self, path: Path, block: bytes) -> None:
        """Make the file with one block and room for more: written, synced, renamed, its folder synced."""
        new = _new_of(path)
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            write_all(file, block + bytes(ROOM_BYTES), 0)
            os.fsync(file)
        finally:
            os.close(file)
        new.rename(path)
        self._sync_folder()

    def _sync_folder(self) -> None:
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _cut_off(self, data: bytes, end: int) -> None:
        """Put zeros where a save was interrupted."""
        left = len(data.rstrip(b"\0")) - end
        if left <= 0:
            return
        try:
            write_synced(self._path, bytes(left), end)
        except OSError as error:
            raise ElectionError(f"cannot write {self._path}: {error.strerror}") from error

    # Reading

    def owner(self, data: bytes) -> tuple[str, str]:
        """Return cluster and member that the file whose bytes are `data` names.

        :raises StorageError: when it is damaged.
        """
        if data.startswith(b'{"format": 1,'):
            raise self._unknown_format(1)
        first = self._block_at(data, 0)
        if first is None:
            raise self._damaged()
        return first[0].cluster, first[0].member

    def _blocks(self, data: bytes) -> Iterator[tuple[_Block, int]]:
        """Return each block with where the next one begins."""
        if data.startswith(b'{"format": 1,'):
            raise self._unknown_format(1)
        start = 0
        while start < len(data) or not data:
            block = self._block_at(data, start)
            if block is None:
                if start == 0 or self._has_block_after(data, start):
                    raise self._damaged()
                return
            if start == 0:
                self._check_owner(block[0])
                if len(data) != block[1] + ROOM_BYTES:
                    raise self._damaged()
            yield block
            start = block[1]

    def _block_at(self, data: bytes, start: int) -> tuple[_Block, int] | None:
        """Return a block and where it ends; None where none was written, or not all of it.

        :raises StorageError: when it is damaged.
        """
        header = data[start : start + HEADER_BYTES]
        if 0 in header or len(header) < HEADER_BYTES:
            return None
        length = _length_of(header)
        if length is None:
            raise self._damaged()
        line = data[start + HEADER_BYTES : start + HEADER_BYTES + length]
        end = start + _padded(HEADER_BYTES + length)
        if end > len(data):
            raise self._damaged()
        if not _is_whole(header, line):
            if _is_partly_unwritten(data[start:end], HEADER_BYTES + length):
                return None
            raise self._damaged()
        if data[start + HEADER_BYTES + length : end].strip(b"\0"):
            raise self._damaged()
        return self._parse(line), end

    def _has_block_after(self, data: bytes, start: int) -> bool:
        """Return whether there is a whole block further on, so that what is at `start` was no interrupted save."""
        for position in range(start + SECTOR_BYTES, len(data), SECTOR_BYTES):
            header = data[position : position + HEADER_BYTES]
            length = _length_of(header)
            if length is None:
                continue
            if _is_whole(header, data[position + HEADER_BYTES : position + HEADER_BYTES + length]):
                return True
        return False

    def _parse(self, line: bytes) -> _Block:
        fields: Any = json.loads(line)
        if fields.get("format") != FORMAT:
            raise self._unknown_format(fields.get("format"))
        try:
            return parse(_Block, fields)
        except ShapeError as error:
            raise StorageError(f"{self._path} holds what this version does not know ({error})") from None

    def _check_owner(self, block: _Block) -> None:
        for what, theirs, ours in (
            ("cluster", block.cluster, self._cluster),
            ("member", block.member, self._member),
        ):
            if theirs != ours:
                raise StorageError(
                    f"{self._path} belongs to {what} {theirs!r}, and this is {what} {ours!r}: correct the "
                    f"configuration, or move the file away if this machine was never part of a running {ours!r}"
                )

    def _unknown_format(self, found: object) -> StorageError:
        return StorageError(
            f"{self._path} has format {found!r}; this version reads {FORMAT}: run the version of kubevip that wrote it"
        )

    def _damaged(self) -> StorageError:
        return StorageError(
            f"{self._path} is damaged (its checksum does not match). It held this member's vote, which must not be "
            "guessed, and a backup has an older one: move the file away, start this member without it, and on another "
            f"member run `kubevip raft replace {self._member or 'NAME'}`"
        )


def owner_of(folder: Path) -> tuple[str, str]:
    """Return the cluster and the member whose state is in `folder`.

    :raises StorageError: when there is none, or it cannot be read.
    """
    anyone = Storage(folder, cluster="", member="")
    try:
        data = anyone.path.read_bytes()
    except OSError as error:
        raise StorageError(
            f"cannot read {anyone.path}: {error.strerror}; is this the --state-dir of a member?"
        ) from None
    return anyone.owner(data)


def _new_of(path: Path) -> Path:
    """Return where a file is written before it takes the name `path`."""
    return path.with_suffix(".new")


def _show(block: _Block) -> bytes:
    """Return the bytes of a block, sectors as a whole."""
    line = json.dumps(to_plain(block), separators=(",", ":")).encode() + b"\n"
    length = b"%08x%08x" % (len(line), len(line) ^ 0xFFFFFFFF)
    data = length + hashlib.sha256(length + line).hexdigest().encode() + line
    return data.ljust(_padded(len(data)), b"\0")


def _length_of(header: bytes) -> int | None:
    """Return the length of a block's line; None when this is no header."""
    try:
        length, complement = int(header[:8], 16), int(header[8:LENGTH_BYTES], 16)
    except ValueError:
        return None
    return length if length ^ complement == 0xFFFFFFFF else None


def _is_whole(header: bytes, line: bytes) -> bool:
    """Return whether a block is what its checksum says."""
    return hashlib.sha256(header[:LENGTH_BYTES] + line).hexdigest().encode() == header[LENGTH_BYTES:]


def _padded(length: int) -> int:
    return -(-length // SECTOR_BYTES) * SECTOR_BYTES


def _is_partly_unwritten(data: bytes, length: int) -> bool:
    """Return whether a sector of a block ends with the zeros that were there before it was written."""
    ends = (min(start + SECTOR_BYTES, length) for start in range(0, length, SECTOR_BYTES))
    return any(data[end - 1] == 0 for end in ends)
