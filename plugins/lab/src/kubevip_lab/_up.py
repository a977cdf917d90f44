"""`kubevip lab up`: the lab stays, and a person looks around in a shell on one of its hosts."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from kubevip.errors import KubevipError
from kubevip_lab._host import DEVICE

if TYPE_CHECKING:
    from pathlib import Path

    from kubevip_lab._lab import Lab
    from kubevip_lab._network import Network


def open_shell(lab: Lab, host: str, directory: Path) -> int:
    """Run the user's shell on `host` until it ends; returns its exit status.

    In it `on HOST COMMAND` runs a command on another host and KUBEVIP_LAB names the directory of the nodes' files.

    :raises KubevipError: when there is no such host.
    """
    if host not in lab.network.hosts:
        raise KubevipError(f"no host is called {host!r}; there are {', '.join(lab.network.hosts)}")
    programs = directory / "bin"
    programs.mkdir()
    _write_on(programs / "on", lab.network)
    node = lab.nodes[0]
    print(f"a shell on {host}; its end is the end of the lab. Files and logs of the nodes are in $KUBEVIP_LAB.")
    print(f"  on {node} ip address show {DEVICE}")
    print(f"  kubevip status --state-dir $KUBEVIP_LAB/{node}", flush=True)
    # Ctrl-C is for what runs in the shell. A handler, unlike SIG_IGN, does not pass to the shell.
    signal.signal(signal.SIGINT, lambda number, frame: None)
    environment = {
        **os.environ,
        "KUBEVIP_LAB": str(directory),
        "PATH": f"{programs}:{os.environ.get('PATH', os.defpath)}",
    }
    return lab.network.hosts[host].run_interactively([os.environ.get("SHELL", "/bin/sh")], environment)


def _write_on(path: Path, network: Network) -> None:
    """Write the program `on`: namespaces have no names here, but the first process has them open."""
    cases = "".join(f"{host.name}) fd={host.namespace} ;;\n" for host in network.hosts.values())
    names = " ".join(network.hosts)
    path.write_text(
        "#!/bin/sh\n"
        f'case "$1" in\n{cases}*) echo "usage: on HOST COMMAND...; hosts: {names}" >&2; exit 2 ;;\nesac\n'
        'shift\nexec nsenter --net="/proc/1/fd/$fd" "$@"\n'
    )
    path.chmod(0o755)
