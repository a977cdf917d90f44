"""Rows of a benchmark: {case, subject, median, unit, worst, peer, ratio}.

`ratio` is the subject's median divided by the peer's; both are null without a peer.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import asdict, frozen

CLONE_NEWNET = 0x40000000


@frozen(kw_only=True)
class Row:
    case: str
    subject: str
    median: float
    unit: str
    worst: float
    peer: str | None = None
    ratio: float | None = None


def row(case: str, values: Sequence[float], unit: str, *, subject: str = "kubevip", peer: str | None = None) -> Row:
    return Row(case=case, subject=subject, median=statistics.median(values), unit=unit, worst=max(values), peer=peer)


def measure(case: str, rounds: int, act: Callable[[], object]) -> Row:
    """How long `act` takes, in microseconds, when it was done once before."""
    act()
    took: list[float] = []
    for _ in range(rounds):
        started = time.perf_counter()
        act()
        took.append((time.perf_counter() - started) * 1e6)
    return row(case, took, "us")


def publish(rows: Sequence[Row], file: Path | None) -> None:
    width = max(len(each.case) for each in rows)
    print(f"{'case':<{width}}  {'subject':<10}  {'median':>10}  {'worst':>10}")
    for each in rows:
        beside = "" if each.ratio is None else f"  {each.ratio:.2f} of {each.peer}"
        figures = f"{each.median:>10.4g}  {each.worst:>10.4g}  {each.unit}"
        print(f"{each.case:<{width}}  {each.subject:<10}  {figures}{beside}")
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps([asdict(each) for each in rows], indent=1) + "\n")


def arguments(description: str | None, *, rounds: int) -> argparse.Namespace:
    return argument_parser(description, rounds=rounds).parse_args()


def argument_parser(description: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """What every benchmark understands; a benchmark may add to it."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here")
    parser.add_argument("--rounds", type=int, default=rounds)
    return parser


def enter_network_namespace() -> None:
    """Leave the machine's network; exits with 77 where that is refused."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
        sys.exit(f"no network namespace: {os.strerror(ctypes.get_errno())}; try as root")
