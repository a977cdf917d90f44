"""Whether a worker still does what it is told: it is asked, and counted out like a boxer. Pure.

Counted in questions, not in time: when this process or the whole machine was frozen, one question has no answer yet.
"""

from __future__ import annotations

#: Pause between two questions.
ASK_SECONDS = 1.0

#: So many questions in a row may have no answer. A worker that relays at full load answers within milliseconds; this
#: is for one that gets no CPU.
MOST_UNANSWERED = 5

#: The same for one that has not answered yet: on an SD card an interpreter takes its time to start.
MOST_UNANSWERED_AT_FIRST = 30


class Liveness:
    """The questions to one worker process and its answers."""

    def __init__(self) -> None:
        self._unanswered = 0
        self._most = MOST_UNANSWERED_AT_FIRST

    def ask(self) -> bool:
        """Count a question that is about to be asked; return False when it is no use to ask any more."""
        if self._unanswered >= self._most:
            return False
        self._unanswered += 1
        return True

    def hear(self) -> None:
        """Take note of an answer."""
        self._unanswered, self._most = 0, MOST_UNANSWERED
