"""What a node costs when nothing happens: memory of its processes, and the part of a CPU that they use.

Three nodes with raft, arp and tcp in network namespaces, as in the demonstration. `make bench-idle`; needs root.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from attrs import asdict
from report import Row, arguments, publish, row

from kubevip.control import Client
from kubevip.errors import KubevipError
from kubevip_lab._kubevip import Kubevip, prepare_kubevip
from kubevip_lab._lab import Plan, open_lab, plan
from kubevip_lab._network import Network
from kubevip_lab._run_directory import run_directory
from kubevip_lab._sandbox import call

WHOLE_SECONDS, SETTLE_SECONDS, STRETCH_SECONDS = 30.0, 5.0, 5.0

#: The resident memory of kube-vip 1.2.3 at rest, measured elsewhere.
PEER, PEER_MEGABYTES = "kube-vip 1.2.3", 45.7


def rest(seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 -- there is no event loop here


def memory(pid: int) -> tuple[float, float]:
    """Return the resident and the private megabytes of a process; a megabyte has a million bytes."""
    fields = dict.fromkeys(("Rss", "Private_Clean", "Private_Dirty"), 0)
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in fields:
            fields[name] = int(rest.split()[0]) * 1024
    return fields["Rss"] / 1e6, (fields["Private_Clean"] + fields["Private_Dirty"]) / 1e6


def cpu_seconds(pid: int) -> float:
    """Return what all threads of a process have used, to the nanosecond; the ticks of /proc/PID/stat are coarse."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def wait_until_whole(subject: Kubevip) -> str:
    """Return who holds the address, once somebody does."""
    end = time.monotonic() + WHOLE_SECONDS
    while trouble := subject.trouble():
        if time.monotonic() > end:
            raise KubevipError(f"the cluster was not whole within {WHOLE_SECONDS:.0f} s: {trouble}")
        rest(0.2)
    answer: Any = Client(next(iter(subject.state.values()))).request("status")
    return str(answer["groups"][0]["leader"])


def measure(directory: Path, rounds: int) -> list[dict[str, object]]:
    subject = Kubevip()

    def prepare(network: Network, what: Plan) -> Kubevip:
        nonlocal subject
        subject = prepare_kubevip(network, what, directory, "native")
        return subject

    with open_lab(plan(), prepare) as lab:
        holder = wait_until_whole(subject)
        rest(SETTLE_SECONDS)
        control = {node: subject.control_process(node) for node in lab.nodes}
        processes: dict[str, list[int]] = {"holder": [], "other nodes": [], "keeper": [], "worker": []}
        for node, pid in control.items():
            assert pid is not None
            processes["holder" if node == holder else "other nodes"].append(pid)
            processes["keeper"].append(subject.daemons[node].tree()[0])
            processes["worker"] += set(subject.daemons[node].tree()[1:]) - {pid}
        used: dict[int, list[float]] = {pid: [] for pids in processes.values() for pid in pids}
        for _ in range(rounds):
            before = {pid: cpu_seconds(pid) for pid in used}
            started = time.monotonic()
            rest(STRETCH_SECONDS)
            for pid, seconds in before.items():
                used[pid].append((cpu_seconds(pid) - seconds) / (time.monotonic() - started) * 100)
        rows: list[Row] = []
        for what, pids in processes.items():
            resident, private = zip(*map(memory, pids), strict=True)
            rows.append(row(f"{what}: resident", resident, "MB"))
            rows.append(row(f"{what}: private", private, "MB"))
            rows.append(row(f"{what}: CPU", [share for pid in pids for share in used[pid]], "%"))
    return [asdict(each) for each in rows]


def main(rounds: int) -> Sequence[Row]:
    with run_directory() as directory:
        found = call(partial(measure, directory, rounds))
    rows = [Row(**fields) for fields in found]  # type: ignore[arg-type]
    control = rows[0]
    return [
        Row(**{**asdict(control), "peer": PEER, "ratio": round(control.median / PEER_MEGABYTES, 2)}),
        *rows[1:],
    ]


if __name__ == "__main__":
    options = arguments(__doc__, rounds=4)
    publish(main(options.rounds), options.json)
    sys.exit(0)
