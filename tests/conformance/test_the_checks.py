"""The checks find what they are for: each broken implementation fails with the duty that it breaks."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from threading import Thread  # noqa: TID251 -- an election that reports from one has to be found
from types import ModuleType
from typing import Any

import pytest
from anyio import CancelScope, create_task_group, current_time, sleep, sleep_forever
from anyio.abc import TaskGroup
from attrs import define, evolve, field, frozen

from kubevip import (
    Candidacy,
    CheckResult,
    Desired,
    Feed,
    Following,
    Group,
    Health,
    Leading,
    Place,
    Problem,
    Target,
    Tenure,
    VirtualIP,
)
from kubevip.errors import AnnounceError, KubevipError
from kubevip.testing import (
    Edits,
    Wire,
    check_announcer,
    check_election,
    check_handover,
    check_health_check,
    check_plugin,
    check_source,
    make_tenure,
)

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


def opening(service: Any) -> Callable[[], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def make() -> AsyncGenerator[Any]:
        yield service() if isinstance(service, type) or callable(service) else service

    return make


# Elections


@define
class Lease:
    """Who holds what until when, as a server keeps it; `terms` grows."""

    holder: object = None
    until: float = 0.0
    terms: int = 0

    def take(self, who: object) -> bool:
        if self.holder is not who and self.until > current_time():
            return False
        if self.holder is not who:
            self.terms += 1
        self.holder, self.until = who, current_time() + 2.5
        return True


class LeaseElection:
    """A good election on a lease; `broken` names the duty that it breaks."""

    terms = 0

    def __init__(self, leases: dict[str, Lease], broken: str = "") -> None:
        self._leases, self._broken = leases, broken

    async def campaign(self, candidacy: Candidacy) -> None:
        lease, me = self._leases.setdefault(candidacy.group, Lease()), object()
        if self._broken == "returns":
            return
        if self._broken == "raises":
            raise KubevipError("the server is gone")
        try:
            await self._stand(candidacy, lease, me)
        finally:
            if lease.holder is me and self._broken != "keeps":
                lease.holder, lease.until = None, 0.0
            with CancelScope(shield=True):
                await sleep(5.0 if self._broken == "slow" else 0.1)

    async def _stand(self, candidacy: Candidacy, lease: Lease, me: object) -> None:
        while True:
            asked = current_time()
            if lease.take(me) or self._broken == "overlaps":
                await self._report(candidacy, lease, asked)
            else:
                candidacy.report(Following())
            await sleep(3.0 if self._broken == "late" else 0.5)

    async def _report(self, candidacy: Candidacy, lease: Lease, asked: float) -> None:
        until = {"clock": time.monotonic() + 1e6, "past": asked - 1.0}.get(self._broken, asked + 2.0)
        now = Leading(term=7 if self._broken == "repeats" else lease.terms, valid_until=until)
        if self._broken == "thread":
            other = Thread(target=candidacy.report, args=(now,))
            other.start()
            other.join()
        else:
            candidacy.report(now)
        if self._broken == "flickers":
            candidacy.report(Following())


async def test_a_good_election_passes() -> None:
    leases: dict[str, Lease] = {}
    await check_election(opening(lambda: LeaseElection(leases)))
    await check_handover([opening(lambda: LeaseElection(leases)) for _ in range(3)])


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("repeats", r"duty 2 .* term 7 of 'check-a' came back"),
        ("clock", r"duty 3 .* before its end"),
        ("past", r"duty 3 .* before its end"),
        ("late", r"duty 1 .* was not renewed before its end"),
        ("flickers", r"duty 1 .* (was followed by Following|did not lead)"),
        ("thread", r"duty 1 .* was reported from another thread"),
        ("slow", r"duty 5 .* it took 5"),
        ("returns", r"duty 5 .* returned without being cancelled"),
    ],
)
async def test_a_broken_election_is_named(broken: str, message: str) -> None:
    leases: dict[str, Lease] = {}
    with pytest.raises(AssertionError, match=message):
        await check_election(opening(lambda: LeaseElection(leases, broken)))


async def test_an_error_of_an_election_is_its_own() -> None:
    with pytest.raises(ExceptionGroup) as caught:
        await check_election(opening(lambda: LeaseElection({}, "raises")))
    assert caught.group_contains(KubevipError, match="the server is gone")


class LateElection:
    """Reports once more after it has returned."""

    tasks: TaskGroup

    async def campaign(self, candidacy: Candidacy) -> None:
        async def later() -> None:
            await sleep(0.2)
            candidacy.report(Following())

        try:
            term = 0
            while True:
                candidacy.report(Leading(term=term, valid_until=current_time() + 2.0))
                await sleep(0.5)
        finally:
            self.tasks.start_soon(later)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncGenerator[LateElection]:
        election = cls()
        async with create_task_group() as election.tasks:
            yield election


async def test_an_election_that_reports_after_it_returned_is_named() -> None:
    with pytest.raises(AssertionError, match=r"duty 6 .* had returned"):
        await check_election(LateElection.open)


@pytest.mark.parametrize(
    ("broken", "message"),
    [("overlaps", "held 'check' at the same time"), ("keeps", r"nobody but node \d led 'check' within 1 s")],
)
async def test_nodes_that_do_not_hand_over_are_named(broken: str, message: str) -> None:
    leases: dict[str, Lease] = {}
    with pytest.raises(AssertionError, match=message):
        await check_handover(
            [opening(lambda: LeaseElection(leases, broken)) for _ in range(3)], lead_within_seconds=1.0
        )


# Announcers

VIP = VirtualIP(name="api", address=IPv4Address("192.0.2.1"), group="api")
IMPOSSIBLE = evolve(VIP, name="web", address=IPv4Address("192.0.2.2"), interface="nosuch0")


@define
class Network:
    """What the world sees of the address."""

    is_up: bool = False
    sent: int = 0

    async def reachable(self) -> bool:
        return self.is_up

    async def disturb(self) -> None:
        self.is_up = False

    @property
    def wire(self) -> Wire:
        return Wire(is_reachable=self.reachable, count_sent=lambda: self.sent, disturb=self.disturb)


class WiredAnnouncer:
    """A good announcer that renews twice a second; `broken` names what it does wrong."""

    def __init__(self, network: Network, broken: str = "") -> None:
        self._network, self._broken = network, broken

    @asynccontextmanager
    async def announce(self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]) -> AsyncGenerator[None]:
        if vip.interface == "nosuch0" and self._broken != "accepts":
            if self._broken == "nameless":
                raise AnnounceError("no such device")
            raise AnnounceError(f"{vip.name}: {vip.address}: there is no device {vip.interface}")
        if tenure.remaining_seconds <= 0 and self._broken != "too late":
            raise AnnounceError(f"{vip.name}: the tenure is over")
        try:
            await sleep(0.1)
            self._network.is_up, self._network.sent = True, self._network.sent + 1
            if self._broken == "half-way":
                await sleep(0.1)
        except BaseException:
            self._network.is_up = self._broken == "half-way"
            raise
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._renew, tenure)
                yield
                tg.cancel_scope.cancel()
        finally:
            with CancelScope(shield=True):
                await sleep(5.0 if self._broken == "slow" else 0.1)
            self._network.is_up = self._broken == "leaves it"

    async def _renew(self, tenure: Tenure) -> None:
        while True:
            await sleep(0.5)
            if tenure.remaining_seconds > 0 or self._broken == "goes on":
                self._network.sent += 1
                self._network.is_up = self._network.is_up or self._broken != "does not repair"


async def run_announcer(broken: str) -> None:
    network = Network()
    await check_announcer(opening(lambda: WiredAnnouncer(network, broken)), VIP, network.wire, impossible=IMPOSSIBLE)


async def test_a_good_announcer_passes() -> None:
    await run_announcer("")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("leaves it", r"duty 1 .* api still answers after it was cancelled while it was held"),
        ("half-way", r"duty 1 .* api still answers after it was cancelled after"),
        ("slow", r"duty 1 .* leaving took 5"),
        ("does not repair", r"duty 2 .* did not come back"),
        ("goes on", r"duty 3 .* renewals of api within the 2 s after its tenure ended"),
        ("too late", r"duty 3 .* in a tenure that was over"),
        ("accepts", r"duty 4 .* was accepted"),
        ("nameless", r"duty 4 .* names neither web nor 192.0.2.2"),
    ],
)
async def test_a_broken_announcer_is_named(broken: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        await run_announcer(broken)


# Sources


@define
class Text:
    """What a source reads."""

    number: int = 1
    is_good: bool = True

    def change(self) -> None:
        self.number += 1

    def spoil(self) -> None:
        self.is_good = False

    def mend(self) -> None:
        self.is_good = True

    @property
    def desired(self) -> Desired:
        return Desired(groups=(Group(name=f"g{self.number}", election="single"),))

    @property
    def edits(self) -> Edits:
        return Edits(change=self.change, touch=lambda: None, spoil=self.spoil, mend=self.mend)


class PollingSource:
    def __init__(self, text: Text, broken: str = "") -> None:
        self._text, self._broken = text, broken

    async def run(self, feed: Feed) -> None:
        seen: tuple[int, bool] | None = None
        if self._broken == "silent":
            await sleep_forever()
        try:
            while True:
                now = (self._text.number, self._text.is_good)
                if now != seen and (seen is None or self._broken != "deaf"):
                    if self._text.is_good or self._broken == "publishes the bad":
                        feed.publish(self._text.desired)
                    if not self._text.is_good and self._broken != "hides the bad":
                        why = [Problem(place=Place(file="" if self._broken == "placeless" else "x"), message="bad")]
                        feed.reject(why)
                seen = now
                await sleep(0.1)
        finally:
            with CancelScope(shield=True):
                await sleep(5.0 if self._broken == "slow" else 0.0)


async def test_a_good_source_passes() -> None:
    text = Text()
    await check_source(opening(lambda: PollingSource(text)), text.edits)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("silent", r"nothing was published within 5 s; rejected: nothing"),
        ("deaf", r"a change was not published"),
        ("hides the bad", r"nothing was rejected"),
        ("publishes the bad", r"it published something unreadable"),
        ("placeless", r"a problem has no place"),
        ("slow", r"it went on for 5"),
    ],
)
async def test_a_broken_source_is_named(broken: str, message: str) -> None:
    text = Text()
    with pytest.raises(AssertionError, match=message):
        await check_source(opening(lambda: PollingSource(text, broken)), text.edits)


# Entry modules

GOOD = '''
from contextlib import asynccontextmanager
from attrs import frozen
from kubevip import Provider, hookimpl

@frozen(kw_only=True)
class Config:
    """What users write."""
    size: int = 1
    """How large, in bytes."""

@asynccontextmanager
async def open_it(config, host):
    yield object()

THING = Provider(name="thing", summary="A thing", config=Config, open=open_it)

@hookimpl
def kubevip_proxies():
    yield THING
'''
PROTOCOLS = GOOD.replace("open=open_it", 'open=open_it, protocols=("tcp",)')


@frozen
class Written:
    """A module in a folder that can be imported."""

    folder: Path = field()

    def module(self, name: str, text: str) -> ModuleType:
        (self.folder / f"{name}.py").write_text(text)
        from importlib import import_module

        return import_module(name)


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Written:
    monkeypatch.syspath_prepend(str(tmp_path))
    return Written(tmp_path)


def test_a_good_entry_module_passes(written: Written) -> None:
    assert check_plugin(written.module("thing_good", PROTOCOLS)).names == (("proxy", "thing"),)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("thing_deaf", GOOD, "protocols of 'thing' is empty"),
        ("thing_dumb", PROTOCOLS.replace('    """How large, in bytes."""', ""), "Config says nothing of size"),
        ("thing_ssl", "import ssl\n" + PROTOCOLS, "importing thing_ssl loads ssl, which is heavy"),
        ("thing_foreign", "import pytest\n" + PROTOCOLS, "loads .*pytest.*; import them inside open_x"),
        ("thing_identity", PROTOCOLS.replace("kw_only=True", "kw_only=True, eq=False"), "Config compares by identity"),
        ("thing_hook", PROTOCOLS.replace("kubevip_proxies", "kubevip_proxys"), "hook that does not exist"),
        ("thing_bare", PROTOCOLS.replace("@hookimpl", ""), "lacks the @hookimpl marker"),
        (
            "thing_open",
            PROTOCOLS.replace("(config, host)", "(config)"),
            r"open of 'thing' is called with \(config, host",
        ),
        (
            "thing_empty",
            PROTOCOLS.replace("    yield THING", "    return ()"),
            "no hook of thing_empty yields anything",
        ),
        ("thing_lines", PROTOCOLS.replace('"A thing"', '"A\\nthing"'), "the summary of 'thing' is"),
    ],
)
def test_a_broken_entry_module_is_named(written: Written, name: str, text: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_plugin(written.module(name, text))
    assert name in sys.modules


async def test_a_tenure_is_moved_and_ended_by_hand() -> None:
    tenure, heard = make_tenure(group="api", term=3, seconds=10), list[float]()
    tenure.follow(heard.append)
    assert (tenure.group, tenure.term) == ("api", 3)
    assert tenure.remaining_seconds == pytest.approx(10)
    tenure.renew(20)
    assert tenure.remaining_seconds == pytest.approx(20)
    tenure.end()
    assert tenure.remaining_seconds == -float("inf")
    assert len(heard) == 2


# Health checks


class Thermometer:
    """A health check of what the test says; `broken` names the duty that it breaks."""

    def __init__(self, broken: str = "") -> None:
        self.is_well, self.is_silent, self._broken = True, False, broken

    async def probe(self, target: Target) -> CheckResult:
        await sleep(0.01)
        if self.is_silent and self._broken != "hasty":
            with CancelScope(shield=self._broken == "stubborn"):
                await sleep(5 if self._broken == "stubborn" else 1e9)
        if self.is_well or self._broken == "blind":
            return CheckResult(is_good=self._broken != "gloomy")
        if self._broken == "raises":
            raise KubevipError("refused")
        if self._broken == "sleepy":
            await sleep(60)
        reasons = {"mute": "", "wordy": "refused\nby the kernel"}
        return CheckResult(is_good=False, reason=reasons.get(self._broken, "refused"))

    async def spoil(self) -> None:
        self.is_well = False

    async def mend(self) -> None:
        self.is_well, self.is_silent = True, False

    async def hang(self) -> None:
        self.is_silent = True


async def checked(it: Thermometer) -> None:
    await check_health_check(opening(lambda: it), spoil=it.spoil, mend=it.mend, hang=it.hang)


async def test_a_good_health_check_passes() -> None:
    await checked(Thermometer())


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("gloomy", "the target is well, and it said"),
        ("blind", "the target is ill, and it said"),
        ("raises", "it raised KubevipError: refused"),
        ("mute", "did not say why"),
        ("wordy", "more than one line"),
        ("sleepy", "no answer within 5 s"),
        ("hasty", "the target is silent, and it returned"),
        ("stubborn", "when cancelled"),
    ],
)
async def test_a_broken_health_check_is_found(broken: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        await checked(Thermometer(broken))
