"""Who holds what is known while a leader is, and a little longer; in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from anyio import create_task_group, sleep

from kubevip import Latest
from kubevip_election_raft._consensus.entries import GroupState
from kubevip_election_raft._consensus.ready import Role, SoftState
from kubevip_election_raft._contact import PATIENCE_SECONDS, Contact

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


def led_by(leader: str | None) -> SoftState:
    return SoftState(role=Role.FOLLOWER, term=1, leader=leader, holdings={}, leaving={}, agreed=GroupState())


async def test_contact_begins_with_a_leader_and_outlives_its_successor_but_not_its_absence() -> None:
    state, seen = Latest[SoftState | None](None), list[bool]()
    contact = Contact(state, lambda: 0.18, lambda: seen.append(contact.is_there))
    async with create_task_group() as tg:
        tg.start_soon(contact.run)
        state.set(led_by(None))
        await sleep(10)
        assert seen == []  # what is on the disk from before says nothing of now
        state.set(led_by("n1"))
        await sleep(1)
        state.set(led_by(None))
        await sleep(PATIENCE_SECONDS / 2)
        state.set(led_by("n2"))
        await sleep(10)
        assert seen == [True]
        state.set(led_by(None))
        await sleep(PATIENCE_SECONDS + 0.1)
        assert seen == [True, False]
        state.set(led_by("n2"))
        await sleep(1)
        assert seen == [True, False, True]
        tg.cancel_scope.cancel()


async def test_long_promises_are_waited_for_longer() -> None:
    state, seen = Latest[SoftState | None](led_by("n1")), list[bool]()
    contact = Contact(state, lambda: 1.2, lambda: seen.append(contact.is_there))
    async with create_task_group() as tg:
        tg.start_soon(contact.run)
        await sleep(1)
        state.set(led_by(None))
        await sleep(3.5)
        assert seen == [True]
        await sleep(0.2)
        assert seen == [True, False]
        tg.cancel_scope.cancel()
