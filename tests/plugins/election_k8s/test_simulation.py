"""No schedule of delays, losses, freezes, cuts, restarts and hands on the Lease makes two candidates hold it."""

from __future__ import annotations

import pytest
from tests.plugins.election_k8s.simulator import Broken, play


@pytest.mark.parametrize("first", range(0, 400, 50))
def test_no_schedule_lets_two_hold(first: int) -> None:
    takeovers = sum(play(seed).takeovers for seed in range(first, first + 50))
    assert takeovers > 50  # schedules in which nothing happens prove nothing


@pytest.mark.parametrize("seed", [110, 8, 5])
def test_the_simulator_finds_a_deadline_that_counts_from_the_answer(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    from kubevip_election_k8s._candidate import Candidate

    honest = Candidate.has_written
    monkeypatch.setattr(Candidate, "has_written", lambda self, lease, sent_at, now: honest(self, lease, now + 2, now))
    with pytest.raises(Broken):
        for number in range(seed, seed + 400):
            play(number)


def test_the_simulator_finds_a_lease_that_is_held_as_soon_as_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    from kubevip_election_k8s._candidate import Candidate

    honest = Candidate.told
    monkeypatch.setattr(
        Candidate, "told", lambda self, lease, version, now, since=0.0: honest(self, lease, version, now, since - 5)
    )
    with pytest.raises(Broken):
        for seed in range(100):
            play(seed)
