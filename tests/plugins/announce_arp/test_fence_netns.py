"""The fence against a real kernel: a frozen or late process answers nobody once its leadership is over."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from kubevip_announce_arp._fence import Fence, Renewal
from kubevip_announce_arp._fence_tables import FenceTables, table_name
from kubevip_announce_arp._nftables_socket import NftablesSocket

pytestmark = pytest.mark.netns

Wire = Any  # the class of conftest
Shell = Any  # the function `run` of conftest
ROUNDS = 20
HOLDER = Path(__file__).with_name("holder.py")
PACKED = {"10.9.0.100": socket.inet_aton("10.9.0.100"), "2001:db8:9::100": socket.inet_pton(10, "2001:db8:9::100")}


class Watch:
    """Asks for the addresses all the time and notes when an answer came, and when an address was last asked for."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.answers: list[tuple[float, str]] = []

    def watch(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        next_question = 0.0
        while (now := time.monotonic()) < until:
            if now >= next_question:
                next_question = now + 0.003
                self._wire.send(self._wire.arp(1, "10.9.0.2", "10.9.0.100"))
                self._wire.send(self._wire.solicitation("2001:db8:9::100"))
                for address in PACKED:
                    self._wire.send(self._wire.echo(address))
            self._wire.wait(0.003)
            for frame in self._wire.heard():
                self._note(frame, time.monotonic())

    def _note(self, frame: bytes, now: float) -> None:
        for packed in PACKED.values():
            if kind := self._wire.what(frame, packed):
                self.answers.append((now, kind))


def tenures(log: Path) -> list[tuple[float, float]]:
    """From when until when the holder led, by its own words."""
    found: list[tuple[float, float]] = []
    for line in log.read_text().splitlines():
        word, *numbers = line.split()
        if word == "lead":
            found.append((float(numbers[0]), float(numbers[1])))
        else:
            found[-1] = found[-1][0], float(numbers[0])
    return found


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_frozen_holder_is_silent_before_its_lease_ends_and_stays_so_when_thawed(
    wire: Wire, tmp_path: Path, backend: str
) -> None:
    log = tmp_path / "log"
    rounds = ROUNDS if backend == "asyncio" else 5
    holder = subprocess.Popen([sys.executable, HOLDER, log, tmp_path, backend])
    watch = Watch(wire)
    margins: list[float] = []
    try:
        while not log.exists() or len(log.read_text().splitlines()) < 10:
            assert holder.poll() is None
            watch.watch(0.1)
        for number in range(rounds):
            watch.watch(0.15 + 0.007 * number)  # the freeze falls on another moment of the heartbeat each time
            assert {kind for _, kind in watch.answers[-40:]} == {"arp", "ndp", "ping"}
            os.kill(holder.pid, signal.SIGSTOP)
            watch.watch(0.3)
            frozen = tenures(log)[-1][1]
            margins.append(frozen - max(at for at, _ in watch.answers))
            os.kill(holder.pid, signal.SIGCONT)
            watch.watch(0.3)
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    led = tenures(log)
    outside = [
        (kind, round(at - max((until for start, until in led if start <= at), default=0.0), 4))
        for at, kind in watch.answers
        if not any(start <= at <= until for start, until in led)
    ]
    assert outside == []
    assert len(led) >= rounds + 1
    assert min(margins) > 0, margins


def test_a_killed_holder_is_silent_when_its_lease_ends(wire: Wire, tmp_path: Path) -> None:
    log = tmp_path / "log"
    holder = subprocess.Popen([sys.executable, HOLDER, log, tmp_path, "asyncio"])
    watch = Watch(wire)
    while not log.exists() or len(log.read_text().splitlines()) < 20:
        assert holder.poll() is None
        watch.watch(0.1)
    assert watch.answers
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    until = tenures(log)[-1][1]
    watch.watch(0.5)
    assert max(at for at, _ in watch.answers) <= until


def make_fence(instance: str = "test") -> Fence:
    fence = Fence(FenceTables(table_name(instance)), NftablesSocket())
    fence.install()
    fence.add([("api", PACKED["10.9.0.100"]), ("api", PACKED["2001:db8:9::100"])])
    return fence


def test_a_renewal_that_comes_late_is_refused_by_the_kernel(wire: Wire, shell: Shell) -> None:
    fence = make_fence()
    assert fence.renew({"api": time.monotonic() + 0.08}).opened == {"api"}
    time.sleep(0.12)  # noqa: TID251 the kernel's own clock is what is tested
    renewal = fence.renew({"api": time.monotonic() + 0.5})
    assert renewal == Renewal(opened=frozenset({"api"}), lapsed=frozenset({"api"}))


def test_nobody_passes_a_fence_that_was_not_opened(wire: Wire, shell: Shell) -> None:
    fence = make_fence()
    shell("ip address add 10.9.0.100/32 dev e0; ip address add 2001:db8:9::100/128 dev e0 nodad")
    assert wire.answers("10.9.0.100") == set()
    assert wire.answers("2001:db8:9::100") == set()
    fence.renew({"api": time.monotonic() + 5})
    assert wire.answers("10.9.0.100") == {"arp", "ping"}
    assert wire.answers("2001:db8:9::100") == {"ndp", "ping"}
    fence.close(["api"])
    assert wire.answers("10.9.0.100") == set()
    assert wire.answers("2001:db8:9::100") == set()


def test_a_probe_for_a_fenced_address_is_not_answered(wire: Wire, shell: Shell) -> None:
    make_fence()
    shell("ip address add 10.9.0.100/32 dev e0")
    wire.send(wire.arp(1, "0.0.0.0", "10.9.0.100"))
    wire.wait(0.2)
    assert [frame for frame in wire.heard() if wire.what(frame, PACKED["10.9.0.100"])] == []


def test_a_fenced_host_does_not_claim_the_address_in_its_own_questions(wire: Wire, shell: Shell) -> None:
    fence = make_fence()
    shell("ip address add 10.9.0.100/32 dev e0; ip address add 2001:db8:9::100/128 dev e0 nodad")
    asks = "ping -c1 -W1 -I 10.9.0.100 10.9.0.77 || true; ping -6 -c1 -W1 -I 2001:db8:9::100 2001:db8:9::77 || true"
    wire.heard()
    shell(asks)
    assert [frame for frame in wire.heard() if claims(frame)] == []
    fence.renew({"api": time.monotonic() + 5})
    shell(asks)
    assert len({frame[12:14] for frame in wire.heard() if claims(frame)}) == 2


def claims(frame: bytes) -> bool:
    """Whether a frame tells where one of the addresses is."""
    if frame[12:14] == b"\x08\x06":
        return frame[28:32] == PACKED["10.9.0.100"]
    return frame[12:14] == b"\x86\xdd" and frame[54] == 135 and frame[22:38] == PACKED["2001:db8:9::100"]


def test_other_addresses_of_the_machine_are_not_disturbed(wire: Wire) -> None:
    make_fence()
    assert wire.answers("10.9.0.1") == {"arp", "ping"}
    assert wire.answers("2001:db8:9::1") == {"ndp", "ping"}


def test_traffic_that_a_follower_routes_to_the_holder_passes(wire: Wire, shell: Shell) -> None:
    make_fence()
    shell("sysctl -q -w net.ipv4.ip_forward=1; ip neighbour replace 10.9.0.100 lladdr 02:00:00:00:00:99 dev e0")
    wire.send(wire.echo("10.9.0.100"))
    deadline = time.monotonic() + 2
    seen = False
    while not seen and time.monotonic() < deadline:
        wire.wait(0.1)
        seen = any(frame[:6] == bytes.fromhex("020000000099") for frame in wire.heard())
    assert seen


def test_the_rules_can_be_listed(wire: Wire, shell: Shell) -> None:
    fence = make_fence("two-words")
    fence.renew({"api": time.monotonic() + 5})
    listing = shell("nft list table inet kubevip_fence_two_words")
    assert "10.9.0.100 : goto g0" in listing
    assert "fib daddr type local drop" in listing


def test_all_groups_that_did_not_run_out_are_renewed_beside_one_that_did(wire: Wire) -> None:
    fence = make_fence()
    fence.add([("web", socket.inet_aton("10.9.0.101"))])
    now = time.monotonic()
    fence.renew({"api": now + 0.06, "web": now + 5})
    time.sleep(0.1)  # noqa: TID251 the kernel's own clock is what is tested
    renewal = fence.renew({"api": time.monotonic() - 1, "web": time.monotonic() + 5})
    assert renewal.opened == {"web"}
    now = time.monotonic()
    fence.renew({"api": now + 0.06, "web": now + 5})
    time.sleep(0.1)  # noqa: TID251 the kernel's own clock is what is tested
    now = time.monotonic()
    renewal = fence.renew({"api": now + 5, "web": now + 5})
    assert renewal == Renewal(opened=frozenset({"api", "web"}), lapsed=frozenset({"api"}))


def test_a_removed_table_is_put_back_by_the_next_renewal(wire: Wire, shell: Shell) -> None:
    fence = make_fence()
    now = time.monotonic()
    assert fence.renew({"api": now + 5}).opened == {"api"}
    shell("nft delete table inet kubevip_fence_test")
    assert fence.renew({"api": time.monotonic() + 5}).opened == {"api"}
    assert fence.installs == 2
    assert "10.9.0.100" in shell("nft list map inet kubevip_fence_test group4")


def test_a_thousand_addresses_are_one_transaction(wire: Wire, shell: Shell) -> None:
    fence = make_fence()
    fence.add(("api", socket.inet_aton(f"10.20.{n // 250}.{n % 250 + 1}")) for n in range(1000))
    assert fence.renew({"api": time.monotonic() + 5}).opened == {"api"}
    assert shell("nft list set arp kubevip_fence_test claims").count("10.20.") == 1000
    fence.install()
    assert shell("nft list set arp kubevip_fence_test claims").count("10.20.") == 1000
