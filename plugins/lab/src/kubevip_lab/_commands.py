"""What each subcommand of `kubevip lab` does inside the sandbox."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from kubevip_lab._api_server import open_api_server
from kubevip_lab._chaos import run_chaos
from kubevip_lab._comparison import Comparison
from kubevip_lab._demo import demonstrate
from kubevip_lab._failover import measure
from kubevip_lab._idle import measure_at_rest
from kubevip_lab._kubevip import prepare_kubevip
from kubevip_lab._lab import VIP, VIP_PORT, open_lab, plan
from kubevip_lab._load import run_load
from kubevip_lab._machine import look_at_machine
from kubevip_lab._peers import PEERS
from kubevip_lab._up import open_shell

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Generator, Mapping

    from kubevip_lab._api_server import ApiServer
    from kubevip_lab._failover import Figures
    from kubevip_lab._lab import Lab, Plan
    from kubevip_lab._network import Network
    from kubevip_lab._show import Show
    from kubevip_lab._subject import Subject

_DEMO_NODES = 3


class Result(Protocol):
    """What came out of a subcommand."""

    @property
    def is_good(self) -> bool:
        """Whether the exit status is 0."""
        ...

    def report(self) -> dict[str, object]:
        """Return the object that `--json` prints."""
        ...


def keep_up(args: argparse.Namespace, directory: Path) -> None:
    """Keep the lab running for a person."""
    with _lab(args, plan(args.nodes), directory) as lab:
        open_shell(lab, args.host, directory)


def demo(args: argparse.Namespace, directory: Path, show: Show) -> Result:
    with _lab(args, plan(_DEMO_NODES), directory, show.say) as lab:
        return demonstrate(lab, show)


def failover(args: argparse.Namespace, directory: Path, show: Show) -> Result:
    """Measure fault after fault, each in a lab of its own, so that none inherits anything; peers by turns."""
    machine = look_at_machine(directory)
    show.say(machine.describe())
    peers = [None] if args.against is None else [None, args.against]
    cases = [(fault, peer) for fault in args.fault for peer in peers if peer is None or fault not in PEERS[peer].cannot]
    figures: list[Figures] = []
    for fault, peer in cases:
        place = directory if len(cases) == 1 else directory / f"{fault}-{peer or 'kubevip'}"
        place.mkdir(mode=0o700, exist_ok=True)
        what = plan(args.nodes, serves_on_nodes=peer is not None)
        least_timeout = 0.0 if peer is None else PEERS[peer].least_timeout_seconds
        with _lab(args, what, place, show.say, peer) as lab:
            figures.append(
                measure(
                    lab,
                    show,
                    fault=fault,
                    rounds=args.rounds,
                    interval=args.interval,
                    timeout=max(args.timeout, least_timeout),
                    keep_open=args.keep_open,
                    hold=args.hold,
                    timelines=place if args.logs else None,
                )
            )
    result = Comparison(machine=machine, timing=args.timing, figures=tuple(figures))
    if len(figures) > 1:
        for line in result.table():
            show.say(line)
    return result


def chaos(args: argparse.Namespace, directory: Path, show: Show) -> Result:
    """Let random faults happen; write the picture whatever comes out."""
    seed = int.from_bytes(os.urandom(4), "big") if args.seed is None else args.seed
    what = plan(args.nodes, vips=args.vips)
    vips = (what.vip, *what.more_vips)
    show.say(look_at_machine(directory).describe())
    with _lab(args, what, directory, show.say) as lab:
        show.say(f"seed {seed}: `--seed {seed} --nodes {args.nodes} --vips {args.vips}` gives the same faults again")
        result = run_chaos(lab, show, vips, seed=seed, seconds=args.seconds, timeout=args.timeout)
    Path(args.picture).write_text(result.svg())
    for line in result.summary():
        show.say(line)
    show.say(f"who held what when: {args.picture}")
    return result


def idle(args: argparse.Namespace, directory: Path, show: Show) -> Result:
    """Measure what a cluster costs at rest."""
    show.say(look_at_machine(directory).describe())
    with _lab(args, plan(args.nodes), directory, show.say) as lab:
        result = measure_at_rest(lab, show, seconds=args.seconds, timeout=args.timeout, timing=args.timing)
    for line in result.table():
        show.say(line)
    return result


def load(args: argparse.Namespace, directory: Path, show: Show) -> Result:
    """Put a cluster under load and count who lost what it held."""
    show.say(look_at_machine(directory).describe())
    with _lab(args, plan(args.nodes, is_load=True), directory, show.say) as lab:
        result = run_load(lab, show, seconds=args.seconds, timeout=args.timeout, timing=args.timing)
    for line in result.summary():
        show.say(line)
    return result


@contextmanager
def _lab(
    args: argparse.Namespace, what: Plan, directory: Path, say: Callable[[str], None] = print, peer: str | None = None
) -> Generator[Lab]:
    """Build a lab of kubevip, or of a peer, and say what it is."""
    stack = ExitStack()
    servers: list[ApiServer] = []

    def make(network: Network, what: Plan) -> Subject:
        if getattr(args, "election", "raft") == "k8s" if peer is None else PEERS[peer].needs_api:
            servers.append(stack.enter_context(open_api_server(network, directory)))
        kubeconfig = servers[0].kubeconfig if servers else None
        if peer is not None:
            return PEERS[peer].prepare(network, what, directory, kubeconfig)
        file = getattr(args, "config", None)
        timing = getattr(args, "timing", "default")
        config = Path(file).resolve() if file else None
        return prepare_kubevip(
            network,
            what,
            directory,
            args.format,
            config,
            timing,
            is_insecure=args.insecure,
            kubeconfig=kubeconfig,
        )

    with stack, open_lab(what, make) as lab:
        for line in (*_description(lab), *(server.description for server in servers)):
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


COMMANDS: Mapping[str, Callable[[argparse.Namespace, Path, Show], Result]] = {
    "demo": demo,
    "failover": failover,
    "chaos": chaos,
    "idle": idle,
    "load": load,
}
"""The subcommands that have a result, by name."""
