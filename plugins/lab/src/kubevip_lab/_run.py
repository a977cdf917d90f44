"""Carries out `kubevip lab ...`: a run directory, a sandbox, the lab in it, and what is left to say afterwards."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab._comparison import Comparison
from kubevip_lab._demo import demonstrate
from kubevip_lab._failover import measure
from kubevip_lab._keepalived import find_keepalived, prepare_keepalived
from kubevip_lab._kubevip import prepare_kubevip
from kubevip_lab._lab import VIP, VIP_PORT, open_lab, plan
from kubevip_lab._machine import look_at_machine
from kubevip_lab._run_directory import KEEP, run_directory
from kubevip_lab._sandbox import INTERRUPTED, Interrupted, call
from kubevip_lab._show import open_show
from kubevip_lab._up import open_shell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator, Mapping

    from kubevip_lab._failover import Figures
    from kubevip_lab._lab import Lab, Plan
    from kubevip_lab._network import Network
    from kubevip_lab._show import Show
    from kubevip_lab._subject import Subject

PEERS: Mapping[str, Callable[[Network, Plan, Path], Subject]] = {"keepalived": prepare_keepalived}
"""What kubevip can be compared with."""

_CANNOT = {("keepalived", "move")}
_DEMO_NODES = 3
_LOG_LINES = 15


def run_command(args: argparse.Namespace) -> int:
    """Run the subcommand in a sandbox; returns its exit status.

    When a takeover failed or the lab could not be brought up, the end of each node's log is shown, and the run
    directory stays until the next run.

    :raises NotPermittedError: when the machine refuses namespaces or devices, or lacks a program.
    :raises KubevipError: when a cluster did not become whole.
    """
    if getattr(args, "against", None) == "keepalived":
        find_keepalived()
    with run_directory() as directory:
        try:
            outcome = call(partial(_in_sandbox, args, directory))
        except Interrupted:
            return INTERRUPTED
        except NotPermittedError:
            raise
        except KubevipError:
            if getattr(args, "logs", None):
                _copy_logs(directory, Path(args.logs))
            _show_logs(directory)
            raise
        if getattr(args, "logs", None):
            _copy_logs(directory, Path(args.logs))
        if "report" in outcome and args.json:
            print(json.dumps(outcome["report"], indent=2))
        if not outcome["is_good"]:
            _show_logs(directory)
        return 0 if outcome["is_good"] else 1


def _in_sandbox(args: argparse.Namespace, directory: Path) -> dict[str, Any]:
    """Build the lab and do what was asked for; returns `is_good` and perhaps a `report`."""
    if args.lab_command == "up":
        with _lab(args, plan(args.nodes), directory) as lab:
            open_shell(lab, args.host, directory)
        return {"is_good": True}
    with open_show(is_quiet=args.json) as show:
        run = {"demo": _demo, "failover": _failover}[args.lab_command]
        result = run(args, directory, show)
        return {"is_good": result.is_good, "report": result.report()}


class Result(Protocol):
    """What came out of a subcommand."""

    @property
    def is_good(self) -> bool:
        """Whether the exit status is 0."""
        ...

    def report(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        ...


def _demo(args: argparse.Namespace, directory: Path, show: Show) -> Result:
    with _lab(args, plan(_DEMO_NODES), directory, show.say) as lab:
        return demonstrate(lab, show)


def _failover(args: argparse.Namespace, directory: Path, show: Show) -> Result:
    """Measure fault after fault, each in a lab of its own, so that none inherits anything; peers by turns."""
    machine = look_at_machine(directory)
    show.say(machine.describe())
    subjects = [None] if args.against is None else [None, args.against]
    cases = [(fault, subject) for fault in args.fault for subject in subjects if (subject, fault) not in _CANNOT]
    figures: list[Figures] = []
    for fault, subject in cases:
        place = directory if len(cases) == 1 else directory / f"{fault}-{subject or 'kubevip'}"
        place.mkdir(mode=0o700, exist_ok=True)
        what = plan(args.nodes, serves_on_nodes=subject is not None)
        with _lab(args, what, place, show.say, subject) as lab:
            figures.append(
                measure(
                    lab,
                    show,
                    fault=fault,
                    rounds=args.rounds,
                    interval=args.interval,
                    timeout=args.timeout,
                    keep_open=args.keep_open,
                    timelines=place if args.logs else None,
                )
            )
    result = Comparison(machine=machine, timing=args.timing, figures=tuple(figures))
    if len(figures) > 1:
        for line in result.table():
            show.say(line)
    return result


@contextmanager
def _lab(
    args: argparse.Namespace, what: Plan, directory: Path, say: Callable[[str], None] = print, peer: str | None = None
) -> Generator[Lab]:
    """Build a lab of kubevip, or of a peer, and say what it is."""

    def make(network: Network, what: Plan) -> Subject:
        if peer is not None:
            return PEERS[peer](network, what, directory)
        file = getattr(args, "config", None)
        timing = getattr(args, "timing", "default")
        config = Path(file).resolve() if file else None
        return prepare_kubevip(network, what, directory, args.format, config, timing, is_insecure=args.insecure)

    with open_lab(what, make) as lab:
        for line in _description(lab):
            say(line)
        yield lab


def _description(lab: Lab) -> tuple[str, ...]:
    def hosts(names: tuple[str, ...]) -> str:
        return ", ".join(f"{name} {lab.network.hosts[name].address}" for name in names)

    others = (lab.client.name, lab.watcher.name)
    return (
        f"{lab.subject.name} runs on {hosts(lab.nodes)}",
        f"virtual IP {VIP}, port {VIP_PORT} balanced over {hosts(lab.backends)}; other hosts {hosts(others)}",
    )


def _copy_logs(directory: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in (*directory.rglob("*.log"), *directory.rglob("round-*.txt")):
        place = target / path.relative_to(directory)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place)


def _show_logs(directory: Path) -> None:
    (directory / KEEP).touch()
    print(f"files and logs of this run: {directory} (until the next run)", file=sys.stderr)
    for log in sorted(directory.rglob("*.log")):
        lines = log.read_text(errors="replace").splitlines()
        alarming = [line for line in lines[:-_LOG_LINES] if " WARNING " in line or " ERROR " in line]
        shown = (f"--- {log.relative_to(directory)}", *alarming[:_LOG_LINES], *lines[-_LOG_LINES:])
        print(*shown, sep="\n", file=sys.stderr)
