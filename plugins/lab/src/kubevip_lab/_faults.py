"""What can happen to the node that holds the address, and how it is put right afterwards.

Each fault is two functions of the lab and a node. After `repair` the cluster can become whole again by itself.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip.errors import KubevipError
from kubevip_lab._daemon import send

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubevip_lab._lab import Lab

_STOP_SECONDS = 15.0  # as long as a service manager would wait


@frozen(kw_only=True)
class Fault:
    """One fault. `done` and `undone` are said of the node: "n1 frozen", "n1 resumed".

    `may_stay`: the same node may hold the address again without anything being wrong.
    """

    name: str
    done: str
    undone: str
    inject: Callable[[Lab, str], None]
    repair: Callable[[Lab, str], None]
    may_stay: bool = False


def _kill(lab: Lab, node: str) -> None:
    pid = lab.subject.control_process(node)
    if pid is None:
        raise KubevipError(f"{node} has no control process to kill")
    send((pid,), signal.SIGKILL)


def _kill_all(lab: Lab, node: str) -> None:
    # Stopped first: else a process that outlives another by a moment might act on its death.
    _stop_tree(lab, node)
    lab.subject.daemons[node].kill()


def _terminate(lab: Lab, node: str) -> None:
    pid = lab.subject.daemons[node].pid
    if pid is None:
        raise KubevipError(f"{lab.subject.name} does not run on {node}")
    os.kill(pid, signal.SIGTERM)


def _stop_tree(lab: Lab, node: str) -> tuple[int, ...]:
    daemon = lab.subject.daemons[node]
    tree = daemon.tree()
    if not tree:
        raise KubevipError(f"{lab.subject.name} does not run on {node}")
    send(tree, signal.SIGSTOP)
    late = tuple(pid for pid in daemon.tree() if pid not in tree)  # forked before their parent was stopped
    send(late, signal.SIGSTOP)
    return (*tree, *late)


def _freeze(lab: Lab, node: str) -> None:
    _stop_tree(lab, node)


def _resume(lab: Lab, node: str) -> None:
    send(lab.subject.daemons[node].tree(), signal.SIGCONT)


def _restart(lab: Lab, node: str) -> None:
    daemon = lab.subject.daemons[node]
    if daemon.pid is not None:
        daemon.wait(_STOP_SECONDS)
    daemon.start()


def _start_anew(lab: Lab, node: str) -> None:
    # A keeper would start its control process by itself, but later each time that it dies within seconds.
    daemon = lab.subject.daemons[node]
    if daemon.pid is not None:
        os.kill(daemon.pid, signal.SIGTERM)
        daemon.wait(_STOP_SECONDS)
    daemon.start()


def _power_off(lab: Lab, node: str) -> None:
    _stop_tree(lab, node)  # nothing of it sees the link go
    lab.network.cut(node)
    lab.subject.daemons[node].kill()


def _power_on(lab: Lab, node: str) -> None:
    lab.subject.daemons[node].wait(_STOP_SECONDS)
    lab.network.forget_addresses(node)
    lab.network.restore(node)
    lab.subject.daemons[node].start()


def _move(lab: Lab, node: str) -> None:
    others = [each for each in lab.nodes if each != node]
    if not others:
        raise KubevipError(f"there is no node but {node} to move the address to")
    lab.subject.move(node, others[0])


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(name="term", done="stopped (SIGTERM)", undone="started again", inject=_terminate, repair=_restart),
        Fault(
            name="kill",
            done="control process killed",
            undone="started anew",
            inject=_kill,
            repair=_start_anew,
            may_stay=True,
        ),
        Fault(name="killall", done="all processes killed", undone="started again", inject=_kill_all, repair=_restart),
        Fault(name="freeze", done="frozen (SIGSTOP)", undone="resumed", inject=_freeze, repair=_resume),
        Fault(
            name="cut",
            done="link cut",
            undone="link restored",
            inject=lambda lab, node: lab.network.cut(node),
            repair=lambda lab, node: lab.network.restore(node),
        ),
        Fault(name="poweroff", done="powered off", undone="powered on", inject=_power_off, repair=_power_on),
        Fault(name="move", done="told to hand over", undone="left alone", inject=_move, repair=lambda lab, node: None),
        Fault(
            name="partition",
            done="parted from the other nodes",
            undone="joined with them again",
            inject=lambda lab, node: lab.network.partition(node, (other for other in lab.nodes if other != node)),
            repair=lambda lab, node: lab.network.heal(),
        ),
    )
}
