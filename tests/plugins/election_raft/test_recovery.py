"""A majority that is lost for good, in simulation: those of before come back, and never two hold (scenario A 18).

KUBEVIP_SEEDS=5000 plays more schedules.
"""

from __future__ import annotations

import os

import pytest

from kubevip_election_raft._consensus.entries import Process

from .recovery import Recovery
from .simulator import Machine, ViolationError

SEEDS = int(os.environ.get("KUBEVIP_SEEDS", "320")) // 8
CHUNKS = 4


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_who_comes_back_after_a_recovery_joins_and_never_two_hold(chunk: int) -> None:
    for seed in range(chunk, SEEDS, CHUNKS):
        Recovery(seed).run()


class _HeedlessOfEpochs(Recovery):
    """An old epoch is not refused, and a later one ends nothing."""

    def _hears(self, machine: Machine, sender: Process, epoch: int) -> bool:
        return True


def test_the_simulator_finds_members_that_do_not_heed_epochs() -> None:
    with pytest.raises(ViolationError, match="before the lease of"):
        for seed in range(20, 120):
            _HeedlessOfEpochs(seed).run()
