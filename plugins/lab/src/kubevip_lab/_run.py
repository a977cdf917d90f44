"""Carries out `kubevip lab ...`: a run directory, a sandbox, the lab in it, and what is left to say afterwards."""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from attrs import asdict

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab._failover import Figures, Round, run_round, wait_until_whole
from kubevip_lab._faults import FAULTS
from kubevip_lab._kubevip import prepare_kubevip
from kubevip_lab._lab import VIP, VIP_PORT, open_lab, plan
from kubevip_lab._run_directory import KEEP, run_directory
from kubevip_lab._sandbox import INTERRUPTED, Interrupted, call
from kubevip_lab._show import open_show
from kubevip_lab._watch import open_watch

if TYPE_CHECKING:
    import argparse
    from collections.abc import Generator

    from kubevip_lab._lab import Lab

_LOG_LINES = 15
_DEMO_FAULTS = ("term", "kill", "freeze", "cut")
_DEMO_INTERVAL = 0.01
_DEMO_SECONDS = 85.0
_DEMO_TIMEOUT = 15.0


def run_command(args: argparse.Namespace) -> int:
    """Run the subcommand in a sandbox; returns its exit status.

    :raises NotPermittedError: when the machine refuses namespaces or devices.
    :raises KubevipError: when the lab could not be brought up, or a cluster did not become whole; the nodes' last
        log lines have been shown then and their directory stays until the next run.
    """
    bodies = {"demo": _demo, "failover": _failover, "up": _up}
    with run_directory() as directory:
        try:
            outcome = call(partial(bodies[args.lab_command], args, directory))
        except Interrupted:
            return INTERRUPTED
        except NotPermittedError:
            raise
        except KubevipError:
            _show_logs(directory)
            raise
        if args.lab_command != "up" and args.json:
            print(json.dumps(outcome["report"], indent=2))
        if outcome["status"] == 1:
            _show_logs(directory)
        return int(outcome["status"])


def _failover(args: argparse.Namespace, directory: Path) -> dict[str, Any]:
    fault = FAULTS[args.fault]
    rounds: list[Round] = []
    with open_show(args.json) as show, _kubevip_lab(args, directory) as lab:
        show.say(_what(lab))
        with open_watch(lab.client, lab.watcher, VIP, VIP_PORT, args.interval) as watch:
            for number in range(args.rounds):
                holder = wait_until_whole(lab, watch, args.timeout)
                show.say(f"round {number + 1} of {args.rounds}: {holder} is hit: {fault.summary}")
                rounds.append(run_round(lab, watch, fault, holder, args.timeout, args.keep_open))
                show.add(f"{fault.name}: {fault.summary}", rounds[-1])
        figures = Figures(fault=fault.name, subject=lab.subject.name, rounds=tuple(rounds))
        report = figures.report()
        show.say(f"silent to ping: median {report['median_ms']} ms, worst {report['worst_ms']} ms")
    return {"status": 0 if all(each.is_good for each in rounds) else 1, "report": report}


def _demo(args: argparse.Namespace, directory: Path) -> dict[str, Any]:
    end = monotonic() + _DEMO_SECONDS
    rounds: list[Round] = []
    args.nodes = 3
    with open_show(args.json) as show, _kubevip_lab(args, directory) as lab:
        show.say(_what(lab))
        with open_watch(lab.client, lab.watcher, VIP, VIP_PORT, _DEMO_INTERVAL) as watch:
            started = monotonic()
            holder = wait_until_whole(lab, watch, _DEMO_TIMEOUT)
            watch.pump(_DEMO_TIMEOUT, lambda: len({each.by for each in watch.probers["http"].since(started)}) >= 3)
            backends = sorted({each.by for each in watch.probers["http"].since(started)})
            show.say(f"{holder} holds {VIP}; the client reaches {', '.join(backends)} through it")
            for name in _DEMO_FAULTS:
                fault = FAULTS[name]
                timeout = min(_DEMO_TIMEOUT, end - monotonic())
                holder = wait_until_whole(lab, watch, timeout)
                show.say(f"{holder} is hit: {fault.summary}")
                rounds.append(run_round(lab, watch, fault, holder, timeout))
                show.add(f"{fault.name}: {fault.summary}", rounds[-1])
            show.say("done" if all(each.is_good for each in rounds) else "failed")
    report = {
        "subject": "kubevip",
        "backends": backends,
        "rounds": [asdict(each) for each in rounds],
    }
    return {"status": 0 if all(each.is_good for each in rounds) and len(backends) == 3 else 1, "report": report}


def _up(args: argparse.Namespace, directory: Path) -> dict[str, Any]:
    with _kubevip_lab(args, directory) as lab:
        if args.host not in lab.network.hosts:
            raise KubevipError(f"no host is called {args.host}; there are {', '.join(lab.network.hosts)}")
        print(_what(lab), f"logs and state: {directory}", f"a shell on {args.host}; exit ends the lab", sep="\n")
        sys.stdout.flush()
        # Ctrl-C is for what runs in the shell; a handler, unlike SIG_IGN, is not inherited by it.
        signal.signal(signal.SIGINT, lambda number, frame: None)
        shell = os.environ.get("SHELL", "/bin/sh")
        lab.network.hosts[args.host].run_interactively([shell], {**os.environ, "KUBEVIP_LAB": str(directory)})
    return {"status": 0}


@contextmanager
def _kubevip_lab(args: argparse.Namespace, directory: Path) -> Generator[Lab]:
    config = getattr(args, "config", None)
    file = Path(config).resolve() if config else None
    with open_lab(
        plan(args.nodes),
        lambda network, what: prepare_kubevip(network, what, directory, args.format, file),
    ) as lab:
        yield lab


def _what(lab: Lab) -> str:
    hosts = ", ".join(f"{host.name} {host.address}" for host in lab.network.hosts.values())
    return f"{lab.subject.name} on {' '.join(lab.nodes)}; virtual IP {VIP} port {VIP_PORT}; hosts {hosts}"


def _show_logs(directory: Path) -> None:
    (directory / KEEP).touch()
    for log in sorted(directory.glob("*.log")):
        print(f"--- {log}", file=sys.stderr)
        for line in log.read_text(errors="replace").splitlines()[-_LOG_LINES:]:
            print(line, file=sys.stderr)
