from __future__ import annotations

from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve, field, frozen

from kubevip import (
    AgentItem,
    Backend,
    Desired,
    Duration,
    Group,
    Instance,
    Kind,
    LoadBalancer,
    Member,
    NodeCheck,
    Place,
    Places,
    Port,
    Problem,
    Provider,
    Section,
    Severity,
    Socket,
    VirtualIP,
)
from kubevip._plugin import Origin, Plugin
from kubevip._plugins import PluginRegistry
from kubevip._resolve import Resolved, resolve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from kubevip import Host


@frozen(kw_only=True)
class Config:
    interval: Duration = field(default=Duration(1.0))


@frozen(kw_only=True)
class Options:
    communities: tuple[str, ...] = ()


@asynccontextmanager
async def open_nothing(config: Config, host: Host) -> AsyncGenerator[Any]:
    yield None


def provider(name: str, **fields: Any) -> Provider[Any, Any]:
    return Provider(name=name, summary=name, config=Config, open=open_nothing, **fields)


def registry_of(*providers: tuple[Kind, Provider[Any, Any]]) -> PluginRegistry:
    origin = Origin(name="fake", distribution="fake", load=lambda: None)
    return PluginRegistry([Plugin(origin=origin, providers=providers)])


TCP = provider("tcp", protocols=("tcp",))
REGISTRY = registry_of(
    (Kind.ELECTION, provider("raft")),
    (Kind.ELECTION, provider("k8s")),
    (Kind.ANNOUNCER, provider("address")),
    (Kind.ANNOUNCER, provider("arp")),
    (Kind.ANNOUNCER, provider("bgp", options=Options)),
    (Kind.PROXY, TCP),
    (Kind.PROXY, provider("nft", protocols=("tcp", "udp"), options=Options)),
    (Kind.SOURCE, provider("file")),
    (Kind.OBSERVER, provider("metrics")),
    (Kind.AGENT, provider("dns")),
    (Kind.CHECK, provider("ping")),
)


def at(line: int) -> Places:
    return Places(root=Place(file="c.yaml", line=line))


def instance(kind: Kind, name: str, line: int = 1, of: str = "", **data: object) -> Instance:
    return Instance(kind=kind, name=name, section=Section(provider=of or name, data=data, places=at(line)))


RAFT = instance(Kind.ELECTION, "raft", 2)


def vip(name: str = "api", address: str = "192.168.0.75", line: int = 10, **fields: Any) -> VirtualIP:
    return VirtualIP(**{"name": name, "address": ip_address(address), "group": name, "places": at(line)} | fields)


def balancer(name: str = "web", port: int = 80, line: int = 20, **fields: Any) -> LoadBalancer:
    values: dict[str, Any] = {
        "name": name,
        "protocol": "tcp",
        "proxy": "tcp",
        "port": port,
        "bind_to": ("api",),
        "places": at(line),
    }
    return LoadBalancer(**values | fields)


def resolved(*snapshots: Desired, registry: PluginRegistry = REGISTRY) -> Resolved:
    return resolve(snapshots, registry)


def told(found: Resolved) -> list[str]:
    return [str(problem) for problem in found.problems]


def names(found: Resolved) -> list[tuple[str, str]]:
    return [(it.kind.value, it.name) for it in found.instances]


def test_what_is_named_is_looked_up_and_structured() -> None:
    found = resolved(
        Desired(
            instances=(RAFT, instance(Kind.ANNOUNCER, "arp", interval="2s"), instance(Kind.OBSERVER, "metrics")),
            groups=(Group(name="api", election="raft"),),
            vips=(vip(),),
            load_balancers=(balancer(),),
            agents=(AgentItem(name="dns", group="api"),),
            members=(Member(name="n1", address=ip_address("192.168.0.70")),),
            cluster="rack-7",
            digest="12345678",
        )
    )
    assert told(found) == []
    assert set(names(found)) == {
        ("election", "raft"),
        ("announcer", "arp"),
        ("announcer", "address"),
        ("proxy", "tcp"),
        ("agent", "dns"),
        ("observer", "metrics"),
    }
    arp = found.instance(Kind.ANNOUNCER, "arp")
    assert arp is not None
    assert arp.config == Config(interval=Duration(2.0))
    assert (found.cluster, found.digest, found.missing) == ("rack-7", "12345678", ())
    assert [it.name for it in found.agents] == ["dns"]


