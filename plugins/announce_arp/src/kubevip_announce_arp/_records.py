"""What an instance remembers on disk: which addresses it put where, and which it announced before."""

from __future__ import annotations

import json
import logging
import os
from typing import TYPE_CHECKING, NamedTuple, cast

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_logger = logging.getLogger("kubevip.address")

OWNED, ANNOUNCED = "owned.json", "announced.json"


class Ownership(NamedTuple):
    """An address that this instance put on a device."""

    address: str
    device: str


def boot_id() -> str:
    """Return what tells this boot of the kernel from others; "" where there is nothing like it."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def write_owned(directory: Path, owned: Iterable[Ownership]) -> None:
    """Replace the record of owned addresses, before one is put on a device.

    It describes what is in the kernel's memory, which does not outlive the machine either: so it bears the boot's
    identity, and is not synced, because a takeover waits for it.
    """
    content = {"boot": boot_id(), "addresses": [entry._asdict() for entry in sorted(owned)]}
    _replace(directory / OWNED, content, sync=False)


def read_owned(directory: Path) -> frozenset[Ownership]:
    """Return which addresses this instance put on devices since the machine booted."""
    content = _read(directory / OWNED)
    if content.get("boot") != boot_id():
        return frozenset()
    entries = content.get("addresses")
    found: set[Ownership] = set()
    for entry in cast("list[object]", entries) if isinstance(entries, list) else []:
        if isinstance(entry, dict):
            record = cast("dict[str, object]", entry)
            found.add(Ownership(str(record.get("address")), str(record.get("device"))))
    return frozenset(found)


def write_announced(directory: Path, addresses: Iterable[str]) -> None:
    """Replace the record of addresses that were announced here at some time."""
    _replace(directory / ANNOUNCED, {"addresses": sorted(addresses)}, sync=True)


def read_announced(directory: Path) -> frozenset[str]:
    """Return which addresses were announced here at some time."""
    entries = _read(directory / ANNOUNCED).get("addresses")
    return frozenset(map(str, cast("list[object]", entries))) if isinstance(entries, list) else frozenset()


def _read(path: Path) -> dict[str, object]:
    try:
        content: object = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:  # cut short by a power loss, or edited
        _logger.warning("record=%s is ignored, it cannot be read: %s", path, error)
        return {}
    return cast("dict[str, object]", content) if isinstance(content, dict) else {}


def _replace(path: Path, content: object, *, sync: bool) -> None:
    """Write a file anew.

    :raises OSError: naming the file, as those of a write to a full disk do not by themselves.
    """
    temporary = path.with_suffix(".new")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            json.dump(content, file)
            file.write("\n")
            if sync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        error.filename = str(path)
        raise
