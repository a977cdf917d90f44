"""`kubevip cleanup`: remove what an instance left behind that no longer runs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kubevip._model import Kind
from kubevip.errors import ControlError
from kubevip_keeper._lock import Lock, LockHeldError

if TYPE_CHECKING:
    from kubevip._options import Options
    from kubevip._plugins import PluginRegistry


def cleanup(options: Options, registry: PluginRegistry) -> list[str]:
    """Let every provider that can leave something behind remove it; return one line per thing removed.

    :raises ControlError: when the instance runs.
    """
    lock = None
    if options.state_dir.is_dir():
        try:
            lock = Lock(str(options.state_dir / "lock"))
        except LockHeldError as error:
            raise ControlError(f"instance {options.instance!r} runs: {error}") from None
    try:
        removed: list[str] = []
        for kind in Kind:
            for provider in registry.providers(kind).values():
                if provider.cleanup is not None:
                    removed += provider.cleanup(options.instance, options.state_dir)
        return removed
    finally:
        if lock is not None:
            os.close(lock.fd)
