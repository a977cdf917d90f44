"""What the tests with whole daemons look with: until something is true, into a host, through the virtual IP."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

from kubevip.errors import KubevipError
from kubevip_lab._host import Host
from kubevip_lab._subject import Subject


def eventually(see: Callable[[], Any], what: str, seconds: float) -> Any:
    """Return the first true thing that `see` returns; errors of kubevip and the network count as not yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            if seen := see():
                return seen
        except (KubevipError, OSError):
            pass
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)  # noqa: TID251 -- plain code that polls a real system


def output(host: Host, *arguments: str) -> str:
    process = host.start(arguments, output=subprocess.PIPE)
    text, _ = process.communicate(timeout=10)
    return text.decode()


def starts(subject: Subject) -> int:
    """Return how often a control process was started on any node."""
    lines = [line for it in subject.daemons.values() for line in it.last_lines(100_000)]
    return sum("started the control process" in line for line in lines)