def test_a_group_that_is_only_named_uses_the_only_election() -> None:
    found = resolved(Desired(instances=(RAFT,), vips=(vip(group="web"),)))
    assert [(group.name, group.election) for group in found.groups] == [("web", "raft")]


def test_a_group_without_an_election_is_refused_where_there_are_several_or_none() -> None:
    several = resolved(Desired(instances=(RAFT, instance(Kind.ELECTION, "k8s")), vips=(vip(),)))
    assert several.vips == ()
    assert told(several) == [
        "c.yaml:10: group: group 'api' is left out: it names no election, and there are several: raft, k8s",
        "c.yaml:10: group: virtual IP 'api' is left out: it needs group 'api'",
    ]
    assert "no election is configured" in told(resolved(Desired(vips=(vip(),))))[0]


def test_a_group_name_that_looks_like_a_slip_is_warned_of() -> None:
    found = resolved(
        Desired(instances=(RAFT,), groups=(Group(name="api", election=""),), vips=(vip("a", group="apii"),))
    )
    (problem,) = found.problems
    assert (problem.severity, found.errors) == (Severity.WARNING, ())
    assert "did you mean 'api'?" in problem.message
    assert [it.name for it in found.vips] == ["a"]


def test_a_group_of_the_name_of_its_virtual_ip_is_no_slip() -> None:
    found = resolved(Desired(instances=(RAFT,), groups=(Group(name="api", election=""),), vips=(vip("api4"),)))
    assert told(found) == []


def test_an_instance_of_another_name_than_its_provider_is_looked_up_by_its_own() -> None:
    found = resolved(
        Desired(
            instances=(RAFT, instance(Kind.ELECTION, "services", of="k8s")),
            groups=(Group(name="api", election="services"),),
            vips=(vip(),),
        )
    )
    assert ("election", "services") in names(found)
    assert ("election", "raft") not in names(found), "nothing uses it"


def test_a_section_is_checked_although_nothing_uses_it() -> None:
    found = resolved(Desired(instances=(instance(Kind.ANNOUNCER, "arp", 5, interval=3),)))
    assert told(found) == ["c.yaml:5: interval: expected a duration like 150ms, 5s or 1m30s, got 3"]
    assert found.instances == ()


def test_a_provider_that_is_not_there_is_told_with_a_remedy_and_takes_along_what_needs_it() -> None:
    found = resolved(
        Desired(
            instances=(RAFT, instance(Kind.ELECTION, "etcd", 3)),
            groups=(Group(name="api", election="raft"), Group(name="apps", election="etcd", places=at(6))),
            vips=(vip(), vip("app", "192.168.0.76", 11, group="apps")),
            load_balancers=(balancer(), balancer("shop", 443, 21, bind_to=("app",))),
        )
    )
    assert [it.name for it in found.vips] == ["api"]
    assert [it.name for it in found.load_balancers] == ["web"]
    assert told(found) == [
        "c.yaml:3: no plugin provides the election 'etcd' (there is k8s, raft)",
        "c.yaml:6: election: group 'apps' is left out: it needs election 'etcd'",
        "c.yaml:11: group: virtual IP 'app' is left out: it needs group 'apps'",
        "c.yaml:21: bindTo[0]: virtual IP 'app' is left out",
        "c.yaml:21: bindTo: load balancer 'shop' is left out: none of its virtual IPs is there",
    ]
    assert [str(problem) for problem in found.missing] == told(found)[:1]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"announcers": ("address", "apr")},
            "c.yaml:10: announce[1]: virtual IP 'bad' is left out: it needs announcer 'apr'",
        ),
        (
            {"announcers": ("bgp",), "options": {"bgp": Section(provider="bgp", data={"x": 1}, places=at(10))}},
            "c.yaml:10: x: unknown key (known: communities)",
        ),
        (
            {"announcers": ("arp",), "options": {"arp": Section(provider="arp", data={"x": 1}, places=at(10))}},
            "c.yaml:10: arp has no options",
        ),
        (
            {"address": ip_address("192.168.0.70")},
            "c.yaml:10: address: virtual IP 'bad' is left out: 192.168.0.70: member 'n1' has it",
        ),
        (
            {"address": ip_address("192.168.0.99")},
            "c.yaml:10: address: virtual IP 'bad' is left out: 192.168.0.99: virtual IP 'good' has it",
        ),
    ],
)
def test_a_virtual_ip_that_cannot_be_is_left_out_alone(fields: dict[str, Any], problem: str) -> None:
    found = resolved(
        Desired(
            instances=(RAFT,),
            vips=(vip("good", "192.168.0.99", 9), vip("bad", **fields)),
            members=(Member(name="n1", address=ip_address("192.168.0.70")),),
        )
    )
    assert [it.name for it in found.vips] == ["good"]
    assert problem in told(found)


