"""What a run of random faults showed: a verdict, figures, a picture of who held what when. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from attrs import asdict, frozen

from kubevip_lab._holding import longest_gap
from kubevip_lab._picture import Bar, Panel, Row, picture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubevip_lab._holding import Overlap, Stretch
    from kubevip_lab._schedule import Step

_COLOURS = ("#4477aa", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee9944", "#777777", "#44aa99", "#882255")
_FAULT_COLOURS = {
    "term": "#bbbbbb",
    "kill": "#ee6677",
    "killall": "#cc3311",
    "freeze": "#88ccee",
    "cut": "#ddaa33",
    "partition": "#aa8844",
    "oneway": "#bbaa77",
    "poweroff": "#222222",
    "move": "#009988",
}
_RED = "#ff0000"


@frozen(kw_only=True)
class ChaosReport:
    """All that was seen between `start` and `end`, readings of one clock in seconds.

    `trouble` is what was still missing at the end, "" when the cluster was whole again, `recovery_seconds` after the
    last repair; `ended` names daemons that ended by themselves, or did not when told to.
    """

    subject: str
    nodes: tuple[str, ...]
    addresses: tuple[str, ...]
    seed: int
    start: float
    end: float
    steps: tuple[Step, ...]
    stretches: tuple[Stretch, ...]
    overlaps: tuple[Overlap, ...]
    trouble: str
    recovery_seconds: float
    ended: tuple[str, ...]
    late_seconds: float

    @property
    def is_good(self) -> bool:
        """Whether never two held an address, no daemon ended, and the cluster was whole again."""
        return not self.overlaps and not self.ended and not self.trouble

    @property
    def seconds(self) -> float:
        """How long it was watched."""
        return self.end - self.start

    def report(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        return {
            "is_good": self.is_good,
            "subject": self.subject,
            "seed": self.seed,
            "seconds": round(self.seconds, 1),
            "nodes": self.nodes,
            "faults": [str(step) for step in self.steps],
            "addresses": [self._about(address) for address in self.addresses],
            "two_holders": [
                {**asdict(each), "start": round(each.start - self.start, 4), "end": round(each.end - self.start, 4)}
                for each in self.overlaps
            ],
            "recovery_seconds": round(self.recovery_seconds, 2),
            "trouble": self.trouble,
            "ended": self.ended,
            "watcher_late_ms": round(self.late_seconds * 1000, 1),
        }

    def summary(self) -> Iterator[str]:
        """Yield what a person wants to know, a line each."""
        yield f"{len(self.steps)} faults in {self.seconds:.0f} s, seed {self.seed}"
        for address in self.addresses:
            about = self._about(address)
            yield (
                f"{address}: {about['holders']} times a new holder, nobody for {about['unheld_percent']} % of the time,"
                f" at most {about['longest_ms']} ms"
            )
        for each in self.overlaps:
            at, hosts = each.start - self.start, " and ".join(each.hosts)
            yield f"TWO HOLDERS of {each.address}: {hosts} at {at:.4f} s for {each.seconds * 1000:.1f} ms"
        yield from self.ended
        if self.trouble:
            yield f"the cluster did not become whole within {self.recovery_seconds:.0f} s: {self.trouble}"
        else:
            yield f"whole again {self.recovery_seconds:.1f} s after the last repair"
        yield "never did two nodes hold an address" if not self.overlaps else f"{len(self.overlaps)} times two held one"

    def _about(self, address: str) -> dict[str, object]:
        mine = [each for each in self.stretches if each.address == address]
        longest, total = longest_gap(mine, address, self.start, self.end)
        hosts = [each.host for each in sorted(mine, key=lambda each: each.start)]
        return {
            "address": address,
            "holders": sum(before != after for before, after in pairwise(hosts)),
            "unheld_percent": round(100 * total / max(self.seconds, 1e-9), 1),
            "longest_ms": round(longest * 1000, 1),
        }

    def svg(self) -> str:
        """Return the picture: who held each address when, what happened to whom."""
        colours = dict(zip(self.nodes, _COLOURS, strict=False))
        panels = [
            Panel(title=address, rows=tuple(self._holding_row(address, node, colours[node]) for node in self.nodes))
            for address in self.addresses
        ]
        legend = tuple((colour, fault) for fault, colour in _FAULT_COLOURS.items())
        panels.append(Panel(title="faults", rows=tuple(self._fault_row(node) for node in self.nodes), legend=legend))
        title = f"{self.subject}, seed {self.seed}: " + ("two holders" if self.overlaps else "never two holders")
        return picture(title, tuple(panels), self.seconds)

    def _holding_row(self, address: str, node: str, colour: str) -> Row:
        held = [
            Bar(start=each.start - self.start, end=each.end - self.start, colour=colour, text=f"{node} holds {address}")
            for each in self.stretches
            if (each.address, each.host) == (address, node)
        ]
        twice = [
            Bar(start=each.start - self.start, end=each.end - self.start, colour=_RED, text=" and ".join(each.hosts))
            for each in self.overlaps
            if each.address == address and node in each.hosts
        ]
        return Row(label=node, bars=(*held, *twice))

    def _fault_row(self, node: str) -> Row:
        bars = [
            Bar(
                start=step.at,
                end=step.at if step.until is None else step.until,
                colour=_FAULT_COLOURS[step.fault],
                text=str(step),
            )
            for step in self.steps
            if step.node == node
        ]
        return Row(label=node, bars=tuple(bars))
