"""What the core provides itself: the election of a node that is alone, and the static source."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import create_task_group, current_time, sleep

from kubevip import Candidacy, Desired, Latest, Leadership, Leading, Placement
from kubevip._builtin import plugin
from kubevip._builtin._single import LEASE_SECONDS, SingleElection
from kubevip._builtin._static import StaticSource
from kubevip._leadership import Campaign
from kubevip.abc import SupportsFitness, SupportsLoad
from kubevip.testing import check_plugin

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


def test_the_built_in_plugin_keeps_the_rules_of_plugins() -> None:
    assert check_plugin(plugin).names == (("election", "single"), ("source", "static"))


async def test_a_node_that_is_alone_leads_at_once_and_for_as_long_as_it_stands() -> None:
    campaign = Campaign("api")
    async with create_task_group() as tg:

        async def stand() -> None:
            await campaign.run(SingleElection(), fitness=Latest(0), placement=Placement(), grace_seconds=1.0)

        tg.start_soon(stand)
        await sleep(0.001)
        held = campaign.tenure.value
        assert held is not None
        for _ in range(100):
            await sleep(0.7)
            assert campaign.tenure.value is held
            assert held.remaining_seconds > LEASE_SECONDS / 2
        tg.cancel_scope.cancel()


async def test_groups_that_stand_again_get_new_terms_also_from_another_instance() -> None:
    reports: list[Leadership] = []
    for _ in range(3):
        candidacy = Candidacy(
            group="api", report=reports.append, fitness=Latest(100), placement=Placement(), grace_seconds=1.0
        )
        async with create_task_group() as tg:
            tg.start_soon(SingleElection().campaign, candidacy)
            await sleep(0.1)
            tg.cancel_scope.cancel()
    terms = [now.term for now in reports if isinstance(now, Leading)]
    assert len(set(terms)) == len(terms) == 3
    last = reports[-1]
    assert isinstance(last, Leading)
    assert last.valid_until <= current_time() + LEASE_SECONDS


def test_what_they_can_do_is_found() -> None:
    assert isinstance(SingleElection(), SupportsFitness)
    assert isinstance(StaticSource(Desired()), SupportsLoad)
