"""The order around a leadership: guarded work unwinds first, then the election releases, whatever happens."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from anyio import CancelScope, create_task_group, current_time, sleep, sleep_forever, to_thread
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubevip import Latest, Leading, Placement
from kubevip._leadership import Campaign, Tenure
from kubevip.errors import ElectionError
from kubevip.testing import ManualElection, Recorder

if TYPE_CHECKING:
    from kubevip import Candidacy

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


async def stand(campaign: Campaign, election: ManualElection) -> None:
    await campaign.run(election, fitness=Latest(100), placement=Placement(), grace_seconds=1.0)


class Rig:
    """A campaign for "api" with one guarded body that records "up TERM" and "down TERM" and takes a while to unwind."""

    def __init__(self, *, unwind_seconds: float = 0.2) -> None:
        self.record = Recorder()
        self.election = ManualElection(self.record)
        self.campaign = Campaign("api")
        self._unwind_seconds = unwind_seconds

    async def start(self, tg: TaskGroup) -> None:
        tg.start_soon(self.campaign.while_leading, self._guarded)
        tg.start_soon(stand, self.campaign, self.election)
        await sleep(0.1)

    async def _guarded(self, tenure: Tenure) -> None:
        self.record(f"up {tenure.term}")
        try:
            await sleep_forever()
        finally:
            with CancelScope(shield=True):
                await sleep(self._unwind_seconds)
            self.record(f"down {tenure.term}")


async def test_a_tenure_ends_by_itself_when_the_election_hangs() -> None:
    rig = Rig()
    async with create_task_group() as tg:
        await rig.start(tg)
        rig.election.lead("api", 1.0)
        began = current_time()
        await sleep(5)
        up, down = (at - began for at, _ in rig.record.entries[1:])
        assert rig.record.words == ["stand api", "up 1", "down 1"]
        assert (round(up, 2), round(down, 2)) == (0.0, 1.2)
        tg.cancel_scope.cancel()


async def test_renewals_keep_a_tenure_and_change_nothing_else() -> None:
    rig = Rig()
    async with create_task_group() as tg:
        await rig.start(tg)
        for _ in range(20):
            rig.election.lead("api", 1.0, term=1)
            await sleep(0.5)
        assert rig.record.words == ["stand api", "up 1"]
        tg.cancel_scope.cancel()


async def test_a_shortened_tenure_ends_at_the_earlier_time() -> None:
    rig = Rig(unwind_seconds=0)
    async with create_task_group() as tg:
        await rig.start(tg)
        rig.election.lead("api", 10.0, term=1)
        await sleep(0.5)
        rig.election.lead("api", 0.5, term=1)
        began = current_time()
        await sleep(1)
        assert round(rig.record.entries[-1][0] - began, 2) == 0.5
        assert rig.record.words[-1] == "down 1"
        tg.cancel_scope.cancel()


async def test_a_renewal_in_the_past_ends_the_tenure_and_starts_none() -> None:
    rig = Rig()
    async with create_task_group() as tg:
        await rig.start(tg)
        rig.election.lead("api", 10.0, term=1)
        await sleep(0.5)
        rig.election.lead("api", -1.0, term=1)
        await sleep(1)
        assert rig.record.words == ["stand api", "up 1", "down 1"]
        tg.cancel_scope.cancel()


async def test_a_late_renewal_after_the_end_begins_a_new_tenure_only_after_unwinding() -> None:
    rig = Rig(unwind_seconds=1.0)
    async with create_task_group() as tg:
        await rig.start(tg)
        rig.election.lead("api", 0.5, term=1)
        await sleep(0.6)
        rig.election.lead("api", 10.0, term=1)
        await sleep(2)
        assert rig.record.words == ["stand api", "up 1", "down 1", "up 1"]
        tg.cancel_scope.cancel()


async def test_a_renewal_that_comes_after_the_end_and_before_its_timer_revives_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine that is late, work sees that its tenure is over, and then the renewal comes: it would never run."""
    rig = Rig()
    async with create_task_group() as tg:
        await rig.start(tg)
        rig.election.lead("api", 0.5, term=1)
        await sleep(0.4)
        over, late = rig.campaign.tenure.value, current_time() + 0.2
        assert over is not None
        with monkeypatch.context() as stalled:  # nothing ran for 0.2 s, the timer neither
            stalled.setattr("kubevip._leadership.current_time", lambda: late)
            assert over.remaining_seconds < 0
            rig.election.lead("api", 10.0, term=1)
        assert over.remaining_seconds < 0
        await sleep(1)
        assert rig.record.words == ["stand api", "up 1", "down 1", "up 1"]
        tg.cancel_scope.cancel()