def test_options_of_items_are_structured_under_the_name_of_the_instance() -> None:
    section = Section(provider="bgp", data={"communities": ["65000:100"]}, places=at(10))
    options = {"nft": Section(provider="nft", data={"communities": ["a"]}, places=at(20))}
    found = resolved(
        Desired(
            instances=(RAFT,),
            vips=(vip(announcers=("arp", "bgp"), options={"bgp": section}),),
            load_balancers=(balancer(proxy="nft", options=options),),
        )
    )
    assert told(found) == []
    assert found.vips[0].options == {"bgp": Options(communities=("65000:100",))}
    assert found.load_balancers[0].options == {"nft": Options(communities=("a",))}


@frozen(kw_only=True)
class PeerConfig:
    port: int = 10000


def peers(config: PeerConfig) -> Iterator[Socket]:
    return (Socket(address=ip_address(f"192.168.0.{number}"), port=Port(config.port)) for number in (70, 71))


@pytest.mark.parametrize("given", [{}, {"port": 10001}])
def test_a_listener_never_takes_the_port_that_an_election_needs(given: dict[str, int]) -> None:
    raft = evolve(provider("raft"), config=PeerConfig, sockets=peers)
    port = given.get("port", 10000)
    found = resolved(
        Desired(
            instances=(evolve(RAFT, section=evolve(RAFT.section, data=given)),),
            vips=(vip(),),
            load_balancers=(
                balancer("everywhere", port, 20, bind_to=()),
                balancer("on the address", port, 30),
                balancer("beside it", port + 2, 40, bind_to=()),
            ),
        ),
        registry=registry_of(
            (Kind.ELECTION, raft),
            (Kind.ANNOUNCER, provider("address")),
            (Kind.ANNOUNCER, provider("arp")),
            (Kind.PROXY, TCP),
        ),
    )
    assert told(found) == [
        f"c.yaml:20: port: load balancer 'everywhere' is left out: election 'raft' listens on port {port} already"
    ]
    assert [it.name for it in found.load_balancers] == ["on the address", "beside it"]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"protocol": "http", "proxy": "http"},
            "c.yaml:30: type: load balancer 'bad' is left out: it needs proxy 'http'",
        ),
        (
            {"protocol": "udp"},
            "c.yaml:30: proxy: load balancer 'bad' is left out: proxy 'tcp' serves tcp, not udp",
        ),
        ({"bind_to": ("apo",)}, "c.yaml:30: bindTo[0]: virtual IP 'apo' is not configured; did you mean 'api'?"),
        (
            {"port": 80},
            "c.yaml:30: port: load balancer 'bad' is left out: load balancer 'web' listens on 192.168.0.75:80 already",
        ),
        (
            {"port": 80, "bind_to": ()},
            "c.yaml:30: port: load balancer 'bad' is left out: load balancer 'web' listens on port 80 already",
        ),
        (
            {"backends": (Backend(address="192.168.0.75", port=81),)},
            "c.yaml:30: port: load balancer 'bad' is left out: its backend 192.168.0.75:81 is its own listener",
        ),
        (
            {"bind_to": (), "backends": (Backend(address="192.168.0.70", port=81),)},
            "c.yaml:30: port: load balancer 'bad' is left out: its backend 192.168.0.70:81 is its own listener",
        ),
    ],
)
def test_a_load_balancer_that_cannot_be_is_left_out_alone(fields: dict[str, Any], problem: str) -> None:
    found = resolved(
        Desired(
            instances=(RAFT,),
            vips=(vip(),),
            load_balancers=(balancer(), balancer("bad", line=30, **{"port": 81} | fields)),
            members=(Member(name="n1", address=ip_address("192.168.0.70")),),
        )
    )
    assert [it.name for it in found.load_balancers] == ["web"]
    assert problem in told(found)


