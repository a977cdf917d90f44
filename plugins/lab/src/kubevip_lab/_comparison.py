"""Figures of several subjects and faults side by side: rows for machines, a table for people."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from attrs import asdict, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kubevip_lab._failover import Figures
    from kubevip_lab._machine import Machine
    from kubevip_lab._round import Round

_WIDTHS = (20, 12, 9, 9, 9, 12)


@frozen(kw_only=True)
class Row:
    """One figure: the median and worst of a subject's rounds of one case, beside a peer's median.

    `ratio` is the subject's median divided by the peer's: below 1 the subject is quicker. None without a peer.
    `two_holders` is the worst time with two that answered, in the same unit.
    """

    case: str
    subject: str
    median: float
    worst: float
    unit: str
    two_holders: float
    peer: str | None = None
    ratio: float | None = None


def compare(figures: Iterable[Figures]) -> list[Row]:
    """Return a row for each fault, way of asking and subject, in the order of the figures.

    The first subject of a fault is compared with the second; the others stand alone.
    """
    by_fault: dict[str, list[Figures]] = {}
    for each in figures:
        by_fault.setdefault(each.fault, []).append(each)
    return [
        row
        for fault, measured in by_fault.items()
        for asked in ("ping", "HTTP")
        for row in _rows(f"{fault}, {asked}", measured, asked)
    ]


def _rows(case: str, measured: Sequence[Figures], asked: str) -> list[Row]:
    medians = [median(_outages(each.rounds, asked)) for each in measured]
    has_peer = len(measured) > 1
    return [
        Row(
            case=case,
            subject=each.subject,
            median=round(middle, 1),
            worst=max(_outages(each.rounds, asked)),
            unit="ms",
            two_holders=each.two_holders_ms,
            peer=measured[1].subject if has_peer and index == 0 else None,
            ratio=round(middle / medians[1], 2) if has_peer and index == 0 and medians[1] else None,
        )
        for index, (each, middle) in enumerate(zip(measured, medians, strict=True))
    ]


def _outages(rounds: Sequence[Round], asked: str) -> list[float]:
    return [each.outage_ms if asked == "ping" else each.tcp_outage_ms for each in rounds]


@frozen(kw_only=True)
class Comparison:
    """Several faults, perhaps of two subjects; what counts is how the first subject fared."""

    machine: Machine
    timing: str
    figures: tuple[Figures, ...]

    @property
    def is_good(self) -> bool:
        """Whether every round of the first subject was good."""
        return all(each.is_good for each in self.figures if each.subject == self.figures[0].subject)

    def report(self) -> dict[str, object]:
        """Return the object that `--json` prints: that of the one measurement, or rows and all measurements."""
        about: dict[str, object] = {"machine": asdict(self.machine), "timing": self.timing}
        if len(self.figures) == 1:
            return {**self.figures[0].report(), **about}
        rows = [asdict(row) for row in compare(self.figures)]
        return {**about, "rows": rows, "measurements": [each.report() for each in self.figures]}

    def table(self) -> list[str]:
        """Return the rows as lines for people, with a heading."""
        lines = [_line(("CASE", "SUBJECT", "MEDIAN", "WORST", "RATIO", "TWO HOLDERS"))]
        for row in compare(self.figures):
            ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
            cells = (f"{row.median:.1f} ms", f"{row.worst:.1f} ms", ratio, f"{row.two_holders:.0f} ms")
            lines.append(_line((row.case, row.subject, *cells)))
        return lines


def _line(cells: tuple[str, ...]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
