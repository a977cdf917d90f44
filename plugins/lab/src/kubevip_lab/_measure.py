"""Figures from answers: how long nobody answered, how long two did. Pure functions.

All times are readings of one clock in seconds. Whose view it is: the asker's, from whole answers that it received.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable


@frozen(kw_only=True)
class Answer:
    """One answered question: its number, when it was asked, when the answer was here, and who answered."""

    number: int
    sent: float
    received: float
    by: str = ""


@frozen(kw_only=True)
class Silence:
    """A time without an answer: from the last answer before it to the first one after it."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.end - self.start


def longest_silence(answers: Iterable[Answer], start: float, end: float) -> Silence:
    """Return the longest time between two consecutive receipts that overlaps `start`..`end`.

    What the asker felt, with nothing subtracted: with questions every millisecond an undisturbed run gives about a
    millisecond. So it is never less than the time in which no question was answered, and more than it by at most what
    the asker leaves between two questions. A silence that had begun before `start` counts from its beginning. Without
    an answer before, it counts from `start`; without one after, to `end`: so ask only when the answers of some time
    after `end` are in.
    """
    receipts = sorted(answer.received for answer in answers)
    before = [moment for moment in receipts if moment <= start]
    after = [moment for moment in receipts if moment > end]
    moments = [
        before[-1] if before else start,
        *(moment for moment in receipts if start < moment <= end),
        after[0] if after else end,
    ]
    silences = (Silence(start=a, end=b) for a, b in pairwise(moments))
    return max(silences, key=lambda silence: silence.seconds)


def two_holders_seconds(answers: Iterable[Answer], interval: float, quiet: float = 0.1) -> float:
    """Return for how long two or more askers' counterparts said to have the address.

    `answers` are answers to a broadcast "who has it", `by` the hardware address, `number` the question's place in a
    row of questions that are `interval` apart. Who answers is taken to hold the address from the first question it
    answered to the last one, unless it was silent for more than `quiet` between two of its answers: then it is taken
    to have let go meanwhile. The result is `interval` times the number of questions during which two or more held:
    so one question that two answered counts, and so does B's answer between two answers of A; a hand-over, where all
    of B's answers are to later questions than all of A's, does not. 0.0 means that nothing of the kind was seen.
    """
    held = stretches(answers, interval, quiet)
    edges = sorted(edge for _, first, last in held for edge in ((first.number, 1), (last.number + 1, -1)))
    questions = holders = since = 0
    for number, change in edges:
        if holders >= 2:
            questions += number - since
        holders, since = holders + change, number
    return questions * interval


def stretches(answers: Iterable[Answer], interval: float, quiet: float = 0.1) -> list[tuple[str, Answer, Answer]]:
    """Return who answered from when to when: (who, first answer, last answer).

    A silence of more than `quiet` seconds parts two stretches of the same one.
    """
    found: list[tuple[str, Answer, Answer]] = []
    latest: dict[str, tuple[Answer, Answer]] = {}
    for answer in sorted(answers, key=lambda each: each.number):
        first, last = latest.get(answer.by, (answer, answer))
        if answer.number - last.number > quiet / interval:
            found.append((answer.by, first, last))
            first = answer
        latest[answer.by] = first, answer
    return found + [(by, first, last) for by, (first, last) in latest.items()]
