"""One candidate for one Lease: what it does next. No input or output, no clock, no chance.

Rules
1. Everything is a compare-and-swap: what is written carries the version that the decision was made on.
2. A holder counts its deadline from before it SENT what renewed the Lease; everybody else counts the Lease's duration
   from when they SAW it. So whoever takes over does so later than the holder has stopped, whatever was delayed.
3. A holder that finds its Lease deleted or emptied writes it again at once, and holds on. Others leave it a retry
   period for that, then write their own name, and hold only with a renewal that they sent a whole duration later: a
   Lease that is not there does not say who held it, or until when, not even to a process that has just started. The
   duration counts from when the Lease was seen to be away, if a watch without a gap leads from there to what they
   wrote. A holder that finds somebody else's identity has lost.
4. A write without an answer may have been carried out. Nothing is concluded from it: it is read or written again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrs import evolve, field, frozen

from kubevip_election_k8s._observation import Observation, is_older, observe
from kubevip_election_k8s._record import RELEASED_DURATION_SECONDS, Record, read_record, version_of
from kubevip_election_k8s._stranger import shown_holder
from kubevip_election_k8s._timing import Timing

#: A pause after refusals that come at once, doubled up to the retry period.
FIRST_PAUSE_SECONDS = 0.02


@frozen(kw_only=True)
class Wait:
    """Do nothing until then, unless there is news."""

    until: float


@frozen(kw_only=True)
class Read:
    """Read the Lease."""

    timeout_seconds: float


@frozen(kw_only=True)
class Write:
    """Write the Lease: create it if `lease` is None.

    `acquires` says whether it changes hands, `holds` whether this candidate holds once it is written. `annotations` are
    what changes beside the record; None removes one.
    """

    record: Record
    lease: Mapping[str, object] | None
    acquires: bool
    holds: bool
    timeout_seconds: float
    annotations: Mapping[str, str | None] = field(factory=dict[str, "str | None"])


Decision = Wait | Read | Write


class Candidate:
    """What `identity` knows of a Lease and does about it. Times are readings of one clock, given by the caller."""

    def __init__(self, identity: str, timing: Timing, absent_since: float = math.inf) -> None:
        """Know nothing yet.

        :param absent_since: since when a watch says that there is no Lease: it need not be left to a holder again.
        """
        self.identity, self.timing, self._absent_since = identity, timing, absent_since
        self.seen: Observation | None = None
        #: Until when this candidate holds; nobody else may take over before `lease_seconds - renew_seconds` after it.
        self.valid_until = -math.inf
        self._renewed_at = -math.inf
        #: A renewal that was sent before that does not hold: who held before us may do so still.
        self._holds_from = -math.inf
        self._paused_until = -math.inf
        self._refusals = 0
        self._must_read = True
        self._may_hold = False

    @property
    def is_ours(self) -> bool:
        """Whether the Lease bears our identity, as last seen."""
        return self.seen is not None and self.seen.holder == self.identity

    @property
    def may_be_ours(self) -> bool:
        """Whether it does, or a write is out of which nobody knows what became."""
        return self.is_ours or self._may_hold

    @property
    def holder_node(self) -> str | None:
        """The node that holds the Lease, as last seen."""
        return self.seen.record.holder_node if self.seen is not None and self.seen.record is not None else None

    @property
    def shown_holder(self) -> str | None:
        """Who holds the Lease, for people."""
        return shown_holder(self.seen.record) if self.seen is not None else None

    @property
    def transitions(self) -> int:
        """How often the Lease has changed hands, as last seen."""
        return self.seen.record.transitions if self.seen is not None and self.seen.record is not None else 0

    @property
    def holds_from(self) -> float | None:
        """From when on our Lease may be held, None if it is ours for good reason or not ours."""
        return self._holds_from if self.is_ours and self._holds_from > self._renewed_at else None

    def holds(self, now: float) -> bool:
        """Return whether this candidate holds the Lease."""
        return now < self.valid_until

    def told(
        self, lease: Mapping[str, object] | None, version: str, now: float, absent_since: float = math.inf
    ) -> None:
        """Take note of what a watch or a list said: it may be late, and is no news then.

        :param absent_since: since when a watch without a gap has known that there was none before this one.
        """
        if self.seen is None or not is_older(version, self.seen.version):
            self._observe(lease, version, now)
        if lease is None or not self.is_ours or self.seen is None or self.seen.record is None:
            return
        known_from = absent_since + self.timing.lease_seconds
        is_ours_still = read_record(lease).acquire_time == self.seen.record.acquire_time  # perhaps renewed since
        if is_ours_still and known_from < self._holds_from:
            self._holds_from = known_from
            self._hold()

    def has_read(self, lease: Mapping[str, object] | None, now: float) -> None:
        """Take note of what `Read` found."""
        self._must_read, self._may_hold = False, False
        version = self.seen.version if self.seen is not None else ""
        self._observe(lease, version if lease is None else version_of(lease), now)

    def has_written(self, lease: Mapping[str, object], sent_at: float, now: float) -> None:
        """Take note of what `Write` made of the Lease, which was sent at `sent_at`."""
        self._must_read, self._may_hold = False, False
        self._refusals = 0
        if self.seen is not None and is_older(version_of(lease), self.seen.version):
            self._must_read = True  # somebody changed it since, and the watch was faster than the answer
        else:
            self._observe(lease, version_of(lease), now)
        if self.is_ours:
            self._renewed_at = sent_at
            self._hold()

    def conflicted(self, now: float, stretch: float) -> None:
        """Take note that somebody was faster: read, at once the first time."""
        self._must_read = True
        if self._refusals:
            self._pause(now, stretch)
        self._refusals += 1

    def is_missing(self, now: float) -> None:
        """Take note that there is no Lease to write to."""
        self.has_read(None, now)

    def failed(self, now: float, stretch: float, *, is_uncertain: bool, at_least_seconds: float = 0.0) -> None:
        """Take note that a request failed; go on after a pause, `stretch` times as long (0.5 to 1).

        :param is_uncertain: it may have been carried out all the same.
        :param at_least_seconds: how long the server asked to be left alone; heeded up to half of the deadline.
        """
        self._may_hold = self._may_hold or is_uncertain
        self._pause(now, stretch)
        asked = min(at_least_seconds, self.timing.renew_seconds / 2)
        self._paused_until = max(self._paused_until, now + asked)
        self._refusals += 1

    def cut(self) -> None:
        """Take note that a request was cut off: what became of it is not known."""
        self._may_hold = self._must_read = True

    def let_go(self) -> None:
        """Hold no more, whatever the Lease says: everything was withdrawn, or lost."""
        self.valid_until = self._renewed_at = -math.inf

    def decide(self, now: float, delay_seconds: float, stamp: str) -> Decision:
        """Return what to do at `now`.

        :param delay_seconds: how long this candidate lets others go first once the Lease is free.
        :param stamp: the wall clock as a MicroTime, for people and for electors that compare records.
        """
        timing, holds, seen = self.timing, self.holds(now), self.seen
        left = self.valid_until - now if holds else math.inf
        if now < self._paused_until:
            return Wait(until=min(self._paused_until, now + left))
        timeout = timing.attempt_seconds(left) if holds else timing.acquire_seconds
        if seen is None or self._must_read:
            return Read(timeout_seconds=timeout)
        record = seen.record or Record()
        if self.is_ours:
            due = self._renewed_at + timing.retry_seconds
            if holds and now < due:
                return Wait(until=min(due, self.valid_until))
            if now < min(due, self._holds_from):
                return Wait(until=min(due, self._holds_from))
            renewed = evolve(record, duration_seconds=timing.lease_seconds, renew_time=stamp)
            is_held = now >= self._holds_from
            return Write(record=renewed, lease=seen.lease, acquires=False, holds=is_held, timeout_seconds=timeout)
        due = now if holds else seen.free_at + delay_seconds
        if now < due:
            return Wait(until=due)
        acquired = Record(
            holder=self.identity,
            duration_seconds=timing.lease_seconds,
            acquire_time=stamp,
            renew_time=stamp,
            transitions=record.transitions + (seen.record is not None),
        )
        is_held = holds or not seen.is_vacant
        return Write(record=acquired, lease=seen.lease, acquires=True, holds=is_held, timeout_seconds=timeout)

    def decide_annotating(self, now: float, changes: Mapping[str, str | None]) -> Decision | None:
        """Return what to do to change something beside the record, of whoever it is; None: nothing just now."""
        seen = self.seen
        if seen is None or seen.record is None or self._must_read or now < self._paused_until:
            return None
        timeout = (
            self.timing.attempt_seconds(self.valid_until - now) if self.holds(now) else self.timing.acquire_seconds
        )
        return Write(
            record=seen.record,
            lease=seen.lease,
            acquires=False,
            holds=False,
            timeout_seconds=timeout,
            annotations=changes,
        )

    def decide_release(self, now: float, stamp: str) -> Decision | None:
        """Return what is left to do before nobody has to wait for this candidate; None when that is all.

        A pause goes on; timeouts are the caller's: it knows how long it may take.
        """
        if now < self._paused_until:
            return Wait(until=self._paused_until)
        if not self.may_be_ours:
            return None
        if self._must_read or self._may_hold or self.seen is None:
            return Read(timeout_seconds=self.timing.acquire_seconds)
        assert self.seen.record is not None  # it is ours
        is_known_free = now >= self._holds_from  # else it is as vacant as it was found
        released = evolve(
            self.seen.record,
            holder="",
            duration_seconds=RELEASED_DURATION_SECONDS if is_known_free else self.timing.lease_seconds,
            acquire_time=stamp,
            renew_time=stamp,
        )
        seconds = self.timing.acquire_seconds
        return Write(record=released, lease=self.seen.lease, acquires=False, holds=False, timeout_seconds=seconds)

    def _hold(self) -> None:
        if self._renewed_at >= self._holds_from:
            self.valid_until = max(self.valid_until, self._renewed_at + self.timing.renew_seconds)

    def _observe(self, lease: Mapping[str, object] | None, version: str, now: float) -> None:
        before, timing = self.seen, self.timing
        known_from = max(self._absent_since + timing.lease_seconds - now, 0.0)
        self.seen = observe(
            before,
            None if lease is None else read_record(lease),
            lease,
            version,
            now=now,
            default_seconds=timing.lease_seconds,
            vacant_seconds=min(timing.retry_seconds, known_from),
        )
        if lease is not None:
            self._absent_since = math.inf
        if self.seen.holder not in ("", self.identity):
            self.valid_until = -math.inf
        if self.is_ours and (before is None or before.holder != self.identity):
            # A Lease that was created here has changed hands never, whatever was seen before its creation.
            self._renewed_at = -math.inf
            is_claimed = self.transitions == 0 or before is None or before.is_vacant
            self._holds_from = now + timing.lease_seconds if is_claimed and not self.holds(now) else -math.inf

    def _pause(self, now: float, stretch: float) -> None:
        longest = self.timing.retry_seconds / 2
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(self._refusals, 16), longest)
        self._paused_until = now + pause * stretch
