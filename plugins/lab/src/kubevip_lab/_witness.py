"""Sees who holds which address: every node is asked by ARP, on its link and on a device that no fault touches."""

from __future__ import annotations

from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from attrs import define, field

from kubevip_lab._holding import Overlap, Stretch, Tracker, overlaps
from kubevip_lab._record import ANSWERED, LATE
from kubevip_lab._watch import Asking, Watch, arp_socket, start_askers

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from ipaddress import IPv4Address

    from kubevip_lab._lab import Lab

INTERVAL_SECONDS = 0.002
_SPY_EVERY = 2
_COLLECT_SECONDS = 0.25
_STEADY_SECONDS = 0.3
_WIRE_TOLERANCE_SECONDS = 0.005  # so long an answer may wait in the switch; one to a spy has no such way


@define
class Witness:
    """Made by `open_witness`.

    `held` is what the nodes themselves answered, `own` what they answered for an address of their own, which no fence
    guards; `wire` what arrived on the wire; `late_seconds` the longest time for which this watcher was kept from
    asking.
    """

    lab: Lab
    vips: tuple[IPv4Address, ...]
    watch: Watch
    held: Tracker = field(factory=Tracker)
    own: Tracker = field(factory=Tracker)
    wire: Tracker = field(factory=Tracker)
    late_seconds: float = 0.0
    _latest: dict[tuple[str, str], float] = field(factory=dict[tuple[str, str], float])

    def look(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Watch for some time, or until `until` holds, which is asked now and then; returns whether it did."""
        end = monotonic() + seconds
        while True:
            self.watch.pump(min(max(end - monotonic(), 0.0), _COLLECT_SECONDS))
            self._collect()
            if (is_done := until()) or monotonic() >= end:
                return is_done

    def begin(self) -> None:
        """Forget what was seen."""
        self._collect()
        self.held, self.own, self.wire, self.late_seconds = Tracker(), Tracker(), Tracker(), 0.0

    def missing(self) -> str:
        """Return what is missing, "" when one node answers for every address on the wire and all nodes take part."""
        for vip in self.vips:
            start = monotonic() - _STEADY_SECONDS
            holders = [host for (about, host), at in self._latest.items() if about == str(vip) and at > start]
            if len(holders) != 1:
                return f"{len(holders)} nodes answer for {vip}"
        return self.lab.subject.trouble()

    def overlaps(self) -> list[Overlap]:
        """Return all instants at which two held an address."""
        return [*overlaps(self.held.stretches()), *overlaps(self.wire.stretches(), _WIRE_TOLERANCE_SECONDS)]

    def stretches(self) -> list[Stretch]:
        """Return who held what from when to when, by the nodes' own answers."""
        return self.held.stretches()

    def _collect(self) -> None:
        for name, prober in self.watch.probers.items():
            kind, _, rest = name.partition(" ")
            if kind not in ("wire", "spy", "own"):
                continue
            node, _, about = rest.partition(" ")
            for answer in prober.records[ANSWERED]:
                host = self.lab.node_of(answer.by) or answer.by if kind == "wire" else node
                {"spy": self.held, "own": self.own, "wire": self.wire}[kind].add(about, host, answer)
                if kind == "wire":
                    self._latest[about, host] = answer.received
            for late in prober.records[LATE]:
                self.late_seconds = max(self.late_seconds, late.received - late.sent)
            for records in prober.records.values():
                records.clear()


@contextmanager
def open_witness(lab: Lab, vips: Sequence[IPv4Address], *, asks_own: bool = False) -> Generator[Witness]:
    """Give every node a device for it and ask until left.

    :param asks_own: ask each node for its own address as well, on the same way at the same time.
    """
    watch = Watch(client=lab.client, address=vips[0], port=0, interval=INTERVAL_SECONDS)
    asking = [Asking(f"wire - {vip}", "arp", arp_socket(lab.watcher), 1, vip) for vip in vips]
    for node in lab.nodes:
        lab.network.add_spy(node)
        sockets = [lab.network.spy_socket(node) for _ in vips]
        asking += [
            Asking(f"spy {node} {vip}", "arp", own, _SPY_EVERY, vip) for vip, own in zip(vips, sockets, strict=True)
        ]
        if asks_own:
            address = lab.network.hosts[node].address
            asking.append(Asking(f"own {node} {address}", "arp", lab.network.spy_socket(node), _SPY_EVERY, address))
    with start_askers(watch, asking):
        yield Witness(lab=lab, vips=tuple(vips), watch=watch)
