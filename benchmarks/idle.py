"""What a node costs when nothing happens: memory of its processes, and the part of a CPU that they use.

`make bench-idle`, or python benchmarks/idle.py [--json FILE] [--rounds N] [--timing NAME]: each round is a cluster of
its own that `kubevip lab idle` measures. Needs root.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from attrs import evolve
from report import Row, argument_parser, publish, row

from kubevip_lab.plugin import TIMINGS

SECONDS = 15

#: The resident memory of kube-vip 1.2.3 at rest, measured elsewhere.
PEER, PEER_MEGABYTES = "kube-vip 1.2.3", 45.7

FIGURES = (("resident_mb", "resident", "MB"), ("private_mb", "private", "MB"), ("cpu_percent", "CPU", "%"))


def processes_at_rest(timing: str) -> list[dict[str, Any]]:
    """Return what the lab measured of each process."""
    command = [sys.executable, "-P", "-m", "kubevip", "lab", "idle", "--json"]
    done = subprocess.run(
        [*command, "--seconds", str(SECONDS), "--timing", timing], stdout=subprocess.PIPE, check=False
    )
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)
    processes: list[dict[str, Any]] = json.loads(done.stdout)["processes"]
    return processes


def run(rounds: int, timing: str) -> Sequence[Row]:
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(rounds):
        for each in processes_at_rest(timing):
            what = each["role"] if each["process"] == "control" else each["process"]
            for field, name, unit in FIGURES:
                values[f"{what}: {name}", unit].append(each[field])
    rows = [row(case, found, unit) for (case, unit), found in values.items()]
    return [
        evolve(each, peer=PEER, ratio=round(each.median / PEER_MEGABYTES, 2))
        if each.case == "holder: resident"
        else each
        for each in rows
    ]


if __name__ == "__main__":
    parser = argument_parser(__doc__, rounds=3)
    parser.add_argument("--timing", choices=TIMINGS, default="default")
    options = parser.parse_args()
    publish(run(options.rounds, options.timing), options.json)
    sys.exit(0)
