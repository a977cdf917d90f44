"""Which instance this is and where its state lives: known before any configuration is read.

The rules for `--instance` and `--state-dir` are here once, for the keeper and for every command of the daemon's
clients.
"""

from __future__ import annotations

import errno
import os
import stat
import zlib

from kubevip_keeper._exit_status import NOT_PERMITTED, REFUSED, USAGE

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_INSTANCE = "default"
INSTANCE_LIMIT = 12  # characters: labels and table names are made of it
#: Where a container finds the namespace that it is in, and the variables of those that need no other name.
NAMESPACE_FILE = "/var/run/secrets/kubernetes.io/serviceaccount/namespace"
NAMESPACE_VARIABLES = ("vip_interface", "vip_configmap")
_INSTANCE_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


class PlaceError(Exception):
    """The instance or the state directory cannot be used; `exit_status` says for what kind of reason."""

    def __init__(self, exit_status: int, message: str) -> None:
        self.exit_status = exit_status
        super().__init__(message)


def instance_name(given: str | None, environment: Mapping[str, str]) -> str:
    """Return the instance: `given` (the command line), else KUBEVIP_INSTANCE, else "default".

    A container that is configured by variables (see NAMESPACE_VARIABLES) has the name of its namespace instead of
    "default": there is one in each, and several of them share a machine and its network.

    A longer name than 12 characters is cut to seven, a dash and a hash of four digits.

    :raises PlaceError: with status 2 when it has other characters than a-z, 0-9 and dashes.
    """
    name = given or environment.get("KUBEVIP_INSTANCE") or _own_namespace(environment) or DEFAULT_INSTANCE
    if not _INSTANCE_CHARACTERS.issuperset(name):
        raise PlaceError(USAGE, f"instance {name!r}: use lower-case letters, digits and dashes only")
    if len(name) <= INSTANCE_LIMIT:
        return name
    return f"{name[: INSTANCE_LIMIT - 5]}-{zlib.crc32(name.encode()) & 0xFFFF:04x}"


def _own_namespace(environment: Mapping[str, str]) -> str:
    if not any(environment.get(name) for name in NAMESPACE_VARIABLES):
        return ""
    try:
        with open(NAMESPACE_FILE, encoding="ascii") as file:
            return file.read(254).strip()
    except (OSError, UnicodeDecodeError):
        return ""


def state_dir_path(given: str | None, environment: Mapping[str, str], instance: str) -> str:
    """Return the state directory: `given` (the command line), else KUBEVIP_STATE_DIR, else the default of `instance`.

    It is absolute; nothing is looked at.
    """
    chosen = given or environment.get("KUBEVIP_STATE_DIR")
    if chosen:
        return os.path.abspath(chosen)
    return "/var/lib/kubevip" if instance == DEFAULT_INSTANCE else f"/var/lib/kubevip-{instance}"


def option(arguments: Sequence[str], name: str) -> str | None:
    """Return the value of the last `name VALUE` or `name=VALUE` in a command line, or None."""
    value = None
    for position, argument in enumerate(arguments):
        if argument == "--":
            break
        if argument == name and position + 1 < len(arguments):
            value = arguments[position + 1]
        elif argument.startswith(name + "="):
            value = argument[len(name) + 1 :]
    return value


def describe_trouble(path: str, error: OSError) -> str:
    """Say why the state directory `path` cannot be used, and what to do; the error itself may name no file."""
    why = f"state directory {path}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{why}; free space there: numbers that must never repeat, and votes, are written before they count"
    if error.errno == errno.EROFS:
        return f"{why}; mount it for writing, or name another one with --state-dir"
    return why


def make_state_dir(path: str) -> None:
    """Make the state directory, mode 0700, with its parents; one that exists has to be private enough.

    :raises PlaceError: status 77 when the machine does not permit it, 78 when others own the directory or
        may write to it.
    """
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        try:
            os.mkdir(path, 0o700)
        except FileExistsError:
            pass
        status = os.stat(path)
    except OSError as exc:
        raise PlaceError(
            NOT_PERMITTED, f"state directory {path}: {exc.strerror}; run as root, or name another with --state-dir"
        ) from exc
    mode = status.st_mode
    if not stat.S_ISDIR(mode):
        raise PlaceError(REFUSED, f"state directory {path} is not a directory; name another with --state-dir")
    if status.st_uid not in (0, os.geteuid()):  # its owner may plant files in it, whatever its mode
        raise PlaceError(
            REFUSED,
            f"state directory {path} belongs to another user (uid {status.st_uid}, this process has {os.geteuid()}); "
            f"look through it and chown {os.geteuid()} it, or name one that only kubevip uses with --state-dir",
        )
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PlaceError(
            REFUSED,
            f"state directory {path} may be written by others (mode {mode & 0o7777:04o}); chmod 0700 it, or name "
            "one that only kubevip uses",
        )
