"""keepalived as the subject: one VRRP instance a node, tuned to be as quick as it can be, for comparison.

It balances nothing here; a small web server on every node (`Plan.serves_on_nodes`) answers at the address's port.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from attrs import define, field

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab._daemon import Daemon
from kubevip_lab._host import DEVICE

if TYPE_CHECKING:
    from pathlib import Path

    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network

ADVERT_SECONDS = 0.01
"""The least that VRRP version 3 can say (RFC 9568: centiseconds)."""

_FIRST_PRIORITY = 254  # the higher, the less a backup waits beyond three adverts (RFC 9568 6.1, Skew_Time)


@define
class Keepalived:
    """One keepalived a node; its file and log are `keepalived-NODE.conf` and `keepalived-NODE.log`."""

    daemons: dict[str, Daemon] = field(factory=dict[str, Daemon])
    name: str = "keepalived"

    def control_process(self, node: str) -> int | None:
        """Return the child that speaks VRRP; its parent starts it again."""
        return next(iter(self.daemons[node].children()), None)

    def move(self, node: str, to: str) -> None:
        """Refuse: VRRP has no such request.

        :raises KubevipError: always.
        """
        raise KubevipError("keepalived cannot be told to hand over to a certain node")

    def move_command(self, node: str, to: str, number: int) -> tuple[str, ...]:
        """Return (): as above."""
        return ()

    def revive(self) -> None:
        """Do nothing: its first process never ends by itself."""

    def trouble(self) -> str:
        """Return which node runs no VRRP, or ""."""
        missing = [node for node in self.daemons if self.control_process(node) is None]
        return f"{missing[0]} runs no VRRP process" if missing else ""


def find_keepalived() -> str:
    """Return the program's path.

    :raises NotPermittedError: it is not installed.
    """
    program = shutil.which("keepalived") or shutil.which("keepalived", path="/usr/sbin:/usr/local/sbin")
    if program is None:
        raise NotPermittedError("keepalived is not installed here: apt-get install keepalived (package keepalived)")
    return program


def prepare_keepalived(network: Network, plan: Plan, directory: Path) -> Keepalived:
    """Write the nodes' files below `directory` and return the subject, not started.

    :raises NotPermittedError: it is not installed.
    """
    program, subject = find_keepalived(), Keepalived()
    for index, node in enumerate(plan.nodes):
        stem = directory / f"keepalived-{node}"
        file = stem.with_suffix(".conf")
        file.write_text(keepalived_file(plan, node, _FIRST_PRIORITY - index))
        arguments = [program, "--dont-fork", "--log-console", "--vrrp", "--use-file", str(file)]
        arguments += ["--pid", f"{stem}.pid", "--vrrp_pid", f"{stem}-vrrp.pid"]
        log = stem.with_suffix(".log")
        subject.daemons[node] = Daemon(host=network.hosts[node], arguments=arguments, log=log)
    return subject


def keepalived_file(plan: Plan, node: str, priority: int) -> str:
    """Return a node's file: who holds the address keeps it (`nopreempt`), as with kubevip."""
    return "\n".join(
        (
            "global_defs {",
            f"    router_id {node}",
            "    vrrp_version 3",
            "}",
            "vrrp_instance web {",
            "    state BACKUP",
            "    nopreempt",
            f"    interface {DEVICE}",
            "    virtual_router_id 77",
            f"    priority {priority}",
            f"    advert_int {ADVERT_SECONDS:g}",
            "    virtual_ipaddress {",
            f"        {plan.vip}/32 dev {DEVICE}",
            "    }",
            "}",
            "",
        )
    )
