"""The number of a start of the control process. It never repeats for a state directory, whatever crashes when."""

from __future__ import annotations

import os


class IncarnationError(Exception):
    """The file of the incarnation is damaged; no number is known to be new."""


def next_incarnation(state_dir: str) -> int:
    """Return the next number, which is on the disk before this returns.

    :raises IncarnationError: when the file holds something else than a number.
    :raises OSError: when it cannot be read or written.
    """
    path = os.path.join(state_dir, "incarnation")
    incarnation = _read(path) + 1
    fresh = path + ".new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, b"%d\n" % incarnation)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(fresh, path)
    folder = os.open(state_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)  # the rename is on the disk as well
    finally:
        os.close(folder)
    return incarnation


def _read(path: str) -> int:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0
    try:
        text = os.read(fd, 64)
    finally:
        os.close(fd)
    if not (text.endswith(b"\n") and text[:-1].isdigit() and len(text) <= 20):
        raise IncarnationError(
            f"{path} is damaged: write a number into it that is higher than any this node ever used, such as the one "
            "its peers show, plus one"
        )
    return int(text)
