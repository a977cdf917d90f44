"""What a person sees while rounds run: lines in a pipe, a live table on a terminal, nothing with `--json`."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from kubevip_lab._faults import FAULTS

if TYPE_CHECKING:
    from collections.abc import Generator

    from kubevip_lab._round import Round

_HEADINGS = ("WHAT HAPPENED", "NEXT", "PING SILENT", "HTTP SILENT", "TWO HOLDERS")
_WIDTHS = (33, 6, 11, 11, 11)


class Show(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """Tell what is going on, one line."""

    def add(self, result: Round) -> None:
        """Show the figures of a round that is over."""


class Quiet:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Ignore it."""

    def add(self, result: Round) -> None:
        """Ignore it."""


class Lines:
    """Writes a line for everything that happens, with the seconds since the start."""

    def __init__(self) -> None:
        self._start = monotonic()
        self._has_heading = False

    def say(self, text: str) -> None:
        """Write one line."""
        print(f"{monotonic() - self._start:5.1f} s  {text}", flush=True)

    def add(self, result: Round) -> None:
        """Write one row of the table."""
        if not self._has_heading:
            print(_line(_HEADINGS), flush=True)
            self._has_heading = True
        print(_line(_row(result)), flush=True)


class Live:
    """A table that grows on a terminal, under it what is going on."""

    def __init__(self) -> None:
        from rich.console import Group
        from rich.live import Live as RichLive
        from rich.table import Table
        from rich.text import Text

        self._group, self._text = Group, Text
        self._table = Table(*_HEADINGS)
        self._live = RichLive(auto_refresh=False)
        self._start = monotonic()

    def say(self, text: str) -> None:
        """Replace the line under the table."""
        status = self._text(f"{monotonic() - self._start:5.1f} s  {text}", style="dim")
        self._live.update(self._group(self._table, status) if self._table.rows else status, refresh=True)

    def add(self, result: Round) -> None:
        """Add a row."""
        self._table.add_row(*_row(result), style="" if result.is_good else "bold red")
        self.say("")

    @contextmanager
    def shown(self) -> Generator[Live]:
        """Be on the terminal inside the block."""
        with self._live:
            yield self


@contextmanager
def open_show(is_quiet: bool, is_table: bool = True) -> Generator[Show]:
    """Choose: nothing when `is_quiet`, a live table when there is one and standard output a terminal, else lines."""
    if is_quiet:
        yield Quiet()
    elif is_table and sys.stdout.isatty():
        with Live().shown() as live:
            yield live
    else:
        yield Lines()


def _row(result: Round) -> tuple[str, ...]:
    return (
        f"{result.holder_before} {FAULTS[result.fault].done}",
        result.holder_after or "nobody",
        f"{result.outage_ms:.0f} ms",
        f"{result.tcp_outage_ms:.0f} ms",
        f"{result.two_holders_ms:.0f} ms",
    )


def _line(cells: tuple[str, ...]) -> str:
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, _WIDTHS, strict=True)).rstrip()
