"""What a leader keeps while it leads: its lease, when to speak next, and to whom it yields."""

from __future__ import annotations

import math

from kubevip_election_raft._messages import NOT_STANDING
from kubevip_election_raft._peers import Peers
from kubevip_election_raft._promise import Lease
from kubevip_election_raft._ready import Rise
from kubevip_election_raft._timing import Timing


class Leader:
    """One leadership, from its election to its end."""

    def __init__(self, lease: Lease, peers: Peers, timing: Timing, rise: Rise, now: float) -> None:
        self.lease, self.rise = lease, rise
        self._peers, self._timing = peers, timing
        self._give_up_at = now + 2 * timing.promise_seconds
        self.beat_at = now
        self.yielding_to: str | None = None
        self.yields_because = ""

    @property
    def ends_at(self) -> float:
        """When it is no leader any more: with its lease, or without one after two promises (CheckQuorum, 6.2)."""
        return self.lease.until if self.lease.is_held else self._give_up_at

    def heirs(self, now: float) -> tuple[str, ...]:
        """Return who can succeed, best first."""
        return self._peers.order_heirs(heard_since=now - self._timing.promise_seconds)

    def plan_beat(self, now: float) -> None:
        """Plan the next heartbeat: one interval after this one was due, or soon while there is no lease yet."""
        if self.lease.is_held:
            due = max(min(self.beat_at, now), now - self._timing.heartbeat_seconds / 2)
            self.beat_at = due + self._timing.heartbeat_seconds
        else:
            self.beat_at = now + self._timing.ask_seconds

    def refused(self, wait_seconds: float, now: float) -> None:
        """A voter is bound for so long: without a lease, ask again exactly then."""
        if not self.lease.is_held:
            self.beat_at = min(self.beat_at, now + wait_seconds)

    def yield_to(self, to: str, because: str) -> None:
        """Want `to` to lead. What is held here is to be withdrawn first."""
        self.yielding_to, self.yields_because = to, because

    def refusal(self, to: str, now: float) -> str:
        """Say why leadership cannot be handed over to the member `to` now; "" if it can."""
        if self.yielding_to not in (None, to):
            return f"leadership is being handed over to {self.yielding_to} at the moment"
        peer = self._peers[to]
        if peer.heard_at < now - self._timing.promise_seconds:
            silent = (
                "was never heard" if peer.heard_at == -math.inf else f"was last heard {now - peer.heard_at:.1f} s ago"
            )
            return f"{to} does not answer; it {silent}"
        if peer.fitness == NOT_STANDING:
            return f"{to} stands for no group"
        if peer.is_silent:
            return f"{to} started a moment ago and keeps silent; try again"
        return ""
