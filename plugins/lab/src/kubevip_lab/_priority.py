"""The measuring instruments' priority: what is under test must be able to be late, they must not. Standard library."""

from __future__ import annotations

import gc
import os


def become_punctual() -> None:
    """Run at the lowest real-time priority where that is permitted, and without pauses for garbage collection."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        pass
    gc.disable()