def test_a_load_balancer_keeps_the_virtual_ips_that_are_there() -> None:
    found = resolved(Desired(instances=(RAFT,), vips=(vip(),), load_balancers=(balancer(bind_to=("gone", "api")),)))
    assert [it.bind_to for it in found.load_balancers] == [("api",)]


def test_one_port_may_serve_two_addresses_and_two_transports() -> None:
    found = resolved(
        Desired(
            instances=(RAFT,),
            vips=(vip(), vip("b", "192.168.0.76")),
            load_balancers=(
                balancer("1"),
                balancer("2", bind_to=("b",)),
                balancer("3", protocol="udp", proxy="nft", bind_to=("api", "b")),
            ),
        )
    )
    assert told(found) == []
    assert [it.name for it in found.load_balancers] == ["1", "2", "3"]


def test_a_type_that_one_proxy_serves_needs_no_proxy_of_its_name() -> None:
    found = resolved(Desired(instances=(RAFT,), load_balancers=(balancer(protocol="udp", proxy="udp", bind_to=()),)))
    assert told(found) == []
    assert found.load_balancers[0].proxy == "nft"


def test_the_first_source_wins_and_the_other_is_told() -> None:
    first = Desired(
        instances=(RAFT,), vips=(vip(),), digest="11111111", members=(Member(name="n", address=ip_address("::9")),)
    )
    second = Desired(
        instances=(instance(Kind.ELECTION, "raft", 40), instance(Kind.SOURCE, "file", 41)),
        vips=(vip("api", "192.168.0.99", 42), vip("more", "192.168.0.77", 43)),
        digest="22222222",
        node_name="n",
    )
    found = resolved(first, second)
    assert [(it.name, str(it.address)) for it in found.vips] == [("api", "192.168.0.75"), ("more", "192.168.0.77")]
    assert told(found) == [
        "c.yaml:40: election 'raft' is configured already, at c.yaml:2, which wins",
        "c.yaml:42: name: virtual IP 'api' is configured already, at c.yaml:10, which wins",
    ]
    assert (found.digest, found.node_name, len(found.members)) == ("11111111", "n", 1)
    assert ("source", "file") in names(found)


def test_moving_text_within_a_file_changes_nothing() -> None:
    def wanted(offset: int, port: int = 80) -> Desired:
        return Desired(
            instances=(evolve(RAFT, section=evolve(RAFT.section, places=at(offset))),),
            vips=(vip(line=offset),),
            load_balancers=(balancer(port=port, line=offset),),
        )

    assert resolved(wanted(1)) == resolved(wanted(100))
    assert resolved(wanted(1)) != resolved(wanted(1, port=81))


def test_nothing_wanted_is_nothing() -> None:
    assert resolved() == Resolved()


def test_a_problem_is_an_error_unless_it_says_otherwise() -> None:
    warning = Problem(place=Place(file="x"), message="m", severity=Severity.WARNING)
    error = Problem(place=Place(file="x"), message="m")
    assert Resolved(problems=(warning, error)).errors == (error,)


CHECKED = Group(name="api", election="raft", health_check=NodeCheck(check="api"), places=at(5))


def test_a_health_check_is_opened_where_a_group_that_is_held_names_it() -> None:
    check = instance(Kind.CHECK, "api", of="ping")
    desired = Desired(instances=(check,), groups=(CHECKED,), vips=(vip(),))
    assert ("check", "api") in names(resolved(desired))
    assert ("check", "api") not in names(resolved(evolve(desired, vips=())))


def test_a_group_whose_health_check_cannot_be_is_left_out_rather_than_held_unchecked() -> None:
    check = instance(Kind.CHECK, "api", line=7, of="icmp")
    found = resolved(Desired(instances=(check,), groups=(CHECKED,), vips=(vip(),)))
    assert told(found) == [
        "c.yaml:5: healthCheck: group 'api' is left out: it needs health check 'api'",
        "c.yaml:7: no plugin provides the check 'icmp' (there is ping)",
        "c.yaml:10: group: virtual IP 'api' is left out: it needs group 'api'",
    ]
    assert found.groups == ()
    assert len(found.missing) == 1
