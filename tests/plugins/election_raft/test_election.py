"""Whole members in one process, over real sockets on loopback, as the core uses them."""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Callable, Hashable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio import CancelScope, Event, create_task_group, current_time, fail_after, sleep
from attrs import evolve

from kubevip import Candidacy, Duration, Following, Host, Latest, Leadership, Leading, Placement, Port
from kubevip.abc import SupportsFitness, SupportsPlacement, SupportsRelief, SupportsStatus
from kubevip.errors import ElectionError, NotPermittedError, Permanent
from kubevip_election_raft import _election, _instance, _questions
from kubevip_election_raft._config import MemberConfig, Profile, RaftConfig, TimingConfig
from kubevip_election_raft._consensus.introductions import Membership
from kubevip_election_raft._consensus.messages import MoveRequest
from kubevip_election_raft._disk.storage import StorageError
from kubevip_election_raft._driver import Action
from kubevip_election_raft._election import RaftElection
from kubevip_election_raft.plugin import RAFT

from .test_transport import free_port

pytestmark = pytest.mark.anyio

#: Longer than the defaults: other tests may keep the machine busy, and none of these is about time.
TIMING = TimingConfig(heartbeat=Duration(0.05), promise=Duration(0.4))


def config(size: int, **options: Any) -> RaftConfig:
    addresses = tuple(f"127.0.0.{number}" for number in range(1, size + 1))
    members = tuple(MemberConfig(name=f"n{i}", address=ip_address(it)) for i, it in enumerate(addresses, 1))
    given: dict[str, Any] = {"port": Port(free_port(addresses)), "timing": TIMING, "insecure": True}
    return RaftConfig(members=members, **given | options)


def host(folder: Path, name: str, **options: Any) -> Host:
    state_dir = folder / name
    state_dir.mkdir(exist_ok=True)
    given: dict[str, Any] = {"rng": Random(name), "incarnation": 1, "will": lambda *_: None}
    return Host(node_name=name, instance="default", state_dir=state_dir, **given | options)


class Stand:
    """A candidacy of the core: what was reported, and work that has to be withdrawn."""

    def __init__(self, group: str = "api", *, fitness: int = 100) -> None:
        self.group, self.fitness = group, Latest(fitness)
        self.reports: list[Leadership] = []
        self.scope, self.ended = CancelScope(), Event()
        self.withdrawals = 0
        self.placement = Placement()

    async def run(self, election: RaftElection) -> None:
        candidacy = Candidacy(
            group=self.group,
            report=self.reports.append,
            fitness=self.fitness,
            placement=self.placement,
            grace_seconds=2.0,
            withdrawn=self._withdrawn,
        )
        with self.scope:
            await election.campaign(candidacy)
        self.ended.set()

    async def _withdrawn(self) -> None:
        await sleep(0.01)
        self.withdrawals += 1

    @property
    def holds(self) -> bool:
        if not self.reports or self.scope.cancel_called:
            return False
        return isinstance(self.last, Leading) and self.last.valid_until > current_time()

    @property
    def last(self) -> Leadership:
        return self.reports[-1]

    @property
    def terms(self) -> list[int]:
        return list(dict.fromkeys(now.term for now in self.reports if isinstance(now, Leading)))


class Rig:
    """Members that stand for one group each."""

    def __init__(self, folder: Path, size: int = 3, **options: Any) -> None:
        self.folder, self.config = folder, config(size, **options)
        self.elections: dict[str, RaftElection] = {}
        self.stands: dict[str, Stand] = {}
        self.wills: dict[str, bytes] = {}
        self.chance = ""  # another one draws other numbers

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for member in self.config.members:
                rng, will = Random(member.name + self.chance), partial(self._keep_will, member.name)
                own = host(self.folder, member.name, will=will, rng=rng)
                election = await stack.enter_async_context(RAFT.open(self.config, own))
                assert isinstance(election, RaftElection)
                self.elections[member.name] = election
            async with create_task_group() as tg:
                for name, election in self.elections.items():
                    self.stands[name] = Stand()
                    tg.start_soon(self.stands[name].run, election)
                yield
                tg.cancel_scope.cancel()

    def _keep_will(self, name: str, order: int, function: str, payload: bytes | None) -> None:
        self.wills[name] = payload or b""

    @property
    def holders(self) -> list[str]:
        return [name for name, stand in self.stands.items() if stand.holds]

    async def holder(self) -> str:
        """Return who holds the group, as soon as all hear all and nobody keeps silent any more."""
        await until(lambda: self.holders)
        (holder,) = self.holders
        await until(lambda: all(election.status()["quorum"] == "3/3" for election in self.elections.values()))
        await sleep(TIMING.promise + 2 * TIMING.heartbeat)
        return holder


