"""From a file to what it wants: reads it whole, tells the two formats apart, names text and content by digests."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from attrs import evolve, frozen

from kubevip import Desired, Place, Problem
from kubevip.errors import ConfigError
from kubevip_source_file._agreement import digest_of_agreement
from kubevip_source_file._environment import warnings_beside_native
from kubevip_source_file._native import API_VERSION
from kubevip_source_file._native_reader import read_native
from kubevip_source_file._original_reader import read_original
from kubevip_source_file._yaml import LARGEST_BYTES, read_yaml

if TYPE_CHECKING:
    from pathlib import Path


@frozen(kw_only=True)
class Identity:
    """What tells one state of a file from another; a path that is a symbolic link is followed first."""

    device: int
    inode: int
    modified_ns: int
    size: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        """Take it from a stat result."""
        return cls(device=status.st_dev, inode=status.st_ino, modified_ns=status.st_mtime_ns, size=status.st_size)


def look_at(path: Path) -> Identity | None:
    """Return the identity of the file now; None when there is none that can be looked at."""
    try:
        return Identity.of(os.stat(path))
    except OSError:
        return None


def read_file(path: Path) -> tuple[bytes, Identity]:
    """Return what is in a file and the identity that it had before it was read.

    :raises ConfigError: when it is missing, unreadable, too large, or no regular file.
    """
    try:
        # A FIFO without a writer would block the open for ever.
        with open(path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _refusal(path, "is not a regular file")
            parts: list[bytes] = []
            while sum(map(len, parts)) <= LARGEST_BYTES and (part := file.read(LARGEST_BYTES + 1)):
                parts.append(part)
    except OSError as error:
        raise _refusal(path, f"cannot be read: {error.strerror}") from None
    return b"".join(parts), Identity.of(status)


def digest_of_text(data: bytes) -> str:
    """Return the name of the text of a file: eight hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()[:8]


def read_configuration(data: bytes, file: str, environment: Mapping[str, str]) -> tuple[Desired, tuple[Problem, ...]]:
    """Return what the text of a file wants, and warnings.

    :param file: how messages call it.
    :raises ConfigError: with everything that is wrong with it.
    """
    document = read_yaml(data, file)
    value = document.value
    if value is None:
        raise ConfigError([Problem(place=Place(file=file), message="is empty")])
    if not isinstance(value, Mapping):
        raise ConfigError([document.places.problem("expected a mapping of keys at the top level")])
    mapping = cast("Mapping[str, object]", value)
    version = mapping.get("apiVersion")
    form = "original" if version is None else "native"
    if version is None:
        desired, warnings = read_original(mapping, document.places, environment)
    elif version == API_VERSION:
        desired, warnings = read_native(mapping, document.places), warnings_beside_native(environment)
    else:
        message = (
            f"expected {API_VERSION}, got {str(version)[:60]!r}; a file without this key is of kube-vip's own format"
        )
        raise ConfigError([document.places.problem(message, "apiVersion")])
    digest, text_digest = digest_of_agreement(desired), digest_of_text(data)
    return evolve(desired, form=form, digest=digest, text_digest=text_digest), warnings


def _refusal(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(place=Place(file=str(path)), message=message)])
