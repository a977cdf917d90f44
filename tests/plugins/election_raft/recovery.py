"""Schedules in which a majority is lost for good, an operator recovers the group, and those of before come back.

First the same faults as ever, in `simulator`. Then most machines are off; a human makes sure of it, begins the next
epoch on one that is left, alone or with all that are left, and adds who waits to be added. Those of before run again
later, with what they have on their disks, and reach the others: from then on they hear of the later epoch. What must
hold is the same, within each epoch; and at any instant there is at most one holder of a group, of whatever epoch.

    python -m tests.plugins.election_raft.recovery --seeds 1000      # or --replay 4711
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from random import Random

from attrs import evolve

from kubevip_election_raft._consensus.entries import Command, MemberRecord, Process
from kubevip_election_raft._consensus.epoch import joining, recovered
from kubevip_election_raft._consensus.introductions import Membership
from kubevip_election_raft._consensus.messages import Message
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Ready, Role

from .simulator import LIVENESS_SECONDS, Machine, Weather, World, draw_weather, main

#: What happens when, after the last of the ordinary faults.
LOSS_SECONDS, RECOVERY_SECONDS, RETURN_SECONDS, LAST_RETURN_SECONDS = 1.5, 2.0, 2.5, 3.5

#: What is expected of terms and entries, which count within an epoch.
Book = tuple[
    dict[int, Process],
    dict[tuple[int, int], tuple[Command, int | None]],
    dict[int, tuple[int, Command]],
    defaultdict[tuple[str, int], set[str]],
    set[int],
]


def draw_recovery(rng: Random) -> Weather:
    """Draw how bad a schedule is to be before the loss. Everybody is a member when it happens."""
    weather = draw_weather(rng)
    harms = tuple(harm for harm in weather.harms if harm not in ("reshape", "wipe"))
    return evolve(weather, harms=harms, mixed_timing=False, is_reckless=False, loses_one=False, seconds=1.5)


class Recovery(World):
    """A group that loses its majority."""

    def __init__(self, seed: int, *, weather: Weather | None = None, trace: bool = False) -> None:
        """Draw a schedule."""
        super().__init__(seed, weather=weather or draw_recovery(Random(seed)), trace=trace)
        self._epochs: dict[tuple[str, int], int] = {}  # by name and incarnation
        self._books: dict[int, Book] = {}

    def run(self) -> None:
        """Play the schedule to its end.

        :raises ViolationError: naming the seed and what does not hold.
        """
        lost = self.rng.sample(list(self.machines.values()), len(self.machines) // 2 + 1)
        left = [machine for machine in self.machines.values() if machine not in lost]
        healed = self.weather.seconds
        for machine in lost:
            self.at(healed + LOSS_SECONDS, partial(self._lose, machine))
            back = self.rng.uniform(RETURN_SECONDS, LAST_RETURN_SECONDS)
            self.at(healed + back, partial(self._return, machine))
        self.at(healed + RECOVERY_SECONDS, partial(self._recover, left))
        for turn in range(20):
            self.at(healed + LAST_RETURN_SECONDS + turn * 0.25, self._add_one)
        self._play_all(healed + LAST_RETURN_SECONDS + 5.0 + LIVENESS_SECONDS)

    # The operator

    def _lose(self, machine: Machine) -> None:
        self._crash(machine)
        machine.is_lost = True

    def _return(self, machine: Machine) -> None:
        machine.is_lost = False
        self._start(machine)

    def _recover(self, left: list[Machine]) -> None:
        """Stop the daemon of the machine that knows most, begin an epoch there, and start it again."""
        own = max(left, key=lambda machine: machine.disk.hard_state.term)
        keep = [machine.name for machine in left] if self.rng.random() < 0.5 else [own.name]
        self._crash(own)
        own.disk = recovered(own.disk, own=own.name, keep=keep, rng=self.rng)
        self._note(own, "is recovered with %s", keep)
        self.at(self.now + self.rng.uniform(0.0, 0.2), partial(self._start, own))

    def _add_one(self) -> None:
        """Have whoever leads in the newest epoch add somebody who waits for it."""
        newest = max(self._epochs.values())
        strangers = [
            machine.name
            for machine in self.machines.values()
            if machine.node is not None and machine.node.membership is Membership.STRANGER
        ]

        def add(node: Node, now: float) -> Ready:
            if waiting := [name for name in strangers if name not in node.members]:
                node.change_members(MemberRecord(name=waiting[0]), is_removal=False, now=now)
            return node.tick(now)

        for leader in self.machines.values():
            if leader.node is not None and leader.node.epoch == newest and leader.node.state.role is Role.LEADER:
                self._do(leader, add)

    # Epochs

    def _start(self, machine: Machine) -> None:
        self._epochs[machine.name, machine.incarnation + 1] = machine.disk.hard_state.epoch
        super()._start(machine)

    def _epoch_of(self, machine: Machine) -> int:
        return self._epochs.get((machine.name, machine.incarnation), 0)

    def _hears(self, machine: Machine, sender: Process, epoch: int) -> bool:
        """Return whether a machine takes what a process of `epoch` sent; whoever is of an earlier one begins anew."""
        own, other = self._epoch_of(machine), self.machines[sender.name]
        if epoch > own:
            self._supersede(machine, epoch)
        elif epoch < own and other.incarnation == sender.incarnation:
            self._supersede(other, own)
        return epoch == own

    def _supersede(self, machine: Machine, epoch: int) -> None:
        if machine.node is None:
            return
        known = tuple(machine.node.records)
        self._crash(machine)
        self._note(machine, "begins anew in epoch %d", epoch)
        machine.disk = joining(machine.disk, own=machine.name, epoch=epoch, known=known)
        self.at(self.now + self.rng.uniform(0.0, 0.3), partial(self._start, machine))

    def _introduce(self, machine: Machine, other: Machine) -> None:
        if machine.node is None or other.node is None:  # it has just begun anew
            return
        if self._hears(other, machine.node.process, self._epoch_of(machine)):
            super()._introduce(machine, other)

    def _deliver(self, sender: Process, to: str, message: Message) -> None:
        machine, epoch = self.machines[to], self._epochs.get((sender.name, sender.incarnation), 0)
        if machine.node is None or (sender.name, to) in self._blocked or not self._hears(machine, sender, epoch):
            return
        self._open(machine)
        super()._deliver(sender, to, message)

    # What must hold, within an epoch

    def _open(self, machine: Machine) -> None:
        """Look at the book of the epoch that a machine is of."""
        new: Book = {}, {}, {}, defaultdict(set), set()
        book = self._books.setdefault(self._epoch_of(machine), new)
        self._leaders, self._entries, self._committed, self._agreed_to, self._given_up = book

    def _do(self, machine: Machine, action: Callable[[Node, float], Ready]) -> None:
        self._open(machine)
        super()._do(machine, action)

    def _drain(self, machine: Machine) -> None:
        self._open(machine)
        super()._drain(machine)

    def _say_goodbye(self, machine: Machine, process: Process) -> None:
        self._open(machine)
        super()._say_goodbye(machine, process)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Recovery))
