from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kubevip.errors import KubevipError
from kubevip_lab._machine import Machine, look_at_machine

if TYPE_CHECKING:
    from pathlib import Path


def test_the_disk_is_measured_and_nothing_stays_on_it(tmp_path: Path) -> None:
    machine = look_at_machine(tmp_path)

    assert 0 <= machine.sync_p99_ms < 10_000
    assert machine.tick_ms in (1, 3.333, 4, 10)  # CONFIG_HZ 1000, 300, 250, 100
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_to_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(KubevipError, match="nowhere cannot be measured: No such file"):
        look_at_machine(tmp_path / "nowhere")


def test_it_is_described_in_one_line() -> None:
    machine = Machine(kernel="6.1.0", processors=2, tick_ms=4.0, sync_p99_ms=0.81)

    assert machine.describe() == ("Linux 6.1.0, 2 processors, tick 4 ms; fdatasync of the state directory: p99 0.81 ms")
