"""Carries out `kubevip lab ...`: a run directory, a sandbox, the lab in it, and what is left to say afterwards."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab._demo import demonstrate
from kubevip_lab._failover import measure
from kubevip_lab._kubevip import prepare_kubevip
from kubevip_lab._lab import VIP, VIP_PORT, open_lab, plan
from kubevip_lab._run_directory import KEEP, run_directory
from kubevip_lab._sandbox import INTERRUPTED, Interrupted, call
from kubevip_lab._show import open_show
from kubevip_lab._up import open_shell

if TYPE_CHECKING:
    import argparse

    from kubevip_lab._demo import Demonstration
    from kubevip_lab._failover import Figures
    from kubevip_lab._lab import Lab, Plan
    from kubevip_lab._network import Network
    from kubevip_lab._subject import Subject

_DEMO_NODES = 3
_LOG_LINES = 15


def run_command(args: argparse.Namespace) -> int:
    """Run the subcommand in a sandbox; returns its exit status.

    When a takeover failed or the lab could not be brought up, the end of each node's log is shown, and the run
    directory stays until the next run.

    :raises NotPermittedError: when the machine refuses namespaces or devices.
    :raises KubevipError: when a cluster did not become whole.
    """
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
    what = plan(_DEMO_NODES if args.lab_command == "demo" else args.nodes)
    with open_lab(what, lambda network, what: _subject(args, network, what, directory)) as lab:
        if args.lab_command == "up":
            print(*_description(lab), sep="\n")
            open_shell(lab, args.host, directory)
            return {"is_good": True}
        with open_show(is_quiet=args.json) as show:
            for line in _description(lab):
                show.say(line)
            result: Demonstration | Figures
            if args.lab_command == "demo":
                result = demonstrate(lab, show)
            else:
                result = measure(
                    lab,
                    show,
                    fault=args.fault,
                    rounds=args.rounds,
                    interval=args.interval,
                    timeout=args.timeout,
                    keep_open=args.keep_open,
                    timelines=directory if args.logs else None,
                )
    return {"is_good": result.is_good, "report": result.report()}


def _subject(args: argparse.Namespace, network: Network, what: Plan, directory: Path) -> Subject:
    config = getattr(args, "config", None)
    return prepare_kubevip(network, what, directory, args.format, Path(config).resolve() if config else None)


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
    for path in (*directory.glob("*.log"), *directory.glob("round-*.txt")):
        shutil.copy(path, target)


def _show_logs(directory: Path) -> None:
    (directory / KEEP).touch()
    print(f"files and logs of this run: {directory} (until the next run)", file=sys.stderr)
    for log in sorted(directory.glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()
        alarming = [line for line in lines[:-_LOG_LINES] if " WARNING " in line or " ERROR " in line]
        print(f"--- {log.name}", *alarming[:_LOG_LINES], *lines[-_LOG_LINES:], sep="\n", file=sys.stderr)
