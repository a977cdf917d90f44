"""What storage does with files. Whatever goes wrong is an OSError."""

from __future__ import annotations

import errno
import os
from itertools import count
from pathlib import Path


def link_aside(path: Path, aside: Path) -> Path | None:
    """Give the file `path` a second name, one that nothing has yet; None when there is no file."""
    for number in count():
        name = aside if number == 0 else aside.with_name(f"{aside.name}.{number}")
        try:
            os.link(path, name)
        except FileExistsError:
            continue
        except FileNotFoundError:
            return None
        return name
    raise AssertionError  # numbers do not end


def write_synced(path: Path, data: bytes, offset: int) -> None:
    """Write into a file that exists; when it returns it is on the disk."""
    file = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        write_all(file, data, offset)
        os.fdatasync(file)
    finally:
        os.close(file)


def write_all(file: int, data: bytes, offset: int) -> None:
    """Write all of `data`, or raise an OSError."""
    if os.pwrite(file, data, offset) < len(data):
        raise OSError(errno.ENOSPC, "only a part could be written")
