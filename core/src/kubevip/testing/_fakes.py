"""Services that do what a test tells them and record what they are told."""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from random import Random
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, current_time, sleep
from anyio.lowlevel import checkpoint

from kubevip._contract import Following, Host, Leading
from kubevip.errors import AnnounceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence
    from pathlib import Path

    from kubevip._contract import Candidacy, Health, Listener, ListenerHealth, Serving, Standby
    from kubevip._leadership import Tenure
    from kubevip._model import Backend, VirtualIP
    from kubevip.errors import ProxyError


class Recorder:
    """What happened, in order: words such as "announce api", each with the time at which it happened."""

    def __init__(self) -> None:
        self.entries: list[tuple[float, str]] = []

    def __call__(self, what: str) -> None:
        """Record `what` now."""
        self.entries.append((current_time(), what))

    @property
    def words(self) -> list[str]:
        """Everything recorded so far, without times."""
        return [what for _, what in self.entries]

    def clear(self) -> None:
        """Forget everything."""
        self.entries.clear()


def _no_will(order: int, function: str, payload: bytes | None) -> None:
    """Leave nothing."""


def make_host(state_dir: Path, *, node_name: str = "n1", seed: int = 1, incarnation: int = 1) -> Host:
    """Return what a provider is opened with, for tests: `state_dir` must exist."""
    return Host(
        node_name=node_name,
        instance="test",
        state_dir=state_dir,
        rng=Random(seed),
        will=_no_will,
        incarnation=incarnation,
        allow_insecure=True,
    )


class ManualElection:
    """An election that the test decides, for any number of groups. `release_seconds` is how long a release takes."""

    def __init__(self, record: Callable[[str], None] = lambda word: None, *, release_seconds: float = 0.0) -> None:
        self.candidacies: dict[str, Candidacy] = {}
        self._record, self._release_seconds = record, release_seconds
        self._failing: dict[str, Event] = {}
        self._term = 0

    def lead(self, group: str, seconds: float, *, term: int | None = None) -> int:
        """Report leadership for `seconds` from now, in a new term unless one is given; return the term."""
        if term is None:
            self._term += 1
            term = self._term
        self.candidacies[group].report(Leading(term=term, valid_until=current_time() + seconds))
        return term

    def follow(self, group: str, leader: str | None = None, *, seconds: float = -math.inf) -> None:
        """Report that somebody else leads, or will: what is held here has `seconds` to be withdrawn in good order."""
        self.candidacies[group].report(Following(leader=leader, valid_until=current_time() + seconds))

    def fail(self, group: str) -> None:
        """Let the candidacy raise, as an election does whose storage broke."""
        self._failing[group].set()

    async def campaign(self, candidacy: Candidacy) -> None:
        """Stand until cancelled; reports come from the test."""
        failing = self._failing[candidacy.group] = Event()
        self.candidacies[candidacy.group] = candidacy
        self._record(f"stand {candidacy.group}")
        try:
            await failing.wait()
        except BaseException:
            await _take(self._release_seconds)
            self._record(f"release {candidacy.group}")
            raise
        raise RuntimeError(f"the election of {candidacy.group} failed as the test wanted")


class FakeAnnouncer:
    """Records "announce NAME" and "withdraw NAME", each after its seconds; raises `refusal` if set."""

    def __init__(
        self, record: Callable[[str], None], *, enter_seconds: float = 0.0, leave_seconds: float = 0.0, name: str = ""
    ) -> None:
        self.refusal: Exception | None = None
        self.reports: dict[str, Callable[[Health], None]] = {}
        self._record, self._enter, self._leave = record, enter_seconds, leave_seconds
        self._name = f"{name} " if name else ""

    @asynccontextmanager
    async def announce(self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]) -> AsyncGenerator[None]:
        """Pretend that `vip` is reachable, unless the tenure is over."""
        if self.refusal is not None:
            raise self.refusal
        await sleep(self._enter)
        if tenure.remaining_seconds <= 0:
            raise AnnounceError(f"{vip.name}: {vip.address} is not announced in a tenure that is over")
        self.reports[vip.name] = report
        self._record(f"{self._name}announce {vip.name}")
        try:
            yield
        finally:
            await _take(self._leave)
            self._record(f"{self._name}withdraw {vip.name}")


class _FakeServing:
    def __init__(self, record: Callable[[str], None], name: str) -> None:
        self._record, self._name = record, name

    def set_backends(self, backends: Sequence[Backend]) -> None:
        self._record(f"backends {self._name} {len(backends)}")

    def set_drain(self, seconds: float) -> None:
        self._record(f"drain {self._name} {seconds:g}")


class FakeProxy:
    """Records "listen NAME", "backends NAME COUNT", "drain NAME SECONDS", "close NAME"; raises `refusal` if set."""

    def __init__(self, record: Callable[[str], None], *, enter_seconds: float = 0.0) -> None:
        self.refusal: Exception | None = None
        self._record, self._enter = record, enter_seconds

    @asynccontextmanager
    async def serve(self, listener: Listener, report: Callable[[ListenerHealth], None]) -> AsyncGenerator[Serving]:
        """Pretend to listen."""
        await sleep(self._enter)
        if self.refusal is not None:
            raise self.refusal
        self._record(f"listen {listener.name}")
        try:
            yield _FakeServing(self._record, listener.name)
        finally:
            self._record(f"close {listener.name}")


class FakeStandbyProxy(FakeProxy):
    """Records "ready NAME" and "unready NAME" as well, and "relay NAME"; listens at once, or raises `deafness`."""

    def __init__(self, record: Callable[[str], None], *, enter_seconds: float = 0.0) -> None:
        super().__init__(record, enter_seconds=enter_seconds)
        self.deafness: ProxyError | None = None
        self.reports: dict[str, Callable[[ListenerHealth], None]] = {}

    @asynccontextmanager
    async def stand_by(self, listener: Listener, report: Callable[[ListenerHealth], None]) -> AsyncGenerator[Standby]:
        """Pretend to be ready."""
        await sleep(self._enter)
        if self.refusal is not None:
            raise self.refusal
        self._record(f"ready {listener.name}")
        self.reports[listener.name] = report
        standby = _FakeStandby(self, self._record, listener.name)
        try:
            yield standby
        finally:
            await standby.close()
            self._record(f"unready {listener.name}")


class _FakeStandby(_FakeServing):
    def __init__(self, proxy: FakeStandbyProxy, record: Callable[[str], None], name: str) -> None:
        super().__init__(record, name)
        self._proxy, self._listens = proxy, False

    def listen(self, tenure: Tenure) -> None:
        if self._proxy.deafness is not None:
            raise self._proxy.deafness
        self._record(f"listen {self._name}")
        self._listens = True

    def relay(self) -> None:
        self._record(f"relay {self._name}")

    async def close(self) -> None:
        if self._listens:
            self._listens = False
            await _take(0.0)
            self._record(f"close {self._name}")


async def _take(seconds: float) -> None:
    """Let cleaning up take a while, as it does in life."""
    with CancelScope(shield=True):
        if seconds:
            await sleep(seconds)
        else:
            await checkpoint()
