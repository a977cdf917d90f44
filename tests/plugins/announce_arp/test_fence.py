"""The fence against a model of the kernel, in virtual time: whatever delays strike, nothing passes too late."""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubevip_announce_arp._fence import MARGIN_SECONDS, TICK_SECONDS, Fence, FenceError, Renewal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Step = tuple[Any, ...]
Key = tuple[int, int]


class Model:
    """Tables, socket and clock in one. `delays` yields how long each look at the clock and each commit takes.

    An element is judged by the time at which its transaction began and added by the time at which it is reached, as
    Linux does from 6.8 on: the worse of all orders for a fence.
    """

    name = "model"

    def __init__(self, delays: Iterator[float]) -> None:
        self._delays = delays
        self.now = 100.0
        self.commits = 0
        self.rules = 0
        self.alive: dict[tuple[int, int], float] = {}
        self.active: set[tuple[int, int]] = set()
        self.opened: list[tuple[float, float]] = []  # from when until when something passes, as far as known
        self.before_commit: Callable[[], None] = lambda: None

    def clock(self) -> float:
        now = self.now
        self.now += next(self._delays)
        return now

    # the socket
    def generation(self) -> int:
        return self.rules

    def rules_in_chain(self, family: int, table: str, chain: str) -> int:
        from kubevip_announce_arp._fence_tables import base_rules

        return base_rules(family)[chain] if self.rules >= 0 else 0

    def commit(self, changes: Iterable[Step]) -> None:
        self.now += next(self._delays)
        self.before_commit()
        began = self.now
        alive, active = dict(self.alive), set(self.active)
        gone = self.rules < 0
        for what, *arguments in changes:
            self.now += next(self._delays) / 50
            if what == "install":
                gone = False
                alive.clear()
                active.clear()
            elif gone:
                raise OSError(errno.ENOENT, "no table")
            elif what == "begin":
                key, milliseconds = arguments
                assert alive.get(key, 0) <= began, "an element that lives is not replaced"
                alive[key] = self.now + milliseconds / 1000
            elif what == "discard":
                alive.pop(arguments[0], None)
            elif what == "delete":
                if alive.pop(arguments[0], 0) <= began:
                    raise OSError(errno.ENOENT, "ran out")
            elif what == "activate":
                active.add(arguments[0])
            elif what == "deactivate":
                active.discard(arguments[0])
        self.alive, self.active = alive, active
        if gone is False and self.rules < 0:
            self.rules = 0
        self.commits += 1
        self.rules += 1
        self.now += next(self._delays)

    def passes_until(self, group: int) -> float:
        """When the group ceases to pass if nothing is done any more; 0 = it does not pass now."""
        ends = [self.alive[key] for key in self.active if key[0] == group and self.alive.get(key, 0) > self.now]
        return max(ends, default=0.0)

    # the tables
    def install(self) -> list[Step]:
        return [("install",)]

    def add_group(self, group: int) -> list[Step]:
        return [("group", group)]

    def add_addresses(self, members: Iterable[tuple[int, bytes]]) -> list[Step]:
        return [("address", *member) for member in members]

    def begin(self, lifetimes_ms: dict[Key, int]) -> list[Step]:
        return [("begin", key, lifetime) for key, lifetime in lifetimes_ms.items()]

    def discard(self, keys: list[Key]) -> list[Step]:
        return [("discard", key) for key in keys]

    def switch(self, keys: Iterable[Key], instead_of: Iterable[Key]) -> list[Step]:
        old = list(instead_of)
        return [
            *(("delete", key) for key in old),
            *(("deactivate", key) for key in old),
            *(("activate", key) for key in keys),
        ]

    def close(self, groups: Iterable[int]) -> list[Step]:
        return [("deactivate", (group, slot)) for group in groups for slot in (0, 1)]


def make(delays: Iterable[float] = ()) -> tuple[Fence, Model]:
    def endless() -> Iterator[float]:
        yield from delays
        while True:
            yield 0.00001

    model = Model(endless())
    fence = Fence(cast("Any", model), cast("Any", model), model.clock)
    fence.install()
    fence.add([("a", b"\1\1\1\1"), ("b", b"\2\2\2\2")])
    return fence, model


