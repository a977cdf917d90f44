from __future__ import annotations

from contextlib import asynccontextmanager
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any

import pytest
from attrs import field, frozen

from kubevip import Description, Interface, Kind, Machine, Outlook, Place, Port, Problem, Provider, Severity
from kubevip import __version__ as version
from kubevip._options import Options
from kubevip._plugin import Origin, Plugin, built_in, load_plugin
from kubevip._plugins import PluginRegistry
from kubevip._survey import Survey, Told, WhileLeading, survey
from kubevip.errors import ConfigError
from kubevip_source_file.plugin import FILE

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from kubevip import Host

CONFIG = """\
apiVersion: kubevip/v1
elections:
  vote: {members: [{name: n1, address: 192.0.2.1}, {name: n2, address: 192.0.2.2}]}
groups: {api: {election: vote}, spare: {election: vote}}
virtualIPs:
- {name: a, address: 192.0.2.9, group: api, announce: [wire, bell]}
- {name: b, address: 192.0.2.10, group: api, announce: [wire]}
loadBalancers:
- {name: one, type: tcp, port: 80, bindTo: [a, b], backends: [{members: vote, port: 81}]}
- {name: two, type: tcp, port: 90, bindTo: all, backends: [{members: vote, port: 91}]}
"""


@frozen(kw_only=True)
class Config:
    members: tuple[object, ...] = ()
    port: Port = field(default=Port(10000))


@asynccontextmanager
async def open_nothing(config: Config, host: Host) -> AsyncGenerator[Any]:
    pytest.fail("a survey opens nothing but sources")
    yield  # type: ignore[unreachable]  # what makes it a generator


def describe_vote(config: Config, outlook: Outlook) -> Description:
    if outlook.allow_insecure:
        return Description(lines=(f"{outlook.node_name} votes, by word of mouth",))
    own = Place(file="", path=("members", 1, "name"))
    return Description(
        lines=(f"{outlook.node_name} votes for {' '.join(vip.name for vip in outlook.vips)}",),
        firewall=(f"in {config.port}/tcp",),
        problems=(Problem(place=own, message="has no key"),),
    )


def describe_wire(config: Config, outlook: Outlook) -> Description:
    problem = outlook.vips[0].places.problem("is unplugged", "interface", severity=Severity.WARNING)
    return Description(lines=(f"wires {' '.join(vip.name for vip in outlook.vips)}",), problems=(problem,))


def describe_bell(config: Config, outlook: Outlook) -> Description:
    return Description(lines=(f"rings for {' '.join(vip.name for vip in outlook.vips)}",))


def describe_tcp(config: Config, outlook: Outlook) -> Description:
    lines = tuple(f"serves {it.name} on {' '.join(it.bind_to) or 'all'}" for it in outlook.load_balancers)
    return Description(lines=lines, firewall=("in 80/tcp",))


def provider(name: str, describe: Any = None, **fields: Any) -> Provider[Any, Any]:
    return Provider(name=name, summary=name, config=Config, open=open_nothing, describe=describe, **fields)


PROVIDERS = (
    (Kind.ELECTION, provider("vote", describe_vote)),
    (Kind.ANNOUNCER, provider("wire", describe_wire)),
    (Kind.ANNOUNCER, provider("bell", describe_bell)),
    (Kind.PROXY, provider("tcp", describe_tcp, protocols=("tcp",))),
    (Kind.SOURCE, FILE),
)
REGISTRY = PluginRegistry(
    [
        load_plugin(built_in()),
        Plugin(origin=Origin(name="fake", distribution="fake", load=lambda: None), providers=PROVIDERS),
    ]
)


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubevip._survey.read_machine", lambda: Machine(host_name="elsewhere"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG)
    return path


def told(found: Survey, config: Path) -> list[str]:
    return [f"{problem.severity.value} {problem}".replace(str(config), "c.yaml") for problem in found.problems]


def test_the_providers_tell_what_would_be_here(config: Path) -> None:
    found = survey(Options(config=config, node="n2"), REGISTRY)
    assert (found.node, found.is_here, found.form) == ("n2", True, "native")
    assert found.elections == (Told(name="vote", lines=("n2 votes for a b",)),)
    assert found.groups == (
        WhileLeading(group="api", announced=("wires a b", "rings for a"), served=("serves one on a b",)),
    )
    assert found.always == ("serves two on all",)
    assert found.firewall == ("in 10000/tcp", "in 80/tcp")