@pytest.mark.parametrize(("seconds", "left"), [(-math.inf, -math.inf), (0.05, 0.05), (60.0, 9.0)])
async def test_who_gives_leadership_away_says_until_when_what_was_held_may_be_withdrawn(
    seconds: float, left: float
) -> None:
    """Never for longer than the tenure had been promised."""
    rig = Rig(unwind_seconds=0.01)
    async with create_task_group() as tg:
        await rig.start(tg)
        rig.election.lead("api", 10.0)
        await sleep(1)
        tenure = rig.campaign.tenure.value
        assert tenure is not None
        rig.election.follow("api", "n2", seconds=seconds)
        assert rig.campaign.tenure.value is None
        assert tenure.remaining_seconds == pytest.approx(left)
        await sleep(0.02)
        assert rig.record.words == ["stand api", "up 1", "down 1"]
        rig.election.lead("api", 10.0, term=1)
        assert tenure.remaining_seconds == (left if left == -math.inf else pytest.approx(left - 0.02))
        tg.cancel_scope.cancel()


@pytest.mark.parametrize("seconds_until_cancel", [0.0, 0.05, 0.5])
async def test_cancellation_unwinds_before_it_releases(seconds_until_cancel: float) -> None:
    rig = Rig()
    async with create_task_group() as tg:
        tg.start_soon(rig.campaign.while_leading, rig._guarded)
        async with create_task_group() as standing:
            standing.start_soon(stand, rig.campaign, rig.election)
            await sleep(0.1)
            rig.election.lead("api", 10.0)
            await sleep(seconds_until_cancel)
            standing.cancel_scope.cancel()
        tg.cancel_scope.cancel()
    words = rig.record.words
    assert words[-1] == "release api"
    assert words.count("up 1") == words.count("down 1")


async def test_hard_cancellation_of_everything_keeps_the_order() -> None:
    rig = Rig()
    async with create_task_group() as tg:
        await rig.start(tg)
        rig.election.lead("api", 10.0)
        await sleep(0.1)
        tg.cancel_scope.cancel()
    assert rig.record.words == ["stand api", "up 1", "down 1", "release api"]


async def test_an_election_that_fails_ends_the_work_without_a_release() -> None:
    rig = Rig()
    with pytest.raises(BaseExceptionGroup) as caught:
        async with create_task_group() as tg:
            await rig.start(tg)
            rig.election.lead("api", 10.0)
            await sleep(0.1)
            rig.election.fail("api")
    assert caught.group_contains(RuntimeError, match="as the test wanted")
    assert rig.record.words == ["stand api", "up 1", "down 1"]


class ReturningElection:
    async def campaign(self, candidacy: Candidacy) -> None:
        await sleep(1)


async def test_an_election_that_returns_is_an_error_that_names_the_group() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        await Campaign("api").run(ReturningElection(), fitness=Latest(100), placement=Placement(), grace_seconds=1.0)
    assert caught.group_contains(ElectionError, match="'api'")


async def test_a_report_after_the_campaign_starts_nothing() -> None:
    rig = Rig()
    async with create_task_group() as tg:
        tg.start_soon(rig.campaign.while_leading, rig._guarded)
        async with create_task_group() as standing:
            standing.start_soon(stand, rig.campaign, rig.election)
            await sleep(0.1)
            standing.cancel_scope.cancel()
        rig.election.lead("api", 10.0)
        await sleep(1)
        tg.cancel_scope.cancel()
    assert rig.record.words == ["stand api", "release api"]


