"""`kubevip lab failover`: the same fault again and again, and what a client noticed of it."""

from __future__ import annotations

from contextlib import ExitStack, closing
from datetime import UTC, datetime
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from kubevip_lab._faults import FAULTS
from kubevip_lab._lab import CLIENT, VIP, WATCHER
from kubevip_lab._measure import stretches
from kubevip_lab._round import Round, run_round, wait_until_whole
from kubevip_lab._timeline import Wire, write_timeline
from kubevip_lab._watch import open_watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kubevip_lab._lab import Lab
    from kubevip_lab._show import Show
    from kubevip_lab._watch import Watch


_TIMELINE_SECONDS = 4.0

#: A first start on a busy machine takes longer than any takeover: a Lease that was never there is waited for.
START_SECONDS = 30.0


@frozen(kw_only=True)
class Figures:
    """All rounds of one fault."""

    fault: str
    subject: str
    interval_ms: float
    rounds: tuple[Round, ...]

    @property
    def is_good(self) -> bool:
        """Whether every round was."""
        return all(each.is_good for each in self.rounds)

    @property
    def two_holders_ms(self) -> float:
        """The longest time for which two answered ARP in a round."""
        return max(each.two_holders_ms for each in self.rounds)

    def report(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        outages = [each.outage_ms for each in self.rounds]
        tcp_outages = [each.tcp_outage_ms for each in self.rounds]
        return {
            "fault": self.fault,
            "subject": self.subject,
            "interval_ms": self.interval_ms,
            "rounds": [asdict(each) for each in self.rounds],
            "median_ms": round(median(outages), 1),
            "worst_ms": max(outages),
            "tcp_median_ms": round(median(tcp_outages), 1),
            "tcp_worst_ms": max(tcp_outages),
        }


def measure(
    lab: Lab,
    show: Show,
    *,
    fault: str,
    rounds: int,
    interval: float,
    timeout: float,
    keep_open: int,
    hold: float,
    timelines: Path | None = None,
) -> Figures:
    """Let one fault happen `rounds` times; probers ask every `interval` seconds. It lasts `hold` seconds or more.

    With `timelines` a directory, the second after each fault is written to `round-N.txt` in it: frames and log lines.

    :raises KubevipError: when the cluster is not whole within `timeout` seconds before a round or after one; before
        the first one START_SECONDS at least.
    """
    done: list[Round] = []
    with ExitStack() as stack:
        watch = stack.enter_context(open_watch(lab, interval))
        wire = None
        if timelines is not None:
            wire = stack.enter_context(closing(Wire(vip=VIP)))
            stack.enter_context(watch.reading(wire.fileno(), wire.take))
        for number in range(rounds):
            holder = wait_until_whole(lab, watch, timeout if number else max(timeout, START_SECONDS))

            def say(text: str, number: int = number) -> None:
                show.say(f"round {number + 1} of {rounds}: {text}")

            result = run_round(lab, watch, FAULTS[fault], holder, timeout, keep_open=keep_open, hold=hold, say=say)
            done.append(result)
            if wire is not None and timelines is not None:
                logs = [daemon.log for daemon in lab.subject.daemons.values()]
                at = datetime.fromisoformat(result.at)
                events = [*wire.frames, *_silences(result, at.timestamp()), *_claims(lab, watch)]
                write_timeline(timelines / f"round-{number + 1}.txt", events, logs, at, _TIMELINE_SECONDS)
                wire.frames.clear()
            show.add(result)
    figures = Figures(fault=fault, subject=lab.subject.name, interval_ms=round(interval * 1000, 3), rounds=tuple(done))
    report = figures.report()
    show.say(
        f"without an answer to ping: median {report['median_ms']} ms, worst {report['worst_ms']} ms;"
        f" to HTTP: median {report['tcp_median_ms']} ms, worst {report['tcp_worst_ms']} ms"
    )
    return figures


def _silences(result: Round, at: float) -> Iterator[tuple[float, str, str]]:
    """Yield when the client's longest silences began and ended, in wall-clock seconds."""
    for what, after, outage in (
        ("ping", result.outage_after_ms, result.outage_ms),
        ("HTTP", result.tcp_outage_after_ms, result.tcp_outage_ms),
    ):
        yield at + after / 1000, CLIENT, f"the longest silence to {what} begins"
        yield at + (after + outage) / 1000, CLIENT, f"the longest silence to {what} ends after {outage} ms"


def _claims(lab: Lab, watch: Watch) -> Iterator[tuple[float, str, str]]:
    """Yield when a host began and ceased to answer ARP for the address, in wall-clock seconds."""
    offset = datetime.now(UTC).timestamp() - monotonic()
    for mac, first, last in stretches(watch.probers["arp"].since(0), watch.interval):
        yield first.received + offset, WATCHER, f"{lab.node_of(mac)} answers ARP for {VIP}: first answer"
        yield last.received + offset, WATCHER, f"{lab.node_of(mac)} answers ARP for {VIP}: last answer"