def knows_all(election: RaftElection) -> bool:
    """Return whether a member has on its disk which disk everybody has, as all agreed."""
    if election._driver is None:
        return False
    node = election._driver.node
    return node._log.saved >= node.state.agreed.members_index > 0 and all(record.birth for record in node.records)


def membership_of(election: RaftElection) -> Membership | None:
    return election._driver.node.membership if election._driver is not None else None


async def until(test: Callable[[], Any]) -> None:
    with fail_after(15):
        while not test():
            await sleep(0.005)


async def test_three_members_have_one_holder_that_all_know(tmp_path: Path) -> None:
    """Scenario A 1, with real sockets and disks."""
    rig = Rig(tmp_path)
    async with rig.running():
        holder = await rig.holder()
        followers = [stand for name, stand in rig.stands.items() if name != holder]
        await until(lambda: all(stand.last == Following(leader=holder) for stand in followers))
        held = rig.stands[holder].last
        assert isinstance(held, Leading)
        assert held.cause is not None
        assert held.cause.why == "first"
        await until(lambda: len(rig.stands[holder].reports) > 5)
        ends = [now.valid_until for now in rig.stands[holder].reports if isinstance(now, Leading)]
        assert ends == sorted(ends)
        assert ends[-1] - current_time() < TIMING.timing.lease_seconds


async def test_a_member_that_is_left_alone_names_nobody_as_holder(tmp_path: Path) -> None:
    """Neither itself, which held and may not any more, nor another, of which it hears nothing."""
    settings = config(3)
    stands: dict[str, Stand] = {}
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(create_task_group())
        stack.callback(tasks.cancel_scope.cancel)

        async def start(name: str, group: str, within: AsyncExitStack) -> None:
            election = await within.enter_async_context(RAFT.open(settings, host(tmp_path, name)))
            assert isinstance(election, RaftElection)
            stands[group] = Stand(group)
            tasks.start_soon(stands[group].run, election)
            if name == "n1":  # it stands for nothing of its own choice, and hears who holds the other's
                stands["watched"] = Stand("theirs", fitness=0)
                tasks.start_soon(stands["watched"].run, election)

        async with AsyncExitStack() as others:
            await start("n1", "ours", stack)
            for name in ("n2", "n3"):
                await start(name, "theirs", others)
            await until(lambda: stands["ours"].holds and stands["watched"].last != Following())
            assert stands["watched"].last in (Following(leader="n2"), Following(leader="n3"))
        await until(lambda: stands["ours"].last == Following())
        await until(lambda: stands["watched"].last == Following())


