"""Where the leader places a group of which not everybody can hold everything."""

from __future__ import annotations

import pytest

from kubevip_election_raft._consensus.entries import Grant, Placed, Process
from kubevip_election_raft._consensus.messages import Offer
from kubevip_election_raft._consensus.placement import UNFIT_MOVE_SECONDS, Placer, Stand

NAMES = ("n1", "n2", "n3")
PROCESSES = {name: Process(name=name, incarnation=1) for name in NAMES}


def is_there(process: Process) -> str:
    return ""


def stands(*fitness: int, prefer: tuple[str, ...] = (), fail_back: float | None = None) -> dict[str, Stand]:
    return {
        name: Stand(
            process=PROCESSES[name],
            offers={"g": Offer(group="g", fitness=value, prefer=prefer, fail_back_seconds=fail_back)},
        )
        for name, value in zip(NAMES, fitness, strict=True)
    }


def held_by_n1() -> Placer:
    placer = Placer(own="n1", order=NAMES)
    placer.note(Placed(group="g", process=PROCESSES["n1"]), Grant(term=1, index=1))
    return placer


@pytest.mark.parametrize(
    ("fitness", "to", "why"),
    [
        ((0, 100, 100), "n2", "n1 is unfit"),
        ((0, 25, 100), "n3", "n1 is unfit"),
        ((0, 25, 0), "n2", "n1 is unfit"),
        ((25, 50, 0), "n2", "n1 cannot hold all of it"),
    ],
)
def test_a_group_goes_where_more_of_it_can_be_held(fitness: tuple[int, ...], to: str, why: str) -> None:
    assert held_by_n1().decide(stands(*fitness), is_there, 100.0) == (
        Placed(group="g", process=PROCESSES[to], why=why),
    )


@pytest.mark.parametrize("fitness", [(0, 0, 0), (25, 25, 0), (25, 0, 25), (50, 100, 100), (100, 100, 100)])
def test_it_stays_where_nobody_does_better(fitness: tuple[int, ...]) -> None:
    assert held_by_n1().decide(stands(*fitness), is_there, 100.0) == ()


def test_it_leaves_a_holder_for_its_fitness_once_in_a_while() -> None:
    placer = held_by_n1()
    ((moved),) = placer.decide(stands(25, 100, 100), is_there, 100.0)
    placer.note(moved, Grant(term=1, index=2))
    assert placer.decide(stands(25, 25, 100), is_there, 101.0) == ()
    assert placer.look_at == 100.0 + UNFIT_MOVE_SECONDS
    assert len(placer.decide(stands(25, 25, 100), is_there, placer.look_at)) == 1


def test_a_preferred_member_that_could_hold_less_does_not_get_it_back() -> None:
    placer = held_by_n1()
    preferring = {"prefer": ("n2",), "fail_back": 0.0}
    assert placer.decide(stands(100, 25, 100, **preferring), is_there, 100.0) == ()  # type: ignore[arg-type]
    (back,) = placer.decide(stands(100, 50, 100, **preferring), is_there, 200.0)  # type: ignore[arg-type]
    assert (back.process, back.why) == (PROCESSES["n2"], "preferred")


def test_nobody_is_asked_to_take_what_it_would_give_away_again() -> None:
    refusal = held_by_n1().refusal
    assert refusal("g", "n2", stands(100, 0, 0)) == "n2 is unfit for g, or drained, and would give it away again"
    assert refusal("g", "n2", stands(100, 25, 0)) == "n2 cannot hold all of g, and would give it away again"
    assert refusal("g", "n2", stands(25, 25, 0)) == ""
    assert refusal("g", "n2", stands(0, 0, 0)) == ""
