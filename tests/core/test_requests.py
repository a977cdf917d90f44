"""What a running daemon answers: every refusal names the object and what to do."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from typing import Any

import pytest
from anyio import create_task_group, sleep
from attrs import frozen

from kubevip import Desired, Group, Host, Kind, Latest, Provider, VirtualIP
from kubevip._board import Board
from kubevip._context import Context
from kubevip._control import Request
from kubevip._observe import Observers
from kubevip._plugin import built_in, load_plugin
from kubevip._plugins import PluginRegistry
from kubevip._reconcile import Reconciler
from kubevip._requests import Requests
from kubevip._resolved import Resolved, ResolvedInstance
from kubevip._sources import Sources
from kubevip.errors import ControlError, ElectionError
from kubevip.testing import FakeAnnouncer, ManualElection, Recorder, make_host

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend(virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time


@frozen
class NoConfig:
    pass


class Movable(ManualElection):
    """Can move groups and answers requests."""

    async def move(self, group: str, to: str) -> None:
        if to == "n9":
            raise ElectionError("'n9' is not a member (members: n1, n2)")
        self._record(f"move {group} {to}")

    async def request(self, verb: str, args: Mapping[str, object]) -> object:
        return {"did": verb, **args}


class Rig:
    """One group "api" with a virtual IP, led through `election`."""

    def __init__(self, state_dir: Path, election: ManualElection) -> None:
        self.record = Recorder()
        self.election = election
        election._record = self.record
        self.board = Board(node="n1", instance="test")
        self.sources = Sources(Desired(), PluginRegistry([load_plugin(built_in())]), self.board)
        context = Context(board=self.board, observers=Observers(), rng=Random(1))
        self.reconciler = Reconciler(make_host(state_dir), context)
        self.requests = Requests(self.reconciler, self.sources, self.board, lambda: {"node": "n1"})
        services = {(Kind.ELECTION, "raft"): election, (Kind.ANNOUNCER, "arp"): FakeAnnouncer(self.record)}
        vip = VirtualIP(name="api", address=IPv4Address("192.0.2.1"), group="api", announcers=("arp",))
        self.resolved = Resolved(
            instances=tuple(
                ResolvedInstance(kind=kind, name=name, provider=providing(name, service), config=NoConfig())
                for (kind, name), service in services.items()
            ),
            groups=(Group(name="api", election="raft"),),
            vips=(vip,),
        )

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        wanted: Latest[Resolved | None] = Latest(self.resolved)
        async with create_task_group() as tg:
            tg.start_soon(self.reconciler.run, wanted)
            await sleep(0.1)
            yield
            tg.cancel_scope.cancel()

    async def ask(self, verb: str, *, kind: str | None = None, name: str | None = None, **args: object) -> object:
        return await self.requests.answer(Request(verb=verb, args=args, kind=kind, name=name))


def providing(name: str, service: object) -> Provider[NoConfig, Any]:
    @asynccontextmanager
    async def open_it(config: NoConfig, host: Host) -> AsyncGenerator[Any]:
        yield service

    return Provider(name=name, summary="", config=NoConfig, open=open_it)


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, Movable())


async def test_status_is_what_the_node_says(rig: Rig) -> None:
    assert await rig.ask("status") == {"node": "n1"}


async def test_reload_asks_the_sources_to_read_again(rig: Rig) -> None:
    before = rig.sources.reload.value
    await rig.ask("reload")
    assert rig.sources.reload.value == before + 1


async def test_a_group_is_moved_by_its_election(rig: Rig) -> None:
    async with rig.running():
        assert await rig.ask("move", group="api", to="n2") == "api is held by n2"
        assert rig.record.words[-1] == "move api n2"


async def test_a_drained_node_is_unfit_until_that_is_undone(rig: Rig) -> None:
    async with rig.running():
        (standing,) = rig.reconciler._standings.values()
        await rig.ask("drain")
        assert (standing.fitness.value.value, standing.fitness.reason) == (0, "drain: drained by hand")
        await rig.ask("drain", undo=True)
        assert (standing.fitness.value.value, standing.fitness.reason) == (100, "")


async def test_a_group_is_not_moved_to_this_node_while_it_is_drained(rig: Rig) -> None:
    async with rig.running():
        await rig.ask("drain")
        message = "group 'api': n1 is drained and would give it away; first kubevip drain --undo"
        with pytest.raises(ControlError, match=f"^{re.escape(message)}$"):
            await rig.ask("move", group="api", to="n1")
        assert await rig.ask("move", group="api", to="n2") == "api is held by n2"
        await rig.ask("drain", undo=True)
        assert await rig.ask("move", group="api", to="n1") == "api is held by n1"


async def test_a_drain_that_is_neither_one_nor_its_undoing_changes_nothing(rig: Rig) -> None:
    async with rig.running():
        (standing,) = rig.reconciler._standings.values()
        wrong: tuple[object, ...] = ("yes", 1, None, [])
        for undo in wrong:
            with pytest.raises(ControlError, match=f"^undo: expected true or false, got {re.escape(repr(undo))}$"):
                await rig.ask("drain", undo=undo)
        assert standing.fitness.value.value == 100
        await rig.ask("drain", undo=False)
        assert standing.fitness.value.value == 0


async def test_a_request_for_an_instance_is_passed_on(rig: Rig) -> None:
    async with rig.running():
        assert await rig.ask("add", kind="election", name="raft", member="n4") == {"did": "add", "member": "n4"}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"verb": "dance"}, "unknown request 'dance'"),
        ({"verb": "move", "to": "n2"}, "group is missing"),
        ({"verb": "move", "group": "api"}, "to is missing"),
        ({"verb": "move", "group": "api", "to": 7}, "to is missing"),
        ({"verb": "move", "group": "web", "to": "n2"}, "there is no group 'web' (groups: api)"),
        ({"verb": "add", "kind": "wizard", "name": "raft"}, "there is no kind 'wizard'"),
        ({"verb": "add", "kind": "election", "name": "etcd"}, "election 'etcd' is not open here"),
        ({"verb": "add", "kind": "announcer", "name": "arp"}, "announcer 'arp' answers no requests"),
    ],
)
async def test_what_cannot_be_done_is_refused_by_name(rig: Rig, request_: dict[str, Any], message: str) -> None:
    async with rig.running():
        with pytest.raises(ControlError, match=f"^{re.escape(message)}$"):
            await rig.ask(**request_)


async def test_what_an_election_refuses_comes_through(rig: Rig) -> None:
    async with rig.running():
        with pytest.raises(ElectionError, match="'n9' is not a member"):
            await rig.ask("move", group="api", to="n9")


async def test_an_election_that_cannot_move_says_so(tmp_path: Path) -> None:
    rig = Rig(tmp_path, ManualElection())
    async with rig.running():
        with pytest.raises(ControlError, match="group 'api': election 'raft' cannot move a group"):
            await rig.ask("move", group="api", to="n2")
