"""When to announce, and how fast. Pure: times are passed in, in seconds of any one clock."""

from __future__ import annotations

import math


class AnnouncementSchedule:
    """When one address is to be announced: at once, `count - 1` times every `interval`, then every `refresh`.

    :param refresh: 0 = not again.
    """

    def __init__(self, count: int, interval: float, refresh: float, now: float) -> None:
        self._count, self._interval, self._refresh = count, interval, refresh
        self._sent = 0
        self.due_at = now

    def sent(self, now: float) -> None:
        """Take note that it was announced; sets when it is due again."""
        self._sent += 1
        if self._sent < self._count:
            self.due_at = now + self._interval
        else:
            self.due_at = now + self._refresh if self._refresh else math.inf

    def restart(self, now: float) -> None:
        """Begin again: the address is new to the network, or the network to it."""
        self._sent, self.due_at = 0, now


class TokenBucket:
    """Lets `rate` frames per second pass, and `burst` at once."""

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def take(self, now: float, frames: int) -> float:
        """Take tokens for `frames` in any case; return how many seconds to wait before sending them."""
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate) - frames
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class ConflictPolicy:
    """What to do about another machine that claims a held address.

    RFC 5227 2.4 (c): defend at most once in DEFEND_INTERVAL, or two hosts that both insist flood the network.
    """

    DEFEND_INTERVAL = 10.0
    QUIET_SECONDS = 60.0  # after that the conflict counts as settled

    def __init__(self, *, may_defend: bool) -> None:
        self._may_defend = may_defend
        self._defended_at = self._told_at = self._seen_at = -math.inf

    def saw(self, now: float) -> tuple[bool, bool]:
        """Take note of a foreign claim; return whether to tell people, and whether to announce the address again."""
        self._seen_at = now
        tell = now - self._told_at >= self.DEFEND_INTERVAL
        if tell:
            self._told_at = now
        defend = self._may_defend and now - self._defended_at >= self.DEFEND_INTERVAL
        if defend:
            self._defended_at = now
        return tell, defend

    @property
    def settled_at(self) -> float:
        """When the conflict counts as settled unless it is seen again."""
        return self._seen_at + self.QUIET_SECONDS
