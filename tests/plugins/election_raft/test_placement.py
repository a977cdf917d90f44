"""Where the leader places groups, from what members stand for."""

from __future__ import annotations

from kubevip_election_raft._consensus.entries import Placed, Process
from kubevip_election_raft._consensus.messages import Offer, Offers
from kubevip_election_raft._consensus.placement import Placer, Stand

NAMES = ("n1", "n2", "n3")


def stands(*names: str, prefer: tuple[str, ...] = ()) -> dict[str, Stand]:
    offers = Offers(version=1, offers=(Offer(group="g", prefer=prefer),))
    return {name: Stand.of(Process(name=name, incarnation=1), offers) for name in names}


def decide(placer: Placer, there: dict[str, Stand], now: float) -> list[str]:
    def name_of(placed: Placed) -> str:
        return placed.process.name if placed.process is not None else ""

    return [name_of(placed) for placed in placer.decide(there, lambda process: "", now)]


def placer() -> Placer:
    return Placer(own="n1", order=NAMES, settle_seconds=0.05, prefer_seconds=0.5)


def test_a_group_is_placed_at_once_when_all_stand_for_it_and_soon_otherwise() -> None:
    assert decide(placer(), stands(*NAMES), 1.0) == ["n1"]
    waits = placer()
    assert decide(waits, stands("n1", "n2"), 1.0) == []
    assert waits.look_at == 1.05
    assert decide(waits, stands("n1", "n2"), 1.05) == ["n1"]


def test_a_group_that_is_placed_for_the_first_time_waits_for_a_preferred_member_but_not_for_long() -> None:
    for prefer in (("n3",), ("n3", "n1")):
        waits = placer()
        there = stands("n1", "n2", prefer=prefer)
        assert decide(waits, there, 1.0) == decide(waits, there, 1.4) == []
        assert waits.look_at == 1.5
        assert decide(waits, there | stands("n3", prefer=prefer), 1.4) == ["n3"]
    never = placer()
    assert decide(never, stands("n1", "n2", prefer=("n3",)), 1.0) == []
    assert decide(never, stands("n1", "n2", prefer=("n3",)), 1.5) == ["n1"]


def test_nobody_waits_for_one_that_is_preferred_less_or_is_no_member() -> None:
    for prefer in (("n1", "n3"), ("n9",), ("n2",)):
        waits = placer()
        assert decide(waits, stands("n1", "n2", prefer=prefer), 1.0) == []
        assert waits.look_at == 1.05