async def test_a_candidacy_that_ends_gives_its_group_to_others(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        first = await rig.holder()
        rig.stands[first].scope.cancel()
        with fail_after(15):
            await rig.stands[first].ended.wait()
        reports = len(rig.stands[first].reports)
        await until(lambda: rig.holders not in ([], [first]))
        (second,) = rig.holders
        held = rig.stands[second].last
        assert isinstance(held, Leading)
        assert held.cause is not None
        assert held.cause.why == f"{first} stopped"
        await sleep(0.1)
        assert len(rig.stands[first].reports) == reports  # duty 6: never after returning


async def test_one_of_two_candidacies_that_ends_changes_nothing(tmp_path: Path) -> None:
    async with RAFT.open(config(1), host(tmp_path, "n1")) as election, create_task_group() as tg:
        assert isinstance(election, RaftElection)
        api, web = Stand("api"), Stand("web")
        tg.start_soon(api.run, election)
        tg.start_soon(web.run, election)
        await until(lambda: api.holds and web.holds)
        web.scope.cancel()
        await web.ended.wait()
        reports = len(api.reports)
        await until(lambda: len(api.reports) > reports + 3)
        assert len(api.terms) == 1
        again = Stand("web")  # duty 2: its term does not come back, although the member leads on
        tg.start_soon(again.run, election)
        await until(lambda: again.holds)
        assert not set(again.terms) & set(web.terms)
        tg.cancel_scope.cancel()


async def test_move_returns_when_the_target_holds(tmp_path: Path) -> None:
    """Scenario A 17: asked of the leader and of a follower; to itself; to a stranger."""
    rig = Rig(tmp_path)
    async with rig.running():
        first = await rig.holder()
        second, third = (name for name in rig.stands if name != first)
        await rig.elections[first].move("api", second)
        await until(lambda: rig.holders == [second])
        assert rig.stands[first].withdrawals == 1
        assert isinstance(rig.stands[first].last, Following)
        await rig.elections[third].move("api", third)
        await until(lambda: rig.holders == [third])
        held = rig.stands[third].last
        assert isinstance(held, Leading)
        assert held.cause is not None
        assert held.cause.why == "moved"
        term = held.term
        await rig.elections[third].move("api", third)
        assert rig.stands[third].terms[-1] == term
        with pytest.raises(ElectionError, match=r"'n9' is not a member \(members: n1, n2, n3\)"):
            await rig.elections[third].move("api", "n9")


async def test_move_to_a_member_that_stands_for_nothing_is_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        first = await rig.holder()
        second, third = (name for name in rig.stands if name != first)
        rig.stands[second].scope.cancel()
        await rig.stands[second].ended.wait()
        await sleep(0.2)  # the leader hears of it with the next heartbeats
        with pytest.raises(ElectionError, match=f"group 'api' is not moved to {second}: {second} stands for no group"):
            await rig.elections[third].move("api", second)


async def test_a_leader_that_does_not_answer_is_told_and_not_waited_for_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_questions, "ANSWER_SECONDS", 0.1)
    rig = Rig(tmp_path)
    async with rig.running():
        first = await rig.holder()
        second, third = (name for name in rig.stands if name != first)
        driver = rig.elections[first]._driver
        assert driver is not None
        do_all = driver.do_all

        def lose_request(actions: Iterable[tuple[Hashable, Action]]) -> None:
            do_all([(key, action) for key, action in actions if key != (third, MoveRequest, ())])

        monkeypatch.setattr(driver, "do_all", lose_request)
        with pytest.raises(ElectionError, match=f"the leader {first} does not answer"):
            await rig.elections[third].move("api", second)
        assert rig.elections[third]._questions._outstanding == {}


