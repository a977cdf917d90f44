"""Passive health: who is chosen after which answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubevip_dataplane.worker import RETRY_SECONDS, Backends, Target


def _targets(keys: str) -> list[Target]:
    return [Target(key, f"192.0.2.{index}", 80) for index, key in enumerate(keys, 1)]


def _turns(backends: Backends, now: float, count: int) -> str:
    turns = ""
    for _ in range(count):
        target = backends.choose(now)
        turns += target.key if target is not None else "-"
    return turns


def test_all_take_turns() -> None:
    assert _turns(Backends(_targets("abc")), 0.0, 6) == "abcabc"


def test_none_means_nobody() -> None:
    assert Backends().choose(0.0) is None


def test_tried_ones_are_not_tried_again() -> None:
    """Scenario 84."""
    backends = Backends(_targets("abc"))
    tried: list[Target] = []
    while (target := backends.choose(0.0, tried)) is not None:
        tried.append(target)
    assert "".join(target.key for target in tried) == "abc"


def test_one_that_failed_is_left_out_and_the_others_share_evenly() -> None:
    a, *rest = _targets("abc")
    backends = Backends([a, *rest])
    backends.failed(a, "refused", 10.0)
    assert sorted(_turns(backends, 10.0, 6)) == list("bbbccc")
    assert backends.down() == {"a": "refused"}


def test_after_a_while_one_connection_asks() -> None:
    a, b = _targets("ab")
    backends = Backends([a, b])
    backends.failed(a, "no answer", 10.0, is_silent=True)
    assert set(_turns(backends, 10.0 + RETRY_SECONDS - 0.1, 4)) == {"b"}
    assert _turns(backends, 10.0 + RETRY_SECONDS, 6).count("a") == 1
    backends.answered(a)
    assert backends.down() == {}
    assert sorted(_turns(backends, 13.0, 4)) == list("aabb")


def test_the_question_that_fails_starts_the_pause_anew() -> None:
    a, b = _targets("ab")
    backends = Backends([a, b])
    backends.failed(a, "no answer", 10.0, is_silent=True)
    assert "a" in _turns(backends, 12.0, 3)
    backends.failed(a, "no answer", 13.0, is_silent=True)
    assert "a" not in _turns(backends, 13.0 + RETRY_SECONDS - 0.1, 4)
    assert "a" in _turns(backends, 13.0 + RETRY_SECONDS, 4)


def test_a_question_that_was_given_up_is_asked_by_the_next() -> None:
    a, b = _targets("ab")
    backends = Backends([a, b])
    backends.failed(a, "no answer", 10.0, is_silent=True)
    assert "a" in _turns(backends, 12.0, 3)
    backends.spared(a)
    assert "a" in _turns(backends, 12.0, 3)


def test_when_all_are_down_those_that_refused_are_asked_and_silent_ones_are_not() -> None:
    """Scenario 86."""
    a, b, c = _targets("abc")
    backends = Backends([a, b, c])
    for target, is_silent in ((a, False), (b, True), (c, False)):
        backends.failed(target, "down", 10.0, is_silent=is_silent)
    assert sorted(_turns(backends, 10.0, 4)) == list("aacc")
    silent = Backends([b])
    silent.failed(b, "no answer", 10.0, is_silent=True)
    assert _turns(silent, 10.0, 2) == "--"
    assert _turns(silent, 12.0, 2) == "b-"


def test_what_is_known_of_a_backend_survives_a_new_list() -> None:
    a, b = _targets("ab")
    backends = Backends([a, b])
    backends.failed(a, "refused", 10.0)
    backends.replace([*_targets("ab"), Target("c", "192.0.2.9", 80)])
    assert backends.down() == {"a": "refused"}
    assert set(_turns(backends, 10.0, 4)) == {"b", "c"}
    backends.replace([Target("a", "192.0.2.77", 80)])  # the name has another address now
    assert backends.down() == {}


def test_news_of_a_backend_that_was_removed_change_nothing() -> None:
    a, b = _targets("ab")
    backends = Backends([a, b])
    backends.replace([b])
    backends.failed(a, "refused", 10.0)
    backends.answered(a)
    assert backends.down() == {}
    assert _turns(backends, 10.0, 3) == "bbb"


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["answered", "refused", "silent", "spared", "wait"]))))
def test_whatever_happens_the_count_of_those_that_are_down_is_right(events: list[tuple[int, str]]) -> None:
    """And as long as one is up, somebody is chosen, and nobody who is down is unless the pause is over."""
    targets = _targets("abcd")
    backends = Backends(targets)
    now = 0.0
    for index, event in events:
        target = targets[index]
        match event:
            case "answered":
                backends.answered(target)
            case "spared":
                backends.spared(target)
            case "wait":
                now += 1.5
            case _:
                backends.failed(target, event, now, is_silent=event == "silent")
        assert backends._down == len(backends.down())
        chosen = backends.choose(now)
        if len(backends.down()) < 4:
            assert chosen is not None
            assert not chosen.reason or now >= chosen.down_until
        if chosen is not None:
            backends.spared(chosen)
