"""What a lab says of the machine when something came too late."""

from __future__ import annotations

import os

import pytest

from kubevip_lab._busyness import busy_note


@pytest.mark.parametrize(
    ("load", "processors", "said"),
    [
        (3.0, 2, ""),
        (15.0, 2, " (this machine is busy: load 15.0 on 2 processors; try again when it is idle)"),
        (1.6, 1, " (this machine is busy: load 1.6 on 1 processor; try again when it is idle)"),
    ],
)
def test_a_machine_that_is_busy_is_named_where_something_was_late(
    monkeypatch: pytest.MonkeyPatch, load: float, processors: int, said: str
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(processors)))
    assert busy_note() == said
