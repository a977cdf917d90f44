"""A timetable of random faults, the same for the same seed: which, when, whom, for how long. Pure.

Faults overlap as they will: several nodes at once, a majority too; a node's processes and its link independently of
each other; a new one while the damage of another is being repaired. Only what cannot be done twice is not: a node whose
processes are gone or stopped is not stopped again until they are back, a link that is down is not cut.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

_WEIGHTS = {
    "term": 2,
    "kill": 2,
    "killall": 2,
    "freeze": 3,
    "cut": 2,
    "partition": 2,
    "oneway": 1,  # what it sends to some others is dropped; what they send arrives
    "poweroff": 2,
    "move": 3,
}
_LAYERS = {
    "processes": ("term", "kill", "killall", "freeze", "poweroff"),
    "link": ("cut", "partition", "oneway", "poweroff"),
}
_PARTITIONS = ("partition", "oneway")
_REPAIR_THEMSELVES = ("kill", "move")
_PAUSE_SECONDS = 0.5  # between two tries, on average; those that find their node busy come to nothing
_SHORTEST_SECONDS, _LONGEST_SECONDS = 0.05, 5.0
_BACK_SECONDS = 0.3  # a node that is back may be hit again so soon: while it is still joining


@frozen(kw_only=True)
class Step:
    """One fault. `until` is when its damage is repaired, None: it repairs itself.

    `others` are whom it is about as well; `number` is the address that is moved.
    """

    at: float
    fault: str
    node: str
    others: tuple[str, ...] = ()
    number: int = 0
    until: float | None = None

    def __str__(self) -> str:
        about = {"move": "to ", "partition": "from ", "oneway": "towards "}.get(self.fault, "")
        whom = f" {about}{' '.join(self.others)}" if self.others else ""
        lasts = "" if self.until is None else f" for {self.until - self.at:.2f} s"
        which = f" (address {self.number + 1})" if self.fault == "move" else ""
        return f"{self.at:7.2f} s  {self.node} {self.fault}{whom}{which}{lasts}"


def schedule(seed: int, nodes: Sequence[str], seconds: float, addresses: int = 1) -> list[Step]:
    """Return faults over `seconds`, in order of time."""
    random = Random(seed)
    # Until when nothing more can be done to these: processes and links of nodes, and the one partition there can be.
    busy: dict[str, float] = {}
    steps: list[Step] = []
    at = random.uniform(0.0, _PAUSE_SECONDS)
    while at < seconds:
        fault = random.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        node = random.choice(nodes)
        until = None if fault in _REPAIR_THEMSELVES else min(at + _length(random), seconds)
        others = _others(random, fault, [each for each in nodes if each != node])
        needed = [f"{what} {node}" for what, faults in _LAYERS.items() if fault in faults]
        if fault in _PARTITIONS:
            needed.append("partition")
        number = random.randrange(addresses) if fault == "move" else 0
        if all(busy.get(each, 0.0) <= at for each in needed):
            steps.append(Step(at=at, fault=fault, node=node, others=others, number=number, until=until))
            busy.update(dict.fromkeys(needed, (at if until is None else until) + _BACK_SECONDS))
        at += random.expovariate(1 / _PAUSE_SECONDS)
    return steps


def _others(random: Random, fault: str, rest: Sequence[str]) -> tuple[str, ...]:
    """Return who else is concerned: to whom is moved, from whom is parted."""
    chosen = random.sample(rest, random.randint(1, len(rest)))
    if fault == "move":
        return (chosen[0],)
    return tuple(sorted(chosen)) if fault in _PARTITIONS else ()


def _length(random: Random) -> float:
    """Return mostly short times, some long: around the promise's length is where mistakes show."""
    return min(_SHORTEST_SECONDS + random.expovariate(1.0), _LONGEST_SECONDS)
