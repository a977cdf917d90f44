"""How long a client is without an answer: every fault of the lab, kubevip beside another product.

`make bench-failover`, or python benchmarks/failover.py [--json FILE] [--rounds N] [--fault NAME]... [--timing NAME].
Needs root and the package keepalived; 30 rounds of all faults take a quarter of an hour. Elected by a Lease and beside
kube-vip: `make bench-failover ARGS="--election k8s --against kube-vip --rounds 3 --interval 10ms --hold 20s"`, with
kube-vip on PATH; four faults take twenty minutes, since what it leaves behind shows only after its Lease has ended.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from report import Row, argument_parser, publish

from kubevip_lab.plugin import ELECTIONS, FAULT_NAMES, PEER_NAMES, TIMINGS

FAULTS = tuple(name for name in FAULT_NAMES if name != "partition")  # clients still reach who is parted from its peers


LEASE_FAULTS = ("term", "kill", "freeze", "cut")


def run(rounds: int, faults: Sequence[str], arguments: Sequence[str]) -> tuple[list[Row], int]:
    """Return the rows, and the exit status of the measurement: 1 when a takeover failed or two nodes answered."""
    command = [sys.executable, "-P", "-m", "kubevip", "lab", "failover", "--json"]
    command += ["--rounds", str(rounds), *arguments]
    for fault in faults:
        command += ["--fault", fault]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)
    report: Any = json.loads(done.stdout)
    print(", ".join(f"{name} {value}" for name, value in report["machine"].items()), " ".join(arguments), sep=", ")
    rows: list[Row] = []
    for fields in report["rows"]:
        two_holders = fields.pop("two_holders")
        rows.append(Row(**fields))
        if fields["case"].endswith("HTTP"):
            case = fields["case"].replace("HTTP", "two that answer (worst)")
            subject = fields["subject"]
            rows.append(Row(case=case, subject=subject, median=two_holders, unit="ms", worst=two_holders))
    return rows, done.returncode


if __name__ == "__main__":
    parser = argument_parser(__doc__, rounds=30)
    parser.add_argument("--fault", action="append", choices=FAULT_NAMES, help="default: all but partition")
    parser.add_argument("--timing", choices=TIMINGS, default="default")
    parser.add_argument("--election", choices=ELECTIONS, default="raft")
    parser.add_argument("--against", choices=PEER_NAMES, default="keepalived")
    parser.add_argument("--interval", default="1ms", help="between questions")
    parser.add_argument("--hold", default="0.5s", help="how long a fault lasts after somebody took over")
    options = parser.parse_args()
    passed = ("timing", "election", "against", "interval", "hold")
    rows, status = run(
        options.rounds,
        options.fault or (LEASE_FAULTS if options.election == "k8s" else FAULTS),
        [word for name in passed for word in (f"--{name}", getattr(options, name))],
    )
    publish(rows, options.json)
    sys.exit(status)