async def test_move_to_a_member_that_would_give_it_away_again_is_refused(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        holder = await rig.holder()
        target = next(name for name in rig.elections if name != holder)
        rig.stands[target].fitness.set(0)
        await sleep(2 * TIMING.heartbeat)
        with pytest.raises(ElectionError, match=f"{target} is unfit for api, or drained"):
            await rig.elections[holder].move("api", target)
        assert rig.holders == [holder]


async def test_a_group_leaves_an_unfit_holder_after_it_has_withdrawn(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        first = await rig.holder()
        rig.stands[first].fitness.set(0)
        await until(lambda: rig.holders not in ([], [first]))
        assert rig.stands[first].withdrawals == 1
        (second,) = rig.holders
        held = rig.stands[second].last
        assert isinstance(held, Leading)
        assert held.cause is not None
        assert held.cause.why == f"{first} is unfit"


async def test_relief_has_everything_placed_elsewhere_while_it_is_held_here(tmp_path: Path) -> None:
    """Of a member that leads, and of one that does not; the candidacies go on until they are cancelled."""
    rig = Rig(tmp_path)
    async with rig.running():
        first = await rig.holder()
        for _ in range(2):
            (holder,) = rig.holders
            with fail_after(5):
                await rig.elections[holder].relieve()
            told = rig.stands[holder].reports
            following = next(now for now in reversed(told) if isinstance(now, Following))
            assert following.valid_until > -math.inf  # what is up may answer until it is withdrawn
            assert isinstance(rig.stands[holder].last, Following)
            assert rig.stands[holder].withdrawals == 1
            await until(lambda: len(rig.holders) == 1)
            assert rig.holders != [holder]
            held = rig.stands[rig.holders[0]].last
            assert isinstance(held, Leading)
            assert held.cause is not None
            assert held.cause.why == f"{holder} stopped"
        (last,) = rig.holders
        assert last != first
        with fail_after(5):
            await rig.elections[last].relieve()  # nobody is left that could take it
        assert rig.holders == [last]


async def test_a_witness_votes_and_holds_nothing(tmp_path: Path) -> None:
    """Two machines and a witness: the one that is left goes on with the witness, which stands for nothing."""
    rig = Rig(tmp_path)
    one, two, three = rig.config.members
    rig.config = evolve(rig.config, members=(evolve(one, witness=True), two, three))
    async with rig.running():
        first = await rig.holder()
        assert first != "n1"
        await rig.elections[first].relieve()
        await until(lambda: rig.holders not in ([], [first]))
        (second,) = rig.holders
        assert {first, second} == {"n2", "n3"}
        await rig.elections[second].relieve()  # the witness takes nothing
        assert rig.holders == [second]
        rows: Any = rig.elections[second].status()["members"]
        assert [row["is_witness"] for row in rows] == [True, False, False]
        with pytest.raises(ElectionError, match="n1 is a witness: it votes, and holds nothing"):
            await rig.elections[second].move("api", "n1")


async def test_members_are_removed_added_and_replaced_while_the_group_is_held(tmp_path: Path) -> None:
    """Scenario A 15: asked of any member, also to remove the leader."""
    rig = Rig(tmp_path)
    async with rig.running():
        holder = await rig.holder()
        tenure = rig.stands[holder].terms
        others = [name for name in rig.stands if name != holder]
        address = {member.name: str(member.address) for member in rig.config.members}
        asked = rig.elections[others[0]]
        assert await asked.request("remove", {"name": others[1]}) == f"{others[1]} is no member any more"
        await until(lambda: asked.status()["quorum"] == "2/2")
        assert address[others[1]].encode() not in rig.wills[others[0]]  # it is told nothing when that one dies
        fields = {"name": others[1], "address": address[others[1]], "port": int(rig.config.port)}
        assert await asked.request("add", fields) == f"{others[1]} is a member"
        await until(lambda: asked.status()["quorum"] == "3/3")
        assert address[others[1]].encode() in rig.wills[others[0]]
        assert rig.holders == [holder]
        assert rig.stands[holder].terms == tenure
        assert await rig.elections[holder].request("replace", {"name": others[1]})
        leader = str(asked.status()["leader"])
        rest = next(name for name in rig.stands if name != leader)
        assert await rig.elections[rest].request("remove", {"name": leader})
        await until(lambda: len(rig.holders) == 1 and rig.holders != [leader])
        listed = await rig.elections[rest].request("list", {})
        assert isinstance(listed, dict)
        assert leader not in [row["name"] for row in listed["members"]]
        with pytest.raises(ElectionError, match=f"{leader} is no member already"):
            await rig.elections[rest].request("remove", {"name": leader})
        with pytest.raises(ElectionError, match="does not appear to be an IPv4"):
            await rig.elections[rest].request("add", {"name": "n9", "address": "nowhere"})
        with pytest.raises(ElectionError, match="unknown request 'recover'"):
            await rig.elections[rest].request("recover", {})


async def test_which_machine_a_member_is_is_agreed_when_it_is_heard(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        await rig.holder()
        node = rig.elections["n1"]._driver
        assert node is not None
        await until(lambda: all(record.birth for record in node.node.records))
        births = {record.birth for record in node.node.records}
        assert len(births) == 3


async def test_a_member_that_lost_its_disk_waits_until_it_is_replaced(tmp_path: Path) -> None:
    """Scenario A 16: the others go on; it votes for nobody, says what to do, and is a member again afterwards."""
    rig = Rig(tmp_path)
    async with rig.running():
        await until(lambda: all(knows_all(election) for election in rig.elections.values()))
    (tmp_path / "n3" / "raft" / "state").unlink()
    rig.chance = "2"
    async with rig.running():
        await until(lambda: "kubevip raft replace n3" in str(rig.elections["n3"].status().get("waiting")))
        await until(lambda: rig.holders)
        assert rig.holders != ["n3"]
        assert membership_of(rig.elections["n3"]) is Membership.REPLACED
        await until(lambda: "n3 has another disk than before" in str(rig.elections["n1"].status()["warnings"]))
        assert await rig.elections["n1"].request("replace", {"name": "n3"})
        await until(lambda: membership_of(rig.elections["n3"]) is Membership.MEMBER)
        await until(lambda: rig.elections["n3"].status()["leader"])
        assert "another disk" not in str(rig.elections["n1"].status()["warnings"])


async def test_a_member_that_is_removed_while_it_is_away_is_told_and_can_be_taken_in_again(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(create_task_group())
        stack.callback(tasks.cancel_scope.cancel)
        elections: dict[str, RaftElection] = {}

        async def start(name: str, within: AsyncExitStack) -> None:
            election = await within.enter_async_context(RAFT.open(rig.config, host(tmp_path, name)))
            assert isinstance(election, RaftElection)
            elections[name] = election
            tasks.start_soon(Stand().run, election)

        async with AsyncExitStack() as away:
            for name in ("n1", "n2"):
                await start(name, stack)
            await start("n3", away)
            await until(lambda: knows_all(elections["n3"]))
        await elections["n1"].request("remove", {"name": "n3"})
        await start("n3", stack)
        await until(lambda: "removed from the group, as n" in str(elections["n3"].status().get("waiting")))
        await until(lambda: "n3 is no member any more, and still runs" in str(elections["n1"].status()["warnings"]))
        term = elections["n1"].status()["term"]
        await sleep(2 * TIMING.promise)
        assert elections["n1"].status()["term"] == term  # it disturbs nobody
        fields = {"name": "n3", "address": "127.0.0.3", "port": int(rig.config.port)}
        await elections["n2"].request("add", fields)
        await until(lambda: "waiting" not in elections["n3"].status() and elections["n3"].status()["leader"])


async def test_two_that_list_different_members_found_nothing_and_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    raft = config(4)
    ours, theirs = evolve(raft, members=raft.members[:3]), evolve(raft, members=(*raft.members[:2], raft.members[3]))
    async with (
        RAFT.open(ours, host(tmp_path, "n1")) as one,
        RAFT.open(theirs, host(tmp_path, "n2")) as two,
    ):
        assert isinstance(one, RaftElection)
        assert isinstance(two, RaftElection)
        notice = "n2 lists n1, n2, n4; n1 lists n1, n2, n3: members found a group if their lists agree"
        await until(lambda: notice in str(one.status()["warnings"]))
        assert "n1 lists n1, n2, n3; n2 lists n1, n2, n4" in str(two.status()["warnings"])
        assert [record.getMessage() for record in caplog.records].count(notice) == 1
        await sleep(TIMING.promise)
        assert membership_of(one) is membership_of(two) is Membership.ASKS


async def test_a_change_of_fitness_does_not_displace_a_relief_that_waits_for_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_election, "RELIEF_ANSWER_SECONDS", 0.01)
    waiting: dict[Hashable, Action] = {}

    def wait(key: Hashable, action: Action) -> None:
        waiting[key] = action

    rig = Rig(tmp_path)
    async with rig.running():
        await rig.holder()
        election = rig.elections["n1"]
        assert election._driver is not None
        monkeypatch.setattr(election._driver, "do", wait)
        await election.relieve()
        relief = tuple(waiting.values())
        election._offer()
        assert all(action in waiting.values() for action in relief)
        monkeypatch.undo()


async def test_relief_without_a_leader_returns_soon(tmp_path: Path) -> None:
    async with RAFT.open(config(3), host(tmp_path, "n1")) as election:
        assert isinstance(election, RaftElection)
        with fail_after(1.2):
            await election.relieve()


async def test_groups_are_spread_and_a_preferred_member_is_heeded(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    async with rig.running():
        await rig.holder()
        more: dict[str, Stand] = {}
        async with create_task_group() as tg:
            for name, election in rig.elections.items():
                more[name] = Stand("web")
                more[name].placement = Placement(prefer=("n3", "n2"), fail_back_seconds=0.5)
                tg.start_soon(more[name].run, election)
            await until(lambda: more["n3"].holds)
            assert rig.holders != ["n3"]
            tg.cancel_scope.cancel()


async def test_a_restarted_member_goes_on_in_its_term(tmp_path: Path) -> None:
    """Scenario A 2: alone, it elects itself, in a term that it never had, and the decision is a new one."""
    settings = config(1)
    terms: list[int] = []
    for expected in (1, 2, 3):
        async with RAFT.open(settings, host(tmp_path, "n1", incarnation=expected)) as election:
            async with create_task_group() as tg:
                assert isinstance(election, RaftElection)
                stand = Stand()
                tg.start_soon(stand.run, election)
                await until(lambda stand=stand: stand.holds)  # type: ignore[misc]
                assert election.status()["term"] == expected
                terms += stand.terms
                tg.cancel_scope.cancel()
    assert terms == sorted(set(terms))


async def test_a_member_that_is_opened_again_by_the_same_process_is_heard_at_once(tmp_path: Path) -> None:
    """Its disk was full, or its configuration changed: its rounds begin anew, and must not be taken for old ones."""
    settings = config(3)
    async with AsyncExitStack() as stack:
        others = await stack.enter_async_context(create_task_group())
        stack.callback(others.cancel_scope.cancel)
        for name in ("n2", "n3"):
            other = await stack.enter_async_context(RAFT.open(settings, host(tmp_path, name)))
            assert isinstance(other, RaftElection)
            others.start_soon(Stand("web").run, other)  # so that it can lead
        for seconds_open in (3.0, 0.0):
            stand = Stand()
            async with RAFT.open(settings, host(tmp_path, "n1")) as election, create_task_group() as tg:
                assert isinstance(election, RaftElection)
                began = current_time()
                tg.start_soon(stand.run, election)
                await until(lambda stand=stand: stand.holds)  # type: ignore[misc]
                assert current_time() - began < 2.5
                await sleep(seconds_open)
                tg.cancel_scope.cancel()


async def test_status_tells_who_is_there_and_who_is_waited_for(tmp_path: Path) -> None:
    settings = config(3)
    async with RAFT.open(settings, host(tmp_path, "n1")) as election:
        assert isinstance(election, SupportsStatus)
        assert isinstance(election, SupportsPlacement)
        assert isinstance(election, SupportsFitness)
        assert isinstance(election, SupportsRelief)
        await until(lambda: str(election.status().get("waiting")).count("refused") == 2)
        status = election.status()
        endpoints = [f"127.0.0.{number}:{settings.port}" for number in (2, 3)]
        assert status["waiting"] == f"waiting for 1 of n2 at {endpoints[0]} (refused), n3 at {endpoints[1]} (refused)"
        assert (status["leader"], status["term"], status["quorum"]) == (None, 0, "1/3")
        assert status["members"] == [
            {
                "name": "n1",
                "address": f"127.0.0.1:{settings.port}",
                "is_witness": False,
                "state": "follower",
                "heard_ms": None,
                "rtt_ms": None,
                "version": "0.1.0",
                "config": "",
            },
            *(
                {
                    "name": name,
                    "address": endpoint,
                    "is_witness": False,
                    "state": "unreachable",
                    "heard_ms": None,
                    "rtt_ms": None,
                    "version": "",
                    "config": "",
                    "problem": "refused",
                }
                for name, endpoint in zip(("n2", "n3"), endpoints, strict=True)
            ),
        ]
        with pytest.raises(ElectionError, match="nobody leads at the moment"):
            await election.move("api", "n2")


async def test_status_tells_which_configuration_each_member_runs(tmp_path: Path) -> None:
    settings, digests = config(3), {"n1": "5f0c1a9e", "n2": "5f0c1a9e", "n3": "9b77e310"}
    async with AsyncExitStack() as stack:
        for name, digest in digests.items():
            own = evolve(host(tmp_path, name), config_digest=lambda digest=digest: digest)  # type: ignore[misc]
            election = await stack.enter_async_context(RAFT.open(settings, own))
        assert isinstance(election, SupportsStatus)

        def told() -> dict[str, str]:
            members: Any = election.status()["members"]
            return {member["name"]: member["config"] for member in members}

        await until(lambda: told() == digests)


async def test_a_group_without_keys_is_refused_unless_that_is_allowed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = config(3, insecure=False, pki=tmp_path / "pki")
    remedy = r"there are no keys .* `kubevip raft keys init --members n1,n2,n3 --out keys` .*; or start with --insecure"
    with pytest.raises(ElectionError, match=remedy) as caught:
        async with RAFT.open(settings, host(tmp_path, "n1")):
            pass
    assert isinstance(caught.value, Permanent)
    with caplog.at_level(logging.WARNING, "kubevip.raft"):
        async with RAFT.open(settings, host(tmp_path, "n1", allow_insecure=True)):
            pass
    assert [record.levelname for record in caplog.records if "plain TCP" in record.getMessage()] == ["WARNING"]


async def test_a_node_that_is_no_member_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ElectionError, match=r"node 'n9' is not a member \(n1, n2, n3\)"):
        async with RAFT.open(config(3), host(tmp_path, "n9")):
            pass


async def test_the_state_of_another_cluster_is_refused(tmp_path: Path) -> None:
    settings = config(1)
    async with RAFT.open(settings, host(tmp_path, "n1")) as election, create_task_group() as tg:
        assert isinstance(election, RaftElection)
        stand = Stand()
        tg.start_soon(stand.run, election)
        await until(lambda: stand.holds)
        tg.cancel_scope.cancel()
    with pytest.raises(StorageError, match="belongs to cluster 'default'"):
        async with RAFT.open(config(1, cluster="other"), host(tmp_path, "n1")):
            pass


@pytest.mark.parametrize(
    ("timing", "priorities"),
    [
        (Profile.DEFAULT, [1]),
        (Profile.FAST, [10]),
        (Profile.RELAXED, []),
        (TimingConfig(heartbeat=Duration(0.05), promise=Duration(0.2)), [1]),
    ],
)
async def test_short_time_spans_ask_for_real_time(
    timing: Profile | TimingConfig, priorities: list[int], tmp_path: Path
) -> None:
    asked: list[int] = []

    @asynccontextmanager
    async def urgent(priority: int) -> AsyncGenerator[bool]:
        asked.append(priority)
        yield True
        asked.remove(priority)

    async with RAFT.open(config(1, timing=timing), host(tmp_path, "n1", urgent=urgent)):
        assert asked == priorities
    assert asked == []


async def test_fast_is_refused_where_the_machine_cannot_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(1, timing=Profile.FAST)
    monkeypatch.setattr(_instance, "clock_getres", lambda clock: 0.010)
    with pytest.raises(NotPermittedError, match="tick is 10 ms"):
        async with RAFT.open(settings, host(tmp_path, "n1")):
            pass
    monkeypatch.setattr(_instance, "clock_getres", lambda clock: 0.004)
    with pytest.raises(NotPermittedError, match="CAP_SYS_NICE"):
        async with RAFT.open(settings, host(tmp_path, "n1")):
            pass
