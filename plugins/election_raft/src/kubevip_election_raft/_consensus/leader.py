"""What a leader keeps while it leads: how far each log is, when it was heard, and when to speak next."""

from __future__ import annotations

import math
from collections.abc import Iterable

from attrs import define

from kubevip_election_raft._consensus.log import Log
from kubevip_election_raft._consensus.messages import AppendResponse
from kubevip_election_raft._consensus.timing import Timing


@define(kw_only=True)
class Progress:
    """How far the log of one follower is known to agree (`matched`), and where to go on (`next_index`; 3.5).

    `contact`: when the newest round was sent that it answered.
    """

    next_index: int
    matched: int = 0
    contact: float = -math.inf


class Leader:
    """One leadership, from its election to its end.

    `ends_at`: when it is no leader any more, unless a majority answers (CheckQuorum, 6.2).
    """

    def __init__(self, term: int, peers: Iterable[str], log: Log, timing: Timing, now: float) -> None:
        self.term = term
        self._log, self._timing = log, timing
        self.followers = {name: Progress(next_index=log.last_index + 1) for name in peers}
        self._sent: dict[int, float] = {}  # by round, when it was sent
        self._round = 0
        self._began_at = now
        self.beat_at = now
        self.ends_at = self._when_it_ends()

    def set_followers(self, names: Iterable[str]) -> None:
        """Lead these from now on; one that is new gets everything from the start, or a snapshot.

        It counts as heard when the newest round began: a leader of one that adds a second one leads on meanwhile.
        """
        newest_at = self._sent.get(self._round, self._began_at)
        self.followers = {
            name: self.followers.get(name) or Progress(next_index=self._log.last_index + 1, contact=newest_at)
            for name in names
        }
        self.ends_at = self._when_it_ends()

    @property
    def has_quorum(self) -> bool:
        """Whether a majority ever answered."""
        answered = sum(follower.contact > -math.inf for follower in self.followers.values())
        return answered + 1 > (len(self.followers) + 1) // 2

    def begin_round(self, now: float) -> int:
        """Begin a round of entries; its answers count from now."""
        for round_ in [round_ for round_, at in self._sent.items() if at + self._timing.promise_seconds < now]:
            del self._sent[round_]
        self._round += 1
        self._sent[self._round] = now
        return self._round

    def plan_beat(self, now: float) -> None:
        """Plan the next heartbeat: one interval after this one was due, or soon while nobody answered yet."""
        if self.has_quorum:
            due = max(min(self.beat_at, now), now - self._timing.heartbeat_seconds / 2)
            self.beat_at = due + self._timing.heartbeat_seconds
        else:
            self.beat_at = now + self._timing.ask_seconds

    def answered(self, name: str, response: AppendResponse, *, counts: bool) -> float | None:
        """Take an answer of this term into account; return when its round was sent, if that is known.

        :param counts: whether what it has on its disk counts for a majority.
        """
        follower = self.followers[name]
        sent_at = self._sent.get(response.round)
        if sent_at is not None:
            follower.contact = max(follower.contact, sent_at)
            self.ends_at = self._when_it_ends()
        if response.matched is not None:
            matched = min(response.matched, self._log.last_index)
            follower.next_index = max(follower.next_index, matched + 1)
            if counts:
                follower.matched = max(follower.matched, matched)
        else:
            self._go_back(follower, response)
        return sent_at

    def _when_it_ends(self) -> float:
        contacts = sorted((*(follower.contact for follower in self.followers.values()), math.inf), reverse=True)
        newest = contacts[len(contacts) // 2]  # of the majority, this leader included
        return max(newest + self._timing.promise_seconds, self._began_at + 2 * self._timing.promise_seconds)

    def committed(self) -> int:
        """Return up to where a majority has saved the log, entries of this term only (3.6.2)."""
        saved = sorted((*(follower.matched for follower in self.followers.values()), self._log.saved), reverse=True)
        index = saved[len(saved) // 2]
        return index if self._log.term_at(index) == self.term else self._log.commit

    def _go_back(self, follower: Progress, response: AppendResponse) -> None:
        """Go back to where the logs may agree: past the follower's whole conflicting term at once (3.5)."""
        last = self._log.last_of_term(response.hint_term, follower.next_index) if response.hint_term else None
        wanted = last + 1 if last is not None else max(response.hint_index, 1)
        follower.next_index = max(min(wanted, follower.next_index), follower.matched + 1)
