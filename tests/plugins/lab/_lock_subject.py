"""A trivial subject: whoever has a lock on a shared file holds the address.

The kernel frees the lock when its owner dies, so a killed control process is succeeded at once; a frozen one keeps it.
The parent takes the address down when the control process dies. When all are killed at once nobody does, so that the
address stays on two hosts: the lab has to notice.

Run as a program: `python _lock_subject.py LOCK ADDRESS PORT NAME`.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import define, field

from kubevip.errors import KubevipError
from kubevip_lab._daemon import Daemon
from kubevip_lab._host import DEVICE
from kubevip_lab._lab import VIP_PORT

if TYPE_CHECKING:
    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network


@define
class LockSubject:
    daemons: dict[str, Daemon] = field(factory=dict[str, Daemon])
    name: str = "lock"

    def control_process(self, node: str) -> int | None:
        return max(self.daemons[node].children(), default=None)  # the other one is the web server

    def move(self, node: str, to: str) -> None:
        raise KubevipError("a lock cannot be moved")

    def move_command(self, node: str, to: str, number: int) -> tuple[str, ...]:
        return ()

    def revive(self) -> None:
        pass

    def trouble(self) -> str:
        missing = [name for name, daemon in self.daemons.items() if not daemon.children()]
        return f"{missing[0]} does not run" if missing else ""


def prepare(network: Network, plan: Plan, directory: Path) -> LockSubject:
    subject = LockSubject()
    for node in plan.nodes:
        arguments = [sys.executable, __file__, str(directory / "leader"), str(plan.vip), str(VIP_PORT), node]
        subject.daemons[node] = Daemon(host=network.hosts[node], arguments=arguments, log=directory / f"{node}.log")
    return subject


def _set_address(address: str, *, up: bool) -> None:
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    with IPRoute() as plain:
        route: Any = plain
        device = route.link_lookup(ifname=DEVICE)[0]
        try:
            route.addr("add" if up else "del", index=device, address=address, prefixlen=32)
        except NetlinkError:
            return  # as it was
    if up:
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
            sender.bind((DEVICE, 0x0806))
            mac, vip = sender.getsockname()[4], socket.inet_aton(address)
            ethernet = b"\xff" * 6 + mac + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
            sender.send(ethernet + mac + vip + bytes(6) + vip)


def _control(lock: str, address: str) -> None:
    def leave(number: int, frame: object) -> None:
        _set_address(address, up=False)
        os._exit(0)

    import pyroute2  # noqa: F401 - now, not at the moment of taking over

    with Path(lock).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        signal.signal(signal.SIGTERM, leave)
        _set_address(address, up=True)
        while True:
            signal.pause()


def _keep(lock: str, address: str, port: str, name: str) -> None:
    _set_address(address, up=False)
    web = subprocess.Popen([sys.executable, "-m", "kubevip_lab._backend", name, "0.0.0.0", port])
    while True:
        control = os.fork()
        if control == 0:
            _control(lock, address)

        def leave(number: int, frame: object, control: int = control) -> None:
            web.kill()
            web.wait()
            os.kill(control, signal.SIGTERM)
            os.waitpid(control, 0)
            os._exit(0)

        signal.signal(signal.SIGTERM, leave)
        os.waitpid(control, 0)
        _set_address(address, up=False)
        time.sleep(0.3)  # noqa: TID251 - a program of its own; time for another to take over


if __name__ == "__main__":
    _keep(*sys.argv[1:])