async def test_work_that_restarts_within_a_tenure_needs_no_new_election() -> None:
    """Scenario 38: what is started again while leading gets the tenure of now."""
    rig = Rig(unwind_seconds=0)
    async with create_task_group() as tg:
        tg.start_soon(stand, rig.campaign, rig.election)
        await sleep(0.1)
        rig.election.lead("api", 10.0)
        for _ in range(2):
            async with create_task_group() as item:
                item.start_soon(rig.campaign.while_leading, rig._guarded)
                await sleep(1)
                item.cancel_scope.cancel()
        assert rig.record.words == ["stand api", "up 1", "down 1", "up 1", "down 1"]
        tg.cancel_scope.cancel()


async def test_guarded_work_that_returns_while_leading_is_an_error() -> None:
    campaign, election = Campaign("api"), ManualElection()

    async def returns(tenure: Tenure) -> None:
        await checkpoint()

    with pytest.raises(BaseExceptionGroup) as caught:
        async with create_task_group() as tg:
            tg.start_soon(campaign.while_leading, returns)
            tg.start_soon(stand, campaign, election)
            await sleep(0.1)
            election.lead("api", 1.0)
            await sleep(1)
    assert caught.group_contains(RuntimeError, match="ended although")


async def test_followers_hear_every_renewal_and_the_end() -> None:
    rig = Rig()
    heard: list[float] = []
    async with create_task_group() as tg:
        await rig.start(tg)
        rig.election.lead("api", 1.0, term=1)
        tenure = rig.campaign.tenure.value
        assert tenure is not None
        stop = tenure.follow(heard.append)
        rig.election.lead("api", 2.0, term=1)
        rig.election.follow("api")
        stop()
        stop()
        tg.cancel_scope.cancel()
    assert heard == [pytest.approx(current_time() + 2.0, abs=1), -math.inf]
    assert tenure is not None
    assert tenure.remaining_seconds <= 0


async def _schedule(steps: list[tuple[str, float]]) -> list[str]:
    rig = Rig(unwind_seconds=0.3)
    async with create_task_group() as tg:
        await rig.start(tg)
        for what, seconds in steps:
            match what:
                case "lead":
                    rig.election.lead("api", seconds)
                case "renew":
                    rig.election.lead("api", seconds, term=max(rig.election._term, 1))
                case "follow":
                    rig.election.follow("api", "n2")
                case _:
                    await sleep(seconds)
        tg.cancel_scope.cancel()
    return rig.record.words


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["lead", "renew", "follow", "wait", "wait"]),
        st.sampled_from([-0.5, 0.0, 0.1, 0.3, 0.31, 1.0]),
    ),
    max_size=12,
)


@given(steps=STEPS)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_in_any_schedule_work_is_up_once_and_down_before_the_release(steps: list[tuple[str, float]]) -> None:
    words = await _schedule([(what, max(seconds, 0.0) if what == "wait" else seconds) for what, seconds in steps])
    assert words[0] == "stand api"
    assert words[-1] == "release api"
    up: str | None = None
    for word in words[1:-1]:
        verb, term = word.split()
        if verb == "up":
            assert up is None, words
            up = term
        else:
            assert (verb, term) == ("down", up), words
            up = None
    assert up is None


async def test_the_terms_of_the_tenure_are_what_the_election_said() -> None:
    campaign, election = Campaign("api"), ManualElection()
    async with create_task_group() as tg:
        tg.start_soon(stand, campaign, election)
        await sleep(0.1)
        election.lead("api", 1.0, term=7)
        assert campaign.leadership.value == Leading(term=7, valid_until=current_time() + 1.0)
        assert campaign.tenure.value is not None
        assert (campaign.tenure.value.term, campaign.tenure.value.group) == (7, "api")
        await to_thread.run_sync(lambda: None)
        tg.cancel_scope.cancel()