def test_problems_of_a_section_and_of_items_stand_at_their_places(config: Path) -> None:
    found = survey(Options(config=config, node="n2"), REGISTRY)
    assert told(found, config) == [
        "error c.yaml:3: elections.vote.members[1].name: has no key",
        "warning c.yaml:6: virtualIPs[0].interface: is unplugged",
    ]
    assert len(found.errors) == 1


def test_what_a_daemon_here_would_be_refused_for_is_an_error_of_the_check_too(config: Path) -> None:
    found = survey(Options(config=config, node="n2"), REGISTRY, is_about_file=True)
    assert told(found, config) == [
        "error c.yaml:3: elections.vote.members[1].name: has no key",
        "warning c.yaml:6: virtualIPs[0].interface: is unplugged",
    ]
    assert found.elections[0].lines == ("n2 votes for a b",)


def test_a_node_that_only_votes_leads_nothing(config: Path) -> None:
    def describe_witness(config: Config, outlook: Outlook) -> Description:
        return Description(lines=("votes",), holds_nothing=True)

    providers = ((Kind.ELECTION, provider("vote", describe_witness)), *PROVIDERS[1:])
    origin = Origin(name="fake", distribution="fake", load=lambda: None)
    registry = PluginRegistry([load_plugin(built_in()), Plugin(origin=origin, providers=providers)])
    found = survey(Options(config=config, node="n2"), registry)
    assert {(it.announced, it.served) for it in found.groups} == {
        (("never here: this node votes, and holds nothing",), ())
    }


def test_a_machine_that_is_none_of_the_members_may_judge_a_file(config: Path) -> None:
    with pytest.raises(ConfigError, match=r"n1 192\.0\.2\.1, n2 192\.0\.2\.2"):
        survey(Options(config=config), REGISTRY)
    found = survey(Options(config=config), REGISTRY, is_about_file=True)
    assert (found.node, found.is_here) == ("n1", False)
    assert told(found, config) == ["warning c.yaml:3: elections.vote.members[1].name: has no key"]


OWN = Machine(
    interfaces=(Interface(name="e0", addresses=(ip_interface("192.0.2.10/24"), ip_interface("192.0.2.9/32"))),)
)


@pytest.mark.parametrize("is_about_file", [True, False])
def test_a_virtual_ip_that_is_the_nodes_own_address_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch, is_about_file: bool
) -> None:
    """One without a subnet may have been put there by a daemon that runs."""
    monkeypatch.setattr("kubevip._survey.read_machine", lambda: OWN)
    found = survey(Options(config=config, node="n2"), REGISTRY, is_about_file=is_about_file)
    assert [line for line in told(found, config) if "192.0.2" in line] == [
        "error c.yaml:7: virtualIPs[1].address: virtual IP 'b': 192.0.2.10 is an address of this machine (n2), on e0; "
        "choose one that no machine has"
    ]


def test_the_address_of_a_machine_that_is_no_node_says_nothing(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubevip._survey.read_machine", lambda: OWN)
    found = survey(Options(config=config), REGISTRY, is_about_file=True)
    assert [line for line in told(found, config) if "192.0.2" in line] == []


BROADCAST = "192.0.2.11 is the broadcast address of the subnet of e0: no machine can have it"


@pytest.mark.parametrize(
    ("node", "said"), [("n2", [f"error c.yaml:7: virtualIPs[1].address: {BROADCAST}"]), (None, [])]
)
def test_the_broadcast_address_of_a_subnet_of_the_node_is_refused(
    config: Path, monkeypatch: pytest.MonkeyPatch, node: str | None, said: list[str]
) -> None:
    """The subnets of a machine that is no node say nothing of those of the nodes."""
    config.write_text(CONFIG.replace("192.0.2.10", "192.0.2.11"))
    machine = Machine(interfaces=(Interface(name="e0", addresses=(ip_interface("192.0.2.10/30"),)),))
    monkeypatch.setattr("kubevip._survey.read_machine", lambda: machine)
    found = survey(Options(config=config, node=node), REGISTRY, is_about_file=True)
    assert [line for line in told(found, config) if "192.0.2" in line] == said


def test_a_file_that_is_refused_whole_raises_with_its_problems(config: Path) -> None:
    config.write_text(CONFIG.replace("port: 90", "port: 0"))
    with pytest.raises(ConfigError, match="expected an integer 1-65535, got 0"):
        survey(Options(config=config, node="n2"), REGISTRY)


def test_the_core_has_a_version() -> None:
    assert built_in().version == version
