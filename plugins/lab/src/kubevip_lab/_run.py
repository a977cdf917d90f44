"""Carries out `kubevip lab ...`: a run directory, a sandbox, the lab in it, and what is left to say afterwards."""

from __future__ import annotations

import json
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab._commands import COMMANDS, keep_up
from kubevip_lab._peers import PEERS
from kubevip_lab._run_directory import KEEP, run_directory
from kubevip_lab._sandbox import INTERRUPTED, Interrupted, call
from kubevip_lab._show import open_show

if TYPE_CHECKING:
    import argparse

_LOG_LINES = 15


def run_command(args: argparse.Namespace) -> int:
    """Run the subcommand in a sandbox; returns its exit status.

    When a takeover failed or the lab could not be brought up, the end of each node's log is shown, and the run
    directory stays until the next run.

    :raises NotPermittedError: when the machine refuses namespaces or devices, or lacks a program.
    :raises KubevipError: when a cluster did not become whole.
    """
    if peer := getattr(args, "against", None):
        PEERS[peer].find()
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
        keep_up(args, directory)
        return {"is_good": True}
    with open_show(is_quiet=args.json, is_table=args.lab_command in ("demo", "failover")) as show:
        result = COMMANDS[args.lab_command](args, directory, show)
        return {"is_good": result.is_good, "report": result.report()}


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
