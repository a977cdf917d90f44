"""One fault from beginning to end: the holder is hit, another takes over, the damage is repaired, all is well again."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip.errors import KubevipError
from kubevip_lab._busyness import busy_note
from kubevip_lab._measure import Silence, longest_silence, two_holders_seconds
from kubevip_lab._record import CLOSED, LATE, REFUSED

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubevip_lab._faults import Fault
    from kubevip_lab._lab import Lab
    from kubevip_lab._watch import Watch

HOLD_SECONDS = 0.5
"""How long a fault lasts at least after the address was taken over, unless told otherwise."""

_MOST_UNREAD = 1000  # a third of a second, at the shortest interval
_STEADY_SECONDS = 0.3
_BEFORE_SECONDS = 0.2
_PAUSE_SECONDS = 0.05  # between two questions to the nodes how they are
_AFTER_SECONDS = 0.3
_FLUSH_SECONDS = 0.1  # longer than a prober keeps records to itself
_STAY_SECONDS = 3.0


@frozen(kw_only=True)
class Round:
    """What one fault did, in milliseconds as the client saw it.

    `outage_ms` is the longest time without an answer to ICMP between the fault and its repair, `tcp_outage_ms` the
    same for HTTP requests on new connections, `follower_outage_ms` for ICMP from the nodes that were not hit, the
    worst of them; `repair_outage_ms` is the client's longest time without an answer, to either, from the repair on.
    `two_holders_ms`: for how long two hosts answered ARP for the address, repair included. `holder_after` is None when
    nobody took over in time, `unanswered` names the probers that had no steady answers even a second later. `refused`
    counts new connections that were refused or reset. Of `kept_open` connections `ended` heard FIN or RST, the last of
    them `ended_ms` after the fault. `at` is the fault's wall-clock time as in the nodes' logs, `outage_after_ms` and
    `tcp_outage_after_ms` say how long after it each silence began. `prober_late_ms` says by how much a prober was
    itself late at worst; nothing here is known more exactly.
    """

    fault: str
    at: str
    holder_before: str
    holder_after: str | None
    outage_ms: float
    outage_after_ms: float
    tcp_outage_ms: float
    tcp_outage_after_ms: float
    follower_outage_ms: float
    repair_outage_ms: float
    two_holders_ms: float
    unanswered: tuple[str, ...]
    refused: int
    kept_open: int
    ended: int
    ended_ms: float
    prober_late_ms: float

    @property
    def is_good(self) -> bool:
        """Whether the address was taken over, for everybody, and never answered for by two."""
        return not self.trouble

    @property
    def trouble(self) -> str:
        """What was not good about it, for people; "" when it was."""
        if self.holder_after is None:
            return "nobody took over"
        if self.two_holders_ms > 0:
            return f"two answered for {self.two_holders_ms:.0f} ms"
        return f"no steady answers to {' and '.join(self.unanswered)}" if self.unanswered else ""


def wait_until_whole(lab: Lab, watch: Watch, seconds: float) -> str:
    """Wait until one node holds the address, clients are answered and all nodes take part; return who holds it.

    :raises KubevipError: when it is not so within `seconds`, with what is missing; at once when a daemon has ended.
    """
    end = monotonic() + seconds

    def is_worth_a_look() -> bool:
        return any(daemon.pid is None for daemon in lab.subject.daemons.values()) or (
            len(watch.macs(_STEADY_SECONDS)) == 1 and not watch.unanswered(_STEADY_SECONDS, lab.nodes)
        )

    while True:
        is_steady = watch.pump(max(end - monotonic(), 0.0), is_worth_a_look)
        lab.subject.revive()
        for node, daemon in lab.subject.daemons.items():
            if daemon.pid is None:
                raise KubevipError(f"{lab.subject.name} on {node} has ended with status {daemon.exit_status}")
        # nobody, where it took so long to come here that the newest answers are old
        holder = next((lab.node_of(mac) for mac in watch.macs(_STEADY_SECONDS)), "")
        trouble = lab.subject.trouble() if is_steady else what_is_missing(lab, watch)
        if not trouble and holder in lab.nodes:
            return str(holder)
        if monotonic() >= end:
            trouble = trouble or f"{holder or 'a stranger'} answers for the address, which is no node"
            raise KubevipError(f"the cluster was not whole within {seconds:.0f} s: {trouble}{busy_note()}")
        watch.pump(_PAUSE_SECONDS)


def what_is_missing(lab: Lab, watch: Watch) -> str:
    """Say why a cluster is not whole, as far as can be seen from outside."""
    unread = watch.unread
    if unread > _MOST_UNREAD:  # what it has read is old, and says nothing of now
        return f"this lab is behind: {unread} answers wait to be read, the machine is too busy for it"
    macs = watch.macs(_STEADY_SECONDS)
    if len(macs) != 1:
        return f"{len(macs)} hosts answer ARP; {lab.subject.trouble() or 'the nodes say that all is well'}"
    return f"no or few answers to {' and '.join(watch.unanswered(_STEADY_SECONDS, lab.nodes))}"


def run_round(
    lab: Lab,
    watch: Watch,
    fault: Fault,
    holder: str,
    timeout: float,
    *,
    keep_open: int = 0,
    hold: float = HOLD_SECONDS,
    say: Callable[[str], None] = lambda text: None,
) -> Round:
    """Let `fault` happen to the holder, wait for a successor, repair, wait until the cluster is whole.

    The cluster must be whole. The fault lasts 0.3 s and `hold` seconds after somebody took over. `say` is told what
    goes on.

    :raises KubevipError: when the cluster is not whole within `timeout` seconds after the repair.
    """
    probers = watch.probers
    with ExitStack() as stack:
        held = stack.enter_context(watch.held(keep_open)) if keep_open else None
        started, at = monotonic(), datetime.now(UTC)
        watch.forget(started - _BEFORE_SECONDS)
        say(f"{holder} {fault.done}")
        fault.inject(lab, holder)

        def successor() -> str | None:
            names = {lab.node_of(mac) for mac in watch.macs(_STEADY_SECONDS)}
            may_be_the_same = fault.may_stay and monotonic() - started > _STAY_SECONDS
            return next((name for name in names if name != holder or may_be_the_same), None)

        is_taken = watch.pump(timeout, lambda: successor() is not None and not watch.unanswered(_STEADY_SECONDS))
        after = successor() if is_taken else None
        say(f"{after} answers now" if after else f"nobody took over from {holder} within {timeout:.0f} s")
        watch.pump(hold)
        ended = [each.received for each in held.since(started, CLOSED)] if held else []
    others = [node for node in lab.nodes if node != holder]
    unanswered = watch.unanswered(_STEADY_SECONDS, others)
    repaired = monotonic()
    say(f"{holder} {fault.undone}; waiting until all nodes take part again")
    fault.repair(lab, holder)
    wait_until_whole(lab, watch, timeout)
    watch.pump(_AFTER_SECONDS)
    finished = monotonic()
    watch.pump(_FLUSH_SECONDS)

    def silence(name: str, start: float, end: float) -> Silence:
        return longest_silence(probers[name].since(0), start, end)

    outage, tcp_outage = silence("icmp", started, repaired), silence("http", started, repaired)
    followers = [silence(f"icmp {node}", started, repaired).seconds for node in others]
    late = [each.received - each.sent for prober in probers.values() for each in prober.since(started, LATE)]
    return Round(
        fault=fault.name,
        at=at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        holder_before=holder,
        holder_after=after,
        outage_ms=_milliseconds(outage.seconds),
        outage_after_ms=_milliseconds(outage.start - started),
        tcp_outage_ms=_milliseconds(tcp_outage.seconds),
        tcp_outage_after_ms=_milliseconds(tcp_outage.start - started),
        follower_outage_ms=_milliseconds(max(followers, default=0.0)),
        repair_outage_ms=_milliseconds(max(silence(name, repaired, finished).seconds for name in ("icmp", "http"))),
        unanswered=unanswered,
        two_holders_ms=_milliseconds(two_holders_seconds(probers["arp"].since(0), watch.interval)),
        refused=len(probers["http"].since(started, REFUSED)),
        kept_open=keep_open,
        ended=len(ended),
        ended_ms=_milliseconds(max(ended) - started if ended else 0.0),
        prober_late_ms=_milliseconds(max(late, default=0.0)),
    )


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
