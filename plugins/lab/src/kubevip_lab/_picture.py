"""Bars over time as an SVG picture: rows in panels under one another, with one axis. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

_LABELS, _MARGIN, _ROW, _TITLE, _AXIS, _LEGEND = 90, 12, 16, 26, 24, 80  # pixels
_LEAST_WIDTH, _PER_SECOND = 900, 12
_SMALLEST = 0.6  # pixels of a bar: an instant is to be seen
_STEPS = (0.1, 0.5, 1, 5, 10, 30, 60, 300, 600)


@frozen(kw_only=True)
class Bar:
    """From `start` to `end`, in seconds. `text` is shown when pointed at."""

    start: float
    end: float
    colour: str
    text: str = ""


@frozen(kw_only=True)
class Row:
    """A line of bars; later ones lie above earlier ones."""

    label: str
    bars: tuple[Bar, ...]


@frozen(kw_only=True)
class Panel:
    """Rows under a title, beside which `legend` says what colours mean: (colour, what)."""

    title: str
    rows: tuple[Row, ...]
    legend: tuple[tuple[str, str], ...] = ()


def picture(title: str, panels: tuple[Panel, ...], seconds: float) -> str:
    """Return an SVG document of the panels over 0..`seconds`."""
    width = max(_LEAST_WIDTH, round(seconds * _PER_SECOND))
    height = _TITLE + sum(_TITLE + _ROW * len(panel.rows) for panel in panels) + _AXIS
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + _LABELS + 2 * _MARGIN}" height="{height + _MARGIN}"'
        ' font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_MARGIN}" y="18" font-size="14">{escape(title)}</text>',
        *_panels(panels, width / max(seconds, 1e-9)),
        *_axis(seconds, width, height - _AXIS),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _panels(panels: tuple[Panel, ...], scale: float) -> Iterator[str]:
    top = _TITLE
    for panel in panels:
        yield f'<text x="{_MARGIN}" y="{top + 19}" font-weight="bold">{escape(panel.title)}</text>'
        for number, (colour, what) in enumerate(panel.legend):
            at = _MARGIN + _LABELS + number * _LEGEND
            yield f'<path d="M{at} {top + 10}h10v10h-10z" fill="{colour}"/>'
            yield f'<text x="{at + 14}" y="{top + 19}">{escape(what)}</text>'
        top += _TITLE
        for row in panel.rows:
            yield f'<text x="{_MARGIN}" y="{top + 12}">{escape(row.label)}</text>'
            for bar in row.bars:
                left, size = _MARGIN + _LABELS + bar.start * scale, max((bar.end - bar.start) * scale, _SMALLEST)
                shape = f'x="{left:.1f}" y="{top + 2}" width="{size:.1f}" height="{_ROW - 4}" fill="{bar.colour}"'
                yield f"<rect {shape}><title>{escape(bar.text)}</title></rect>"
            top += _ROW


def _axis(seconds: float, width: int, bottom: int) -> Iterator[str]:
    step = next((step for step in _STEPS if seconds / step <= width / 60), _STEPS[-1])
    left = _MARGIN + _LABELS
    yield f'<line x1="{left}" y1="{bottom}" x2="{left + width}" y2="{bottom}" stroke="black"/>'
    for number in range(int(seconds / step) + 1):
        x = left + number * step * width / max(seconds, 1e-9)
        yield f'<line x1="{x:.1f}" y1="{_TITLE}" x2="{x:.1f}" y2="{bottom + 4}" stroke="#ccc" stroke-width="0.5"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 17}" text-anchor="middle">{number * step:g} s</text>'
