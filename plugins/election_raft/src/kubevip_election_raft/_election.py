"""The election that the core sees: any number of groups, each held by the member that the raft group agreed on."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from ipaddress import ip_address
from random import Random

from anyio import (
    Event,
    create_task_group,
    current_time,
    get_cancelled_exc_class,
    move_on_after,
    sleep_forever,
)
from anyio.abc import TaskGroup
from attrs import evolve

from kubevip import Candidacy, Latest
from kubevip.errors import ElectionError
from kubevip_election_raft._config import DEFAULT_PORT
from kubevip_election_raft._consensus.entries import MemberRecord
from kubevip_election_raft._consensus.messages import (
    Introduction,
    Message,
    Offer,
    Process,
    Release,
)
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Ready, Role, SoftState
from kubevip_election_raft._contact import Contact
from kubevip_election_raft._driver import Clock, Driver
from kubevip_election_raft._questions import Answer, Questions
from kubevip_election_raft._seat import Seat

logger = logging.getLogger("kubevip.raft")

LONGEST_NAME = 253

#: How long `relieve` waits for the leader's answer, and for others to take over.
RELIEF_ANSWER_SECONDS, RELIEF_SECONDS = 0.3, 0.8


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
        is_witness: bool = False,
        describe: Callable[[], Mapping[str, object]],
    ) -> None:
        """Prepare.

        :param last_terms: by group, the last terms of this process; kept up to date.
        :param is_witness: vote only: nothing is held here, whatever stands.
        :param describe: what else there is to say in `status`.
        """
        self._process, self._members, self._clock, self._describe = process, tuple(members), clock, describe
        self._last_terms, self._is_witness = last_terms, is_witness
        self._driver: Driver | None = None
        self._tasks: TaskGroup | None = None
        self._seats: dict[str, Seat] = {}
        self._is_leaving = False
        self._offers_changed = Event()
        self._state: Latest[SoftState | None] = Latest(None)
        self._withdrawing: set[str] = set()
        self._questions = Questions(process.name, self._state, clock=clock, rng=rng)
        self._contact = Contact(self._state, self._longest_promise, self._tell_all)

    @property
    def follows_fitness(self) -> bool:
        """Always true: the leader knows every member's fitness, and places groups on fit ones."""
        return True

    async def run(self, driver: Driver) -> None:
        """Drive the node until cancelled.

        :raises ElectionError: when its disk fails. Nothing is released then.
        """
        self._driver = self._questions.driver = driver
        async with create_task_group() as tg:
            self._tasks = tg
            tg.start_soon(driver.run)
            tg.start_soon(self._tell_offers)
            tg.start_soon(self._contact.run)

    async def campaign(self, candidacy: Candidacy) -> None:
        """Stand for a group until cancelled; then give it back, and leadership with the last one."""
        seat = Seat(candidacy=candidacy, term=self._last_terms.get(candidacy.group, 0), own=self._process.name)
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
                await self._release(candidacy.group)
            raise
        finally:
            self._leave_seat(seat)

    async def relieve(self) -> None:
        """Have everything that is held here placed elsewhere; return when nothing is held here any more.

        Returns early when nobody can take it, and in any case within 1.1 s. From now on this member stands for nothing
        that others can take.
        """
        driver = self._driver
        if driver is None:
            return
        self._is_leaving = True
        kept: Latest[int | None] = Latest(None)
        offers, promise_seconds = self._offers(), self._promise_seconds

        def leave(node: Node, now: float) -> Ready:
            ready = node.offer(offers, now, is_leaving=True, request=request, promise_seconds=promise_seconds)
            if node.state.role is Role.LEADER:
                kept.set(node.held_by_me)
            return ready

        with self._questions.asked(lambda answer: kept.set(getattr(answer, "kept", None))) as request:
            driver.do("relief", leave)  # not "offers": while the disk works those may be told anew
            with move_on_after(RELIEF_ANSWER_SECONDS):
                await kept.wait_until(lambda count: count is not None)
            if (left := kept.value) is not None:
                with move_on_after(RELIEF_SECONDS):
                    await self._state.wait_until(lambda state: state is not None and self._count(state) <= left)

    async def move(self, group: str, to: str) -> None:
        """Move `group` to the member `to`; return when that holds it.

        :raises ElectionError: when it is no member, cannot be reached, or does not hold it in time.
        """
        members = self._members if self._driver is None else self._driver.node.members
        if to not in members:
            raise ElectionError(f"{to!r} is not a member (members: {', '.join(members)})")
        await self._questions.move(group, to)

    def status(self) -> Mapping[str, object]:
        """Return what `kubevip status` shows of the members."""
        return self._describe()

    async def request(self, verb: str, args: Mapping[str, object]) -> object:
        """Show or change the members: `list`, `add`, `remove`, `replace`, with `name`, and for `add` `address`, `port`.

        :raises ElectionError: when it is refused, or nobody leads who could do it in time.
        """
        driver = self._driver
        if driver is None:
            raise ElectionError("the election is not open yet")
        if verb == "list":
            return {"members": self._describe()["members"]}
        name, known = str(args.get("name", "")), {record.name: record for record in driver.node.records}
        try:
            match verb:
                case "add":
                    await self._questions.change(_record_of(name, args), is_removal=False)
                    return f"{name} is a member"
                case "remove":
                    await self._questions.change(MemberRecord(name=name), is_removal=True)
                    return f"{name} is no member any more"
                case "replace" if name in known:
                    await self._questions.change(known[name], is_removal=True)
                    await self._questions.change(evolve(known[name], birth=0), is_removal=False)
                    return f"{name} is a member anew, whoever has its name and keys"
                case "replace":
                    raise ElectionError(f"{name!r} is not a member (members: {', '.join(known)})")
                case _:
                    raise ElectionError(f"unknown request {verb!r}")
        except ValueError as error:
            raise ElectionError(str(error)) from None

    # What the node tells

    def changed(self, state: SoftState) -> None:
        """Take what the node is now, after everything that happened to it."""
        before = self._state.value
        if before is not None and (state.role, state.term, state.leader) == (before.role, before.term, before.leader):
            if state.holdings is before.holdings and state.leaving is before.leaving and state.agreed is before.agreed:
                return  # nothing that anybody outside would notice
        else:
            self._log(state)
        self._state.set(state)
        self._tell_all()
        for group in state.leaving:
            if group not in self._withdrawing and self._tasks is not None:
                self._withdrawing.add(group)
                self._tasks.start_soon(self._withdraw, group)

    def receive(self, sender: Process, messages: Sequence[Message]) -> None:
        """Take what a peer said in one breath."""
        assert self._driver is not None  # the transport runs within `run`
        for message in messages:
            if isinstance(message, Answer):
                self._questions.take(message)
        self._driver.do_all([(_about(sender, message), partial(_step, sender, message)) for message in messages])

    def met(self, sender: Process, introduction: Introduction, source: str) -> None:
        """Take how a member, or somebody who wants to be one, introduced itself."""
        assert self._driver is not None  # as above
        self._driver.do((sender.name, "met"), lambda node, now: node.meet(sender, introduction, now, source))

    def lost(self, peer: str) -> None:
        """Take the hint that a connection from or to a peer ended."""
        assert self._driver is not None  # as above
        self._driver.do((peer, "lost"), lambda node, now: node.disconnected(peer, now))

    def _tell_all(self) -> None:
        if (state := self._state.value) is not None:
            for seat in tuple(self._seats.values()):
                self._tell(seat, state)

    def _longest_promise(self) -> float:
        return self._driver.node.timing.promise_seconds if self._driver is not None else 0.0

    def _tell(self, seat: Seat, state: SoftState) -> None:
        holding = state.holdings.get(seat.candidacy.group)
        # The order of the two readings matters: a stall between them makes the tenure end earlier, never later.
        anyio_now = current_time()
        now = self._clock.now()
        left = holding.until - now if holding is not None else 0.0
        valid_until = anyio_now + left if left > 0 else -math.inf
        seat.tell(state, holding, valid_until, anyio_now - now, is_in_touch=self._contact.is_there)

    def _log(self, state: SoftState) -> None:
        match state.role:
            case Role.LEADER:
                logger.info("leading term=%d members=%s", state.term, ",".join(self._members))
            case Role.FOLLOWER if state.leader is not None:
                logger.info("following leader=%s term=%d", state.leader, state.term)
            case _:
                logger.debug("%s term=%d", state.role.value, state.term)

    # Standing and leaving

    def _offers(self) -> tuple[Offer, ...]:
        return () if self._is_witness else tuple(seat.offer() for seat in self._seats.values())

    @property
    def _promise_seconds(self) -> float:
        """How long promises to this member have to be for what hangs on them here."""
        return max((seat.candidacy.soonest_takeover() for seat in self._seats.values()), default=0.0)

    def _leave_seat(self, seat: Seat) -> None:
        group = seat.candidacy.group
        if self._seats.get(group) is seat:
            del self._seats[group]
            self._last_terms[group] = seat.term

    async def _follow_fitness(self, candidacy: Candidacy) -> None:
        seen = -1

        def is_new(fitness: int) -> bool:
            return fitness != seen

        while True:
            seen = await candidacy.fitness.wait_until(is_new)
            self._offers_changed.set()

    async def _tell_offers(self) -> None:
        """Tell the node what this member stands for; once for all that changes in the same moment."""
        while True:
            await self._offers_changed.wait()
            self._offers_changed = Event()
            self._offer()

    def _offer(self) -> None:
        if self._driver is not None:
            offers, is_leaving, promise_seconds = self._offers(), self._is_leaving, self._promise_seconds
            self._driver.do(
                "offers",
                lambda node, now: node.offer(offers, now, is_leaving=is_leaving, promise_seconds=promise_seconds),
            )

    async def _withdraw(self, group: str) -> None:
        """Give back what somebody else is to hold, when nothing of it is up here any more."""
        try:
            seat = self._seats.get(group)  # it was told already that it does not hold the group
            if seat is not None and self._driver is not None:
                await seat.withdrawn(self._driver.node.timing.lease_seconds)
            if self._driver is not None:
                self._driver.do(("withdrawn", group), lambda node, now: node.release_leaving((group,), now))
        finally:
            self._withdrawing.discard(group)

    async def _release(self, group: str) -> None:
        """The address of a candidacy that ended is gone. If it was the last, somebody else shall lead."""
        if self._driver is None:
            return
        self._driver.do(("release", group), lambda node, now: node.release((group,), now))
        self._offer()
        if self._seats:
            return
        has_heir = Latest(False)

        def resign(node: Node, now: float) -> Ready:
            has_heir.set(node.has_heir(now))
            return node.resign(now)

        self._driver.do("resign", resign)
        if has_heir.value:  # stay and vote until it leads
            await self._state.wait_until(
                lambda state: state is not None and state.leader not in (None, self._process.name)
            )

    def _count(self, state: SoftState) -> int:
        """Return how many groups are held here, or are to be."""
        placed = sum(placement.process == self._process for placement in state.agreed.placements.values())
        return placed + len(state.leaving)


def _about(sender: Process, message: Message) -> Hashable:
    """Return what tells whether a newer message replaces this one, while it waits.

    Of one kind the newest says everything, but for a release, which speaks of its claims only.
    """
    return sender.name, type(message), message.claims if isinstance(message, Release) else ()


def _step(sender: Process, message: Message, node: Node, now: float) -> Ready:
    return node.step(sender, message, now)


def _record_of(name: str, args: Mapping[str, object]) -> MemberRecord:
    """Return the member that a request describes.

    :raises ValueError: when it describes none.
    """
    address, port = ip_address(str(args.get("address", ""))), args.get("port", DEFAULT_PORT)
    if not name or not name.isprintable() or len(name) > LONGEST_NAME or " " in name:
        raise ValueError(f"expected a name without spaces, got {name[:80]!r}")
    if isinstance(port, bool) or not isinstance(port, int):
        raise ValueError(f"expected a port, got {port!r}")
    return MemberRecord(name=name, address=str(address), port=port, is_witness=args.get("witness") is True)
