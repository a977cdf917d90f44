"""The directory in which one run of the lab keeps the nodes' files and logs."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

KEEP = "keep"
"""A file of this name in a run's directory keeps it for reading until the next run."""

_PREFIX = "kubevip-lab-"


@contextmanager
def run_directory() -> Generator[Path]:
    """Make a directory below the temporary one, mode 0700; remove it when left, unless it holds a file `KEEP`.

    A directory that was kept, or left behind by a crash, goes when the next run starts: that removes the directories
    of all runs of this user that have ended, known by a lock that the kernel lets go with the last process of a run.
    """
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        _remove_if_ended(path)
    path = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
    finally:
        if not (path / KEEP).exists():
            shutil.rmtree(path)
        os.close(lock)


def _remove_if_ended(path: Path) -> None:
    with suppress(OSError):
        if path.is_symlink() or path.stat().st_uid != os.geteuid():
            return
        lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path)
        finally:
            os.close(lock)
