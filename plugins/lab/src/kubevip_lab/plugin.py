"""Entry module of the lab: the command `kubevip lab`."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from kubevip import Command, hookimpl
from kubevip.errors import KubevipError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kubevip.control import Client

FAULT_NAMES = ("term", "kill", "killall", "freeze", "cut", "poweroff", "move", "partition")
PEER_NAMES = ("keepalived", "kube-vip")
ELECTIONS = ("raft", "k8s")
TIMINGS = ("default", "fast", "relaxed")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands and their options."""
    commands = parser.add_subparsers(dest="lab_command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="show the main job: three nodes, one address, one fault after another")
    demo.add_argument("--json", action="store_true", help="print the figures as one object")

    failover = commands.add_parser("failover", help="measure faults: how long is a client without an answer")
    failover.add_argument(
        "--fault", action="append", choices=FAULT_NAMES, required=True, help="may be given more than once"
    )
    failover.add_argument("--against", choices=PEER_NAMES, help="the same faults for another product as well")
    failover.add_argument("--rounds", type=_count(1, 1000), default=10, metavar="N", help="default: 10")
    failover.add_argument("--json", action="store_true", help="print the figures as one object")
    failover.add_argument(
        "--interval", type=_seconds, default=0.001, metavar="TIME", help="between questions, default and least: 1ms"
    )
    failover.add_argument(
        "--keep-open", type=_count(0, 10_000), default=0, metavar="N", help="open connections that the holder has"
    )
    failover.add_argument(
        "--hold",
        type=_seconds,
        default=0.5,
        metavar="TIME",
        help="how long a fault lasts at least after somebody took over, default: 500ms",
    )
    failover.add_argument(
        "--timeout", type=_seconds, default=15.0, metavar="TIME", help="for a successor, default: 15s"
    )

    chaos = commands.add_parser("chaos", help="random faults for minutes; fails when two nodes ever held an address")
    chaos.add_argument("--seconds", type=_count(1, 86_400), default=120, metavar="N", help="default: 120")
    chaos.add_argument("--seed", type=_count(0, 2**32 - 1), metavar="N", help="the same faults again; default: others")
    chaos.add_argument("--nodes", type=_count(3, 9), default=5, metavar="N", help="default: 5")
    chaos.add_argument("--vips", type=_count(1, 9), default=3, metavar="N", help="default: 3")
    chaos.add_argument(
        "--picture", default="kubevip-chaos.svg", metavar="FILE", help="who held what when; default: kubevip-chaos.svg"
    )
    chaos.add_argument("--timeout", type=_seconds, default=30.0, metavar="TIME", help="to be whole again, default: 30s")
    chaos.add_argument("--json", action="store_true", help="print the figures as one object")
    chaos.set_defaults(format="native")

    idle = commands.add_parser("idle", help="what every process costs while nothing happens")
    load = commands.add_parser("load", help="every processor busy, the proxy at full load: does anybody lose anything?")
    for command, seconds in ((idle, 60), (load, 60)):
        command.add_argument(
            "--seconds", type=_count(1, 86_400), default=seconds, metavar="N", help=f"default: {seconds}"
        )
        command.add_argument(
            "--timeout", type=_seconds, default=30.0, metavar="TIME", help="to become whole, default: 30s"
        )
        command.add_argument("--json", action="store_true", help="print the figures as one object")

    up = commands.add_parser("up", help="keep the lab running and open a shell on one of its hosts")
    up.add_argument("--config", metavar="FILE", help="a configuration file for all nodes instead of generated ones")
    up.add_argument("--host", default="client", metavar="NAME", help="n1.., b1.., client or watch; default: client")

    for command in (demo, failover, chaos, idle, load):
        command.add_argument("--logs", metavar="DIR", help="leave the nodes' logs and what happened when here")
    for command in (failover, idle, load, up):
        command.add_argument("--nodes", type=_count(1, 9), default=3, metavar="N", help="default: 3")
    for command in (demo, failover, idle, load, up):
        command.add_argument(
            "--format",
            choices=("original", "native"),
            help="of the nodes' files, default: original, native where --timing needs it",
        )
    for command in (failover, chaos, idle, load, up):
        command.add_argument("--timing", choices=TIMINGS, default="default", help="of raft; needs --format native")
    for command in (failover, idle, up):
        command.add_argument(
            "--election", choices=ELECTIONS, default="raft", help="k8s: by a Lease of a Kubernetes API; default: raft"
        )
    for command in (demo, failover, chaos, idle, load, up):
        command.add_argument(
            "--insecure", action="store_true", help="let the nodes speak plain TCP; default: keys made for this run"
        )


def run(args: argparse.Namespace, client: Client) -> int:
    """Carry out a subcommand; returns the exit status.

    :raises NotPermittedError: when the machine refuses the lab what it needs.
    """
    from kubevip_lab._run import run_command

    if getattr(args, "election", "raft") == "k8s":
        if args.format == "original" or args.timing != "default":
            raise KubevipError("--election k8s is for the native format, and knows no --timing of raft")
        args.format = "native"
    if args.format is None:
        args.format = "original" if getattr(args, "timing", "default") == "default" else "native"
    elif args.format == "original" and getattr(args, "timing", "default") != "default":
        raise KubevipError("the original format has no word for the timing: use --format native")
    return run_command(args)


def _count(least: int, most: int) -> type[int]:
    def parse(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"expected a number {least}-{most}, got {text!r}")
        return int(text)

    return parse  # type: ignore[return-value]  # argparse wants any callable


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a time such as 10ms or 2s, got {text!r}")
    seconds = float(match[1]) * (0.001 if match[2] == "ms" else 1.0)
    if seconds < 0.001:
        raise argparse.ArgumentTypeError(f"expected at least 1ms, got {text!r}")
    return seconds


LAB = Command(
    name="lab",
    summary="a whole network of hosts on this machine: demonstration, fault injection, measurement",
    configure=configure,
    run=run,
)


@hookimpl
def kubevip_commands() -> Iterable[Command]:
    """Provide `kubevip lab`."""
    yield LAB
