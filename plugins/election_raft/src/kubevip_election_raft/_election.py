"""The election that the core sees: any number of groups, all held by the leader of one raft group."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from random import Random

from anyio import (
    Event,
    create_task_group,
    current_time,
    fail_after,
    get_cancelled_exc_class,
    move_on_after,
    sleep,
    sleep_forever,
)
from attrs import define

from kubevip import Candidacy, Cause, Following, Latest, Leading
from kubevip.errors import ElectionError
from kubevip_election_raft._driver import Clock, Driver
from kubevip_election_raft._messages import NOT_STANDING, Message, Process, Release, TransferRequest, TransferResponse
from kubevip_election_raft._node import Node
from kubevip_election_raft._ready import Ready, Rise, Role, SoftState

logger = logging.getLogger("kubevip.raft")

#: How long `move` waits for the leader's answer, and for the target to lead.
ANSWER_SECONDS, MOVE_SECONDS = 1.0, 5.0


@define(kw_only=True, eq=False)
class Seat:
    """One candidacy.

    Its terms lie above `above`, the last one that the group had before. They are those of raft, but for a group that
    stands again while this member leads on: then they are ahead of raft's by what is needed not to repeat.
    """

    candidacy: Candidacy
    above: int
    term: int = -1
    following: Following | None = None
    _ahead: int | None = None

    def tell(self, state: SoftState, valid_until: float, cause: Cause | None) -> None:
        """Report what `state` means for the group: each renewal, and each change of the leader."""
        if valid_until > -math.inf:
            if self._ahead is None:
                self._ahead = max(0, self.above + 1 - state.term)
            self.term, self.following = state.term + self._ahead, None
            self.candidacy.report(Leading(term=self.term, valid_until=valid_until, cause=cause))
            return
        following = Following(leader=state.leader if state.role is not Role.LEADER else None)
        if following != self.following:
            self.following = following
            self.candidacy.report(following)


class RaftElection:
    """Stands for groups with one raft node. `run` runs as long as the election is open."""

    def __init__(
        self,
        process: Process,
        members: Sequence[str],
        *,
        clock: Clock,
        rng: Random,
        last_terms: dict[str, int],
        describe: Callable[[], Mapping[str, object]],
    ) -> None:
        """Prepare.

        :param last_terms: by group, the last terms of this process; kept up to date.
        :param describe: what else there is to say in `status`.
        """
        self._process, self._members, self._clock, self._rng, self._describe = (
            process,
            tuple(members),
            clock,
            rng,
            describe,
        )
        self._last_terms = last_terms
        self._driver: Driver | None = None
        self._seats: dict[str, Seat] = {}
        self._state: Latest[SoftState | None] = Latest(None)
        self._told: tuple[object, ...] = ()
        self._rise: Rise | None = None
        self._cause: Cause | None = None  # what `_rise` is to the core
        self._yielding = Event()
        self._answers: dict[int, Callable[[str], None]] = {}

    @property
    def follows_fitness(self) -> bool:
        """Always true: heartbeats carry every member's fitness, and an unfit leader hands over to a fit one."""
        return True

    async def run(self, driver: Driver) -> None:
        """Drive the node until cancelled.

        :raises ElectionError: when its disk fails. Nothing is released then.
        """
        self._driver = driver
        async with create_task_group() as tg:
            tg.start_soon(driver.run)
            tg.start_soon(self._yield_when_asked)

    async def campaign(self, candidacy: Candidacy) -> None:
        """Stand for a group until cancelled; the last candidacy that goes hands leadership over."""
        seat = Seat(candidacy=candidacy, above=self._last_terms.get(candidacy.group, -1))
        self._seats[candidacy.group] = seat
        try:
            async with create_task_group() as tg:
                tg.start_soon(self._follow_fitness, candidacy)
                if (state := self._state.value) is not None:
                    self._tell(seat, state)
                await sleep_forever()
        except get_cancelled_exc_class():
            self._leave_seat(seat)
            with move_on_after(candidacy.grace_seconds, shield=True):
                await self._release_if_last()
            raise
        finally:
            self._leave_seat(seat)

    async def move(self, group: str, to: str) -> None:
        """Hand leadership, and with it every group, over to `to`; return when it leads.

        :raises ElectionError: when it is no member, cannot be reached, or does not lead in time.
        """
        if to not in self._members:
            raise ElectionError(f"{to!r} is not a member (members: {', '.join(self._members)})")
        refusal = await self._ask_leader(to)
        if refusal:
            raise ElectionError(f"group {group!r} is not moved to {to}: {refusal}")
        try:
            with fail_after(MOVE_SECONDS):
                await self._state.wait_until(lambda state: state is not None and state.leader == to)
        except TimeoutError:
            raise ElectionError(f"{to} did not take over within {MOVE_SECONDS:.0f} s") from None

    def status(self) -> Mapping[str, object]:
        """Return what `kubevip status` shows of the members."""
        return self._describe()

    # What the node tells

    def changed(self, state: SoftState) -> None:
        """Take what the node is now, after everything that happened to it."""
        told = (state.role, state.term, state.leader, state.yielding_to)
        if told != self._told:
            self._log(state)
            self._told = told
            self._state.set(state)
            if state.yielding_to is not None:
                self._yielding.set()
        elif self._state.value is not None and state.lease_until == self._state.value.lease_until:
            return  # nothing that anybody outside would notice
        else:
            self._state.set(state)
        for seat in tuple(self._seats.values()):
            self._tell(seat, state)

    def receive(self, sender: Process, message: Message) -> None:
        """Take a message of a peer."""
        assert self._driver is not None  # the transport runs within `run`
        if isinstance(message, TransferResponse) and (answer := self._answers.pop(message.request, None)) is not None:
            answer(message.refusal)
        self._driver.do((sender.name, type(message)), lambda node, now: node.step(sender, message, now))

    def lost(self, peer: str) -> None:
        """Take the hint that a connection from or to a peer ended."""
        assert self._driver is not None  # as above
        self._driver.do((peer, "lost"), lambda node, now: node.disconnected(peer, now))

    def _tell(self, seat: Seat, state: SoftState) -> None:
        # The order of the two readings matters: a stall between them makes the tenure end earlier, never later.
        anyio_now = current_time()
        left = state.lease_until - self._clock.now()
        holds = state.role is Role.LEADER and left > 0 and state.yielding_to is None
        if holds and state.rise is not None and state.rise is not self._rise:
            self._rise, self._cause = state.rise, _cause_of(state.rise, anyio_now - self._clock.now())
        seat.tell(state, anyio_now + left if holds else -math.inf, self._cause)

    def _log(self, state: SoftState) -> None:
        before = self._told[:3]
        match state.role:
            case _ if (state.role, state.term, state.leader) == before:
                logger.info("handing over term=%d to=%s", state.term, state.yielding_to)
            case Role.LEADER:
                logger.info("leading term=%d members=%s", state.term, ",".join(self._members))
            case Role.FOLLOWER if state.leader is not None:
                logger.info("following leader=%s term=%d", state.leader, state.term)
            case _:
                logger.debug("%s term=%d", state.role.value, state.term)

    # Standing and leaving

    def _leave_seat(self, seat: Seat) -> None:
        group = seat.candidacy.group
        if self._seats.get(group) is seat:
            del self._seats[group]
            self._last_terms[group] = max(seat.term, seat.above)

    async def _follow_fitness(self, candidacy: Candidacy) -> None:
        seen = -1

        def is_new(fitness: int) -> bool:
            return fitness != seen

        while True:
            seen = await candidacy.fitness.wait_until(is_new)
            self._set_fitness()

    def _set_fitness(self) -> None:
        fitness = min((seat.candidacy.fitness.value for seat in self._seats.values()), default=NOT_STANDING)
        if self._driver is not None:
            self._driver.do("fitness", lambda node, now: node.set_fitness(fitness, now))

    async def _release_if_last(self) -> None:
        """The addresses of a candidacy that ended are gone. If it was the last, somebody else shall lead."""
        self._set_fitness()
        if self._seats or self._driver is None:
            return
        has_heir = Latest(False)

        def release(node: Node, now: float) -> Ready:
            ready = node.release(now)
            messages = [outgoing.message for outgoing in ready.messages]
            has_heir.set(any(isinstance(message, Release) and message.heir is not None for message in messages))
            return ready

        self._driver.do("release", release)
        if has_heir.value:  # stay and vote until it leads
            await self._state.wait_until(
                lambda state: state is not None and state.leader not in (None, self._process.name)
            )

    async def _yield_when_asked(self) -> None:
        """Withdraw everything, then release: the node wants another member to lead."""
        while True:
            await self._yielding.wait()
            self._yielding = Event()
            for seat in tuple(self._seats.values()):  # each was told already that it does not lead
                await self._withdrawn(seat.candidacy)
            if self._driver is not None:
                self._driver.do(
                    "yield", lambda node, now: node.release(now) if node.state.yielding_to else node.tick(now)
                )

    async def _withdrawn(self, candidacy: Candidacy) -> None:
        if candidacy.withdrawn is not None:
            await candidacy.withdrawn()
        elif (state := self._state.value) is not None and state.lease_until > -math.inf:
            await sleep(max(0.0, state.lease_until - self._clock.now()))

    # Moving

    async def _ask_leader(self, to: str) -> str:
        """Ask whoever leads to hand over to `to`; return the refusal, or "" when it begins to."""
        state, driver = None, self._driver
        with move_on_after(ANSWER_SECONDS):
            state = await self._state.wait_until(lambda state: state is not None and state.leader is not None)
        if state is None or driver is None or state.leader is None:
            return "nobody leads at the moment"
        refusal: Latest[str | None] = Latest(None)
        if state.leader == self._process.name:

            def transfer(node: Node, now: float) -> Ready:
                refusal.set(node.transfer(to, now))
                return node.tick(now)

            driver.do("transfer", transfer)
            return await self._answer(refusal, state.leader)
        request, leader = self._rng.getrandbits(32), state.leader
        self._answers[request] = refusal.set
        try:
            driver.do("request", lambda node, now: node.request(leader, TransferRequest(request=request, to=to)))
            return await self._answer(refusal, leader)
        finally:
            self._answers.pop(request, None)

    async def _answer(self, refusal: Latest[str | None], leader: str) -> str:
        with move_on_after(ANSWER_SECONDS):
            return await refusal.wait_until(lambda text: text is not None) or ""
        return f"the leader {leader} does not answer"


def _cause_of(rise: Rise, offset: float) -> Cause:
    """Return the same in the time of the event loop, which is `offset` ahead of the node's clock."""
    silent_since = None if rise.silent_since is None else rise.silent_since + offset
    return Cause(why=rise.why, silent_since=silent_since, stood_at=rise.stood_at + offset)
