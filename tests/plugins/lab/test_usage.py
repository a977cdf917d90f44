from __future__ import annotations

import os
import subprocess
from time import monotonic

import pytest

from kubevip_lab._usage import usage


def test_processor_time_and_switches_only_grow() -> None:
    before = usage(os.getpid())
    end = monotonic() + 0.05
    while monotonic() < end:
        pass
    os.sched_yield()
    after = usage(os.getpid())

    assert after.cpu_seconds > before.cpu_seconds
    assert after.switches >= before.switches
    assert after.written_bytes >= before.written_bytes


def test_what_is_private_is_a_part_of_what_is_proportional_and_that_of_what_is_resident() -> None:
    here = usage(os.getpid())

    assert 0 < here.private_bytes <= here.proportional_bytes <= here.resident_bytes


def test_a_process_that_has_ended_uses_nothing_that_could_be_told() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()

    with pytest.raises(OSError, match="No such"):
        usage(process.pid)
