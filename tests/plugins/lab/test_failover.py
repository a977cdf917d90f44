"""The lab against a subject whose failings are known: it must find each of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

import pytest
from attrs import asdict, evolve, frozen

from kubevip.errors import KubevipError
from kubevip_lab import _round
from kubevip_lab._demo import Demonstration
from kubevip_lab._failover import Figures
from kubevip_lab._faults import FAULTS
from kubevip_lab._lab import VIP, open_lab, plan
from kubevip_lab._measure import longest_silence
from kubevip_lab._record import RECORD
from kubevip_lab._round import Round, run_round, wait_until_whole
from kubevip_lab._sandbox import call
from kubevip_lab._watch import Prober, Watch, open_watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kubevip_lab._lab import Lab, Plan
    from kubevip_lab._network import Network
    from kubevip_lab._subject import Subject

TIMEOUT_SECONDS = 20.0


@frozen
class Arena:
    prepare: Callable[[Network, Plan, Path], Subject]
    directory: Path

    @contextmanager
    def lab(self) -> Iterator[Lab]:
        with open_lab(plan(3), lambda network, what: self.prepare(network, what, self.directory)) as lab:
            yield lab

    @contextmanager
    def watched(self) -> Iterator[tuple[Lab, Watch]]:
        with self.lab() as lab, open_watch(lab, 0.01) as watch:
            yield lab, watch

    def rounds(self, *faults: str, timeout: float = TIMEOUT_SECONDS, keep_open: int = 0) -> list[Round]:
        def body() -> list[dict[str, Any]]:
            with self.watched() as (lab, watch):
                done: list[dict[str, Any]] = []
                for fault in faults:
                    holder = wait_until_whole(lab, watch, TIMEOUT_SECONDS)
                    result = run_round(lab, watch, FAULTS[fault], holder, timeout, keep_open=keep_open)
                    done.append(asdict(result))
                return done

        return [Round(**fields) for fields in call(body)]


@pytest.fixture
def arena(prepare_lock_subject: Callable[[Network, Plan, Path], Subject], tmp_path: Path) -> Arena:
    return Arena(prepare_lock_subject, tmp_path)


@pytest.mark.netns
def test_a_hand_over_is_seen_with_its_holders_and_without_a_second_one(arena: Arena) -> None:
    first, second = arena.rounds("term", "kill")

    assert first.holder_before != first.holder_after
    assert second.holder_before == first.holder_after
    assert [first.two_holders_ms, second.two_holders_ms] == [0, 0]
    assert first.is_good
    assert second.is_good
    assert 0 < first.outage_ms < 1000
    assert 0 < first.tcp_outage_ms < 1000


@pytest.mark.netns
@pytest.mark.parametrize("interval", [0.001, 0.01])
def test_the_probers_see_an_outage_of_known_length(interval: float, arena: Arena) -> None:
    outage_seconds = 0.2

    def body() -> list[float]:
        with arena.lab() as lab, open_watch(lab, interval) as watch:
            holder = wait_until_whole(lab, watch, TIMEOUT_SECONDS)
            # Not a cut link: the kernel may take a second to notice that one is back.
            lab.network.partition(holder, ("client", "watch"))
            start = time.monotonic()
            watch.pump(outage_seconds)
            end = time.monotonic()
            lab.network.heal()
            watch.pump(1.0)
            silences = [
                longest_silence(watch.probers[name].since(0), start, end + 0.5) for name in ("icmp", "http", "arp")
            ]
            return [end - start, *(silence.seconds for silence in silences)]

    known, *seen = call(body)
    assert known >= outage_seconds
    for silence in seen:
        assert known - interval / 2 <= silence < known + 0.2  # what was on its way when it began may come late


@pytest.mark.netns
def test_an_answer_bears_the_time_of_its_arrival_not_of_its_reading(arena: Arena) -> None:
    interval = 0.1  # a prober reads answers when it asks again

    def body() -> list[float]:
        with arena.lab() as lab, open_watch(lab, interval) as watch:
            watch.pump(3.0)
            answers = [answer for name in ("icmp", "arp") for answer in watch.probers[name].since(0)]
            return [answer.received - answer.sent for answer in answers]

    took = call(body)
    assert len(took) > 2
    assert 0 < median(took) < interval / 4


@pytest.mark.netns
def test_an_address_that_a_dead_node_keeps_is_two_holders(arena: Arena) -> None:
    (result,) = arena.rounds("killall", timeout=4.0)

    assert result.two_holders_ms > 500
    assert not result.is_good


@pytest.mark.netns
def test_a_node_without_power_answers_nothing_and_comes_back_without_the_address(arena: Arena) -> None:
    (result,) = arena.rounds("poweroff")

    assert result.is_good
    assert result.holder_after not in (None, result.holder_before)


@pytest.mark.netns
def test_a_subject_that_cannot_be_told_to_move_says_so(arena: Arena) -> None:
    with pytest.raises(KubevipError, match="a lock cannot be moved"):
        arena.rounds("move")


@pytest.mark.netns
@pytest.mark.parametrize("fault", ["freeze", "cut"])
def test_an_outage_that_nobody_ends_lasts_until_the_repair(fault: str, arena: Arena) -> None:
    (result,) = arena.rounds(fault, timeout=4.0)

    assert result.holder_after is None
    assert result.tcp_outage_ms > 1000  # a frozen host's kernel goes on answering pings
    assert not result.is_good


@pytest.mark.netns
def test_connections_that_are_held_open_hear_of_their_end_or_not(arena: Arena) -> None:
    stopped, killed = arena.rounds("term", "kill", keep_open=20)

    assert (stopped.kept_open, stopped.ended) == (20, 20)
    assert stopped.ended_ms > 0
    assert (killed.kept_open, killed.ended) == (20, 0)  # its web server lives on, without the address


@pytest.mark.netns
def test_a_cluster_that_does_not_become_whole_is_an_error_that_says_what_is_missing(arena: Arena) -> None:
    def body() -> None:
        with arena.watched() as (lab, watch):
            wait_until_whole(lab, watch, TIMEOUT_SECONDS)
            for node in lab.nodes:
                lab.network.cut(node)
            watch.pump(1.0)
            wait_until_whole(lab, watch, 1.0)

    with pytest.raises(KubevipError, match=r"not whole within 1 s: 0 hosts answer ARP; the nodes say that all is well"):
        call(body)


def test_a_lab_that_is_behind_says_so_instead_of_what_it_saw_long_ago() -> None:
    nobody: Any = None
    watch = Watch(client=nobody, address=VIP, port=80, interval=0.001)
    code = f"import os, time; os.write(1, bytes({RECORD.size} * 2000)); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    with watch.fed(process, {"arp": Prober(interval=0.001)}):
        while watch.unread < 2000:
            os.sched_yield()
        assert _round.what_is_missing(nobody, watch).startswith("this lab is behind: 2000 answers wait to be read")


@pytest.mark.netns
def test_a_daemon_that_has_ended_is_not_waited_for(arena: Arena) -> None:
    def body() -> None:
        with arena.watched() as (lab, watch):
            wait_until_whole(lab, watch, TIMEOUT_SECONDS)
            FAULTS["term"].inject(lab, "n2")
            watch.pump(1.0)
            wait_until_whole(lab, watch, 1000.0)

    with pytest.raises(KubevipError, match=r"^lock on n2 has ended with status 0$"):
        call(body)


def example(outage: float, tcp: float, **fields: Any) -> Round:
    return Round(
        **{
            "fault": "kill",
            "at": "2026-11-22T10:15:02.123Z",
            "holder_before": "n1",
            "holder_after": "n2",
            "outage_ms": outage,
            "outage_after_ms": 0.0,
            "tcp_outage_ms": tcp,
            "follower_outage_ms": 0.0,
            "repair_outage_ms": 0.0,
            "unanswered": (),
            "tcp_outage_after_ms": 0.0,
            "two_holders_ms": 0.0,
            "refused": 0,
            "kept_open": 0,
            "ended": 0,
            "ended_ms": 0.0,
            "prober_late_ms": 0.0,
            **fields,
        }
    )


def test_figures_have_the_shape_that_scripts_read() -> None:
    rounds = (example(10.0, 30.0), example(30.0, 10.0), example(20.0, 20.0))
    report = Figures(fault="kill", subject="kubevip", interval_ms=10.0, rounds=rounds).report()

    assert {key: value for key, value in report.items() if key != "rounds"} == {
        "fault": "kill",
        "subject": "kubevip",
        "interval_ms": 10.0,
        "median_ms": 20.0,
        "worst_ms": 30.0,
        "tcp_median_ms": 20.0,
        "tcp_worst_ms": 30.0,
    }
    assert report["rounds"] == [asdict(each) for each in rounds]


@pytest.mark.parametrize(
    ("fields", "trouble"),
    [
        ({}, ""),
        ({"holder_after": None}, "nobody took over"),
        ({"two_holders_ms": 10.0}, "two answered for 10 ms"),
        ({"unanswered": ("icmp n3", "http client")}, "no steady answers to icmp n3 and http client"),
    ],
)
def test_a_round_is_good_when_somebody_and_only_one_held(fields: dict[str, Any], trouble: str) -> None:
    result = example(10.0, 10.0, **fields)
    assert (result.is_good, result.trouble) == (not trouble, trouble)


def test_a_demonstration_that_fails_says_which_takeovers_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, 0.0, 0.0))
    good, lost = example(10.0, 10.0), example(10.0, 10.0, fault="freeze", holder_after=None)
    seen = Demonstration(subject="kubevip", backends=("b1",), rounds=(good, lost))
    assert seen.verdict == "not every takeover worked: n1 frozen (SIGSTOP): nobody took over"
    assert evolve(seen, rounds=(good,)).verdict == "every takeover worked, and never did two nodes answer"
    assert evolve(seen, backends=()).verdict == "the client reached no backend through the address"