def test_a_renewed_group_passes_until_shortly_before_its_time() -> None:
    fence, model = make()
    until = model.now + 0.15
    assert fence.renew({"a": until}).opened == {"a"}
    assert until - MARGIN_SECONDS - 0.002 <= model.passes_until(0) <= until - TICK_SECONDS


def test_a_renewal_in_time_leaves_no_gap() -> None:
    fence, model = make()
    for _ in range(10):
        renewal = fence.renew({"a": model.now + 0.15})
        assert renewal == Renewal(opened=frozenset("a"))
        model.now += 0.05
        assert model.passes_until(0) > 0


def test_a_kernel_that_takes_its_time_gets_shorter_lifetimes_and_no_silence() -> None:
    fence, model = make(itertools.repeat(0.007))
    renewal = fence.renew({"a": model.now + 0.15})
    assert renewal.opened == {"a"}
    assert model.passes_until(0) > model.now + 0.03


def test_a_time_in_the_past_closes() -> None:
    fence, model = make()
    fence.renew({"a": model.now + 5})
    assert fence.renew({"a": model.now - 1}).opened == set()
    assert model.passes_until(0) == 0


def test_no_element_lives_without_end() -> None:
    fence, model = make()
    assert fence.renew({"a": float("inf")}).opened == {"a"}
    assert model.passes_until(0) <= model.now + 5


def test_one_that_ran_out_does_not_hinder_the_others() -> None:
    fence, model = make()
    fence.renew({"a": model.now + 0.05, "b": model.now + 5})
    model.now += 0.1
    renewal = fence.renew({"a": model.now + 5, "b": model.now + 5})
    assert renewal.opened == {"a", "b"}
    assert renewal.lapsed == {"a"}


def test_removed_tables_are_put_back_by_a_renewal_and_by_a_check() -> None:
    fence, model = make()
    fence.renew({"a": model.now + 5})
    for act in (lambda: fence.renew({"a": model.now + 5}), fence.check, lambda: fence.close(["a"])):
        model.rules, model.alive, model.active = -1, {}, set()
        installs = fence.installs
        act()
        assert fence.installs == installs + 1


def test_a_kernel_whose_elements_do_not_run_out_is_found_out() -> None:
    fence, model = make()

    def linger() -> None:
        model.alive = {key: end + 60 for key, end in model.alive.items()}

    model.before_commit = linger

    def sleep(seconds: float) -> None:
        model.now += seconds

    with pytest.raises(FenceError, match="does not run out"):
        fence.probe(sleep)


def test_a_good_kernel_passes_the_probe() -> None:
    fence, model = make()

    def sleep(seconds: float) -> None:
        model.now += seconds

    fence.probe(sleep)
    assert model.active == set()


def test_a_good_kernel_passes_the_probe_on_a_busy_machine() -> None:
    """A node that takes its kernel for a bad one runs unfenced until its next start."""
    fence, model = make([0.06] * 100)

    def sleep(seconds: float) -> None:
        model.now += seconds

    fence.probe(sleep)
    assert model.active == set()


DELAYS = st.lists(
    st.one_of(st.just(0.0), st.floats(0, 0.005), st.floats(0, 0.3), st.just(30.0)), min_size=1, max_size=60
)


@settings(max_examples=400)
@given(DELAYS, st.lists(st.tuples(st.floats(0, 0.3), st.floats(-0.05, 0.4)), min_size=1, max_size=10))
def test_whatever_is_delayed_nothing_passes_after_its_time(
    delays: list[float], renewals: list[tuple[float, float]]
) -> None:
    """The model commits to the end of each element as soon as it counts, so this holds also if nothing follows."""
    fence, model = make(delays)
    latest = 0.0

    def hold() -> None:  # at each commit: what counts now must end by the latest time that was ever promised
        for end in (model.alive.get(key, 0.0) for key in model.active):
            assert end <= latest

    model.before_commit = hold
    for pause, seconds in renewals:
        model.now += pause
        latest = max(latest, model.now + seconds)
        fence.renew({"a": model.now + seconds})
        hold()
