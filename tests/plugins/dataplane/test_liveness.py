from __future__ import annotations

from kubevip_dataplane._liveness import MOST_UNANSWERED, MOST_UNANSWERED_AT_FIRST, Liveness


def asked(liveness: Liveness) -> int:
    """Ask until it is no use any more; return how often that was."""
    count = 0
    while liveness.ask():
        count += 1
    return count


def test_a_worker_that_never_answered_is_given_longer_than_one_that_has() -> None:
    liveness = Liveness()
    assert asked(liveness) == MOST_UNANSWERED_AT_FIRST
    liveness.hear()
    assert asked(liveness) == MOST_UNANSWERED


def test_an_answer_to_any_question_is_an_answer_to_all() -> None:
    liveness = Liveness()
    for _ in range(1000):
        assert liveness.ask()
        liveness.hear()
