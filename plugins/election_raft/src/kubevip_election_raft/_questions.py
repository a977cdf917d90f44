"""What is asked of the leader, here or elsewhere: to place a group on a member, to add or remove one."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from random import Random

from anyio import fail_after, move_on_after, sleep

from kubevip import Latest
from kubevip.errors import ElectionError
from kubevip_election_raft._consensus.entries import MemberRecord
from kubevip_election_raft._consensus.messages import (
    MembersRequest,
    MembersResponse,
    MoveRequest,
    MoveResponse,
    OffersResponse,
)
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Ready, SoftState
from kubevip_election_raft._driver import Clock, Driver

#: How long `move` waits for the leader's answer, and for the target to hold the group.
ANSWER_SECONDS, MOVE_SECONDS = 1.0, 5.0

#: How long a change of the members may take: the one before it is to be over, and groups to go elsewhere first.
CHANGE_SECONDS = 10.0

#: Whether a target holds a group already is seen from the promises of this member, which change without notice.
LOOK_SECONDS = 0.002

Answer = MoveResponse | OffersResponse | MembersResponse


class Questions:
    """What one member asks, and whose answers are outstanding. `driver` is set while the node runs."""

    def __init__(self, own: str, state: Latest[SoftState | None], *, clock: Clock, rng: Random) -> None:
        """Prepare.

        :param state: what the node is, kept up to date.
        :param rng: what questions are numbered with, so that an answer to an earlier run is taken for nothing.
        """
        self._own, self._state, self._clock, self._rng = own, state, clock, rng
        self.driver: Driver | None = None
        self._outstanding: dict[int, Callable[[Answer], None]] = {}

    @contextmanager
    def asked(self, take: Callable[[Answer], None]) -> Generator[int]:
        """Have `take` called with the answer to the question that bears this number, while the body runs."""
        number = self._rng.getrandbits(32) or 1
        self._outstanding[number] = take
        try:
            yield number
        finally:
            self._outstanding.pop(number, None)

    def take(self, answer: Answer) -> None:
        """Take an answer; one that nobody waits for is dropped."""
        take = self._outstanding.pop(answer.request, None)
        if take is not None:
            take(answer)

    # Moving

    async def move(self, group: str, to: str) -> None:
        """Move `group` to the member `to`; return when that holds it.

        :raises ElectionError: when the leader refuses or does not answer, or the target does not hold it in time.
        """
        refusal = await self._ask_to_move(group, to)
        if refusal:
            raise ElectionError(f"group {group!r} is not moved to {to}: {refusal}")
        driver = self.driver
        assert driver is not None  # the leader was asked through it
        try:
            with fail_after(MOVE_SECONDS):
                while driver.node.promised_to(group, self._clock.now()) != to:
                    await sleep(LOOK_SECONDS)
        except TimeoutError:
            raise ElectionError(f"{to} did not take over within {MOVE_SECONDS:.0f} s") from None

    async def _ask_to_move(self, group: str, to: str) -> str:
        """Ask whoever leads to place `group` on `to`; return the refusal, or "" when it did."""
        state, driver = None, self.driver
        with move_on_after(ANSWER_SECONDS):
            state = await self._state.wait_until(lambda state: state is not None and state.leader is not None)
        if state is None or driver is None or state.leader is None:
            return "nobody leads at the moment"
        refusal: Latest[str | None] = Latest(None)
        leader = state.leader
        if leader == self._own:

            def move(node: Node, now: float) -> Ready:
                refusal.set(node.move(group, to, now))
                return node.tick(now)

            driver.do("move", move)
            return await _text_of(refusal, leader)
        with self.asked(lambda answer: refusal.set(getattr(answer, "refusal", None))) as number:
            message = MoveRequest(request=number, group=group, to=to)
            driver.do("request", lambda node, now: node.request(leader, message, now))
            return await _text_of(refusal, leader)

    # Members

    async def change(self, member: MemberRecord, *, is_removal: bool) -> None:
        """Have the leader add or remove a member, and ask again while that has to wait.

        :raises ElectionError: when it refuses, or nobody leads who could do it in time.
        """
        answer = MembersResponse(request=0, refusal="nobody leads at the moment")
        with move_on_after(CHANGE_SECONDS):
            while True:
                answer = await self._ask_to_change(member, is_removal=is_removal)
                if not answer.refusal:
                    return
                if not answer.wait_seconds:
                    break
                await sleep(answer.wait_seconds)
        raise ElectionError(answer.refusal)

    async def _ask_to_change(self, member: MemberRecord, *, is_removal: bool) -> MembersResponse:
        nobody = MembersResponse(request=0, refusal="nobody leads at the moment", wait_seconds=0.1)
        driver, state = self.driver, self._state.value
        if driver is None or state is None or state.leader is None:
            return nobody
        found: Latest[MembersResponse | None] = Latest(None)
        leader = state.leader

        def take(answer: Answer) -> None:
            if isinstance(answer, MembersResponse):
                found.set(answer)

        def change(node: Node, now: float) -> Ready:
            found.set(node.change_members(member, is_removal=is_removal, now=now))
            return node.tick(now)

        with self.asked(take) as number:
            if leader == self._own:
                driver.do("change", change)
            else:
                message = MembersRequest(request=number, member=member, is_removal=is_removal)
                driver.do("request", lambda node, now: node.request(leader, message, now))
            with move_on_after(ANSWER_SECONDS):
                await found.wait_until(lambda answer: answer is not None)
        return found.value or nobody


async def _text_of(refusal: Latest[str | None], leader: str) -> str:
    with move_on_after(ANSWER_SECONDS):
        return await refusal.wait_until(lambda text: text is not None) or ""
    return f"the leader {leader} does not answer"
