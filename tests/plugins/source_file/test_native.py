from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
import yaml

from kubevip import AgentItem, Backend, Desired, Group, Kind, Member, NodeCheck, Placement, Section, VirtualIP
from kubevip.errors import ConfigError
from kubevip_source_file._reading import read_configuration

WHOLE = """\
apiVersion: kubevip/v1
cluster: rack-7
elections:
  raft:
    members: [{name: n1, address: 192.168.0.70}, {name: n2, address: 192.168.0.71, port: 10001}]
    timing: default
  services: {type: k8s, lease: kube-system/plndr-svcs-lock}
announcers:
  arp: {count: 3, interval: 1100ms}
  address:
proxies:
  tcp: {workers: auto}
groups:
  api: {election: raft}
  apps: {election: services}
virtualIPs:
- {name: api4, address: 192.168.0.75, group: api}
- {name: api6, address: "2001:db8::75", group: api, announce: [address]}
- name: web
  address: 192.168.0.76
  interface: ens19
  announce: [address, arp, {bgp: {communities: ["65000:100"]}}, {rip: }]
loadBalancers:
- name: kube-apiserver
  type: tcp
  proxy: nft
  port: 6443
  bindTo: [api4, api6]
  backends: [{members: raft, port: 6443}]
  nft: {mode: dnat}
- name: the shop
  type: http
  port: 80
  bindTo: all
  drain: 30s
  backends: [{url: "http://192.168.0.81:8080"}, {url: "http://shop.example/x", weight: 2}, {address: "::2", port: 1}]
  http: {requestTimeout: 60s}
sources: {k8s: {mode: services}}
agents: {dns: {group: api, zone: example}}
observers: {metrics: {listen: "127.0.0.1:2112"}}
"""


def read(text: str) -> Desired:
    return read_configuration(text.encode(), "c.yaml", {})[0]


def problems_of(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def variant(path: tuple[str | int, ...], value: object) -> str:
    """Return a small good file with one value replaced (or removed, for `...`)."""
    document: Any = {
        "apiVersion": "kubevip/v1",
        "elections": {
            "raft": {"members": [{"name": "n1", "address": "10.0.0.1"}, {"name": "n2", "address": "10.0.0.2"}]}
        },
        "groups": {"api": {"election": "raft"}},
        "virtualIPs": [{"name": "v", "address": "10.0.0.9", "group": "api"}],
        "loadBalancers": [
            {
                "name": "lb",
                "type": "tcp",
                "port": 80,
                "bindTo": ["v"],
                "backends": [{"address": "10.0.0.5", "port": 80}],
            }
        ],
    }
    place = document
    for step in path[:-1]:
        place = place[step]
    if value is ...:
        del place[path[-1]]
    elif isinstance(place, list):
        place[int(path[-1]) : int(path[-1]) + 1] = [value]
    else:
        place[path[-1]] = value
    return yaml.safe_dump(document)


def test_a_whole_file() -> None:
    desired = read(WHOLE)
    assert {(it.kind, it.name): (it.section.provider, it.section.data) for it in desired.instances} == {
        (Kind.ELECTION, "raft"): (
            "raft",
            {
                "members": [
                    {"name": "n1", "address": "192.168.0.70"},
                    {"name": "n2", "address": "192.168.0.71", "port": 10001},
                ],
                "timing": "default",
                "cluster": "rack-7",
            },
        ),
        (Kind.ELECTION, "services"): ("k8s", {"lease": "kube-system/plndr-svcs-lock"}),
        (Kind.ANNOUNCER, "arp"): ("arp", {"count": 3, "interval": "1100ms"}),
        (Kind.ANNOUNCER, "address"): ("address", {}),
        (Kind.PROXY, "tcp"): ("tcp", {"workers": "auto"}),
        (Kind.SOURCE, "k8s"): ("k8s", {"mode": "services"}),
        (Kind.AGENT, "dns"): ("dns", {"zone": "example"}),
        (Kind.OBSERVER, "metrics"): ("metrics", {"listen": "127.0.0.1:2112"}),
    }
    assert desired.groups == (Group(name="api", election="raft"), Group(name="apps", election="services"))
    assert desired.vips == (
        VirtualIP(name="api4", address=ip_address("192.168.0.75"), group="api"),
        VirtualIP(name="api6", address=ip_address("2001:db8::75"), group="api", announcers=("address",)),
        VirtualIP(
            name="web",
            address=ip_address("192.168.0.76"),
            group="web",
            interface="ens19",
            announcers=("address", "arp", "bgp", "rip"),
            options={"bgp": Section(provider="bgp", data={"communities": ["65000:100"]})},
        ),
    )
    api, shop = desired.load_balancers
    assert (api.protocol, api.proxy, api.port, api.bind_to) == ("tcp", "nft", 6443, ("api4", "api6"))
    assert api.backends == (Backend(address="192.168.0.70", port=6443), Backend(address="192.168.0.71", port=6443))
    assert api.options == {"nft": Section(provider="nft", data={"mode": "dnat"})}
    assert (shop.name, shop.protocol, shop.proxy, shop.bind_to) == ("the shop", "http", "http", ())
    assert shop.drain_seconds == 30.0
    assert shop.backends == (
        Backend(address="192.168.0.81", port=8080, url="http://192.168.0.81:8080"),
        Backend(address="shop.example", port=80, weight=2, url="http://shop.example/x"),
        Backend(address="::2", port=1),
    )
    assert desired.agents == (AgentItem(name="dns", group="api"),)
    assert desired.members == (
        Member(name="n1", address=ip_address("192.168.0.70")),
        Member(name="n2", address=ip_address("192.168.0.71")),
    )
    assert (desired.cluster, desired.node_name) == ("rack-7", None)
    assert len(desired.digest) == 8


def test_items_know_where_they_stand() -> None:
    desired = read(WHOLE)
    assert str(desired.vips[2].places.at("interface")) == "c.yaml:21: virtualIPs[2].interface"
    assert str(desired.vips[2].options["bgp"].places.at("communities", 0)) == (  # type: ignore[attr-defined]
        "c.yaml:22: virtualIPs[2].announce[2].bgp.communities[0]"
    )
    assert str(desired.load_balancers[1].places.at("port")) == "c.yaml:33: loadBalancers[1].port"
    raft = next(it for it in desired.instances if it.name == "raft")
    assert str(raft.section.places.at("members", 1, "port")) == "c.yaml:5: elections.raft.members[1].port"


def test_comments_change_the_digest_of_the_text_and_nothing_else() -> None:
    first, second = read(WHOLE), read("# rack 7\n" + WHOLE)
    assert first.text_digest != second.text_digest
    assert first.digest == second.digest
    assert first.vips == second.vips
    assert first.load_balancers == second.load_balancers
    assert first.instances == second.instances


def test_what_a_later_version_understands_is_refused_by_name() -> None:
    text = """\
apiVersion: kubevip/v1
elections: {raft: {members: [{name: n1, address: 10.0.0.1}]}}
loadBalancers: [{name: a, type: tcp, port: 1, bindTo: all, healthCheck: {}, backends: [{members: raft, port: 2}]}]
"""
    assert problems_of(text) == [
        "c.yaml:3: loadBalancers[0].healthCheck: healthCheck comes with a later version; leave it out",
    ]


@pytest.mark.parametrize(
    ("text", "placement"),
    [
        ("{}", Placement()),
        ("{failBack: never, prefer: [n2, n3]}", Placement(prefer=("n2", "n3"))),
        ("{prefer: [n2], failBack: 5m, weight: 3}", Placement(prefer=("n2",), fail_back_seconds=300.0, weight=3)),
    ],
)
def test_a_group_says_where_it_would_rather_be_held(text: str, placement: Placement) -> None:
    (group,) = read(f"apiVersion: kubevip/v1\ngroups: {{api: {text}}}\n").groups
    assert group.placement == placement


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{prefer: [n1, n1]}", "groups.api: prefer names n1 more than once"),
        ("{failBack: 5m}", "groups.api: failBack without prefer: there is nowhere to return to"),
        ("{weight: 0}", "groups.api: expected a weight of 1-256, got 0"),
        ("{prefer: n1}", "groups.api.prefer: expected a list"),
    ],
)
def test_a_placement_that_makes_no_sense_is_refused(text: str, problem: str) -> None:
    (found,) = problems_of(f"apiVersion: kubevip/v1\ngroups: {{api: {text}}}\n")
    assert found.startswith(f"c.yaml:2: {problem}")


def test_all_problems_of_a_file_are_told_at_once_in_order() -> None:
    text = """\
apiVersion: kubevip/v1
virtualIps: []
groups: {"a b": {elektion: raft}}
virtualIPs:
- {name: v, address: 10.0.0.9/3}
- {name: v2, address: 10.0.0.8, interfaces: eth0}
- {name: ok, address: 10.0.0.7}
- {name: ok, address: 10.0.0.6}
loadBalancers:
- {name: a, type: tcp, port: 70000, bindTo: all, backends: [{address: 10.0.0.1, port: 80}]}
- {name: b, type: tcp, port: 80, bindTo: [], backends: [{address: 10.0.0.1, port: http}, {addres: 10.0.0.1}]}
"""
    found = problems_of(text)
    assert [problem.partition(" (known")[0] for problem in found] == [
        'c.yaml:2: virtualIps: unknown key, did you mean "virtualIPs"?',
        'c.yaml:3: groups.a b: expected a name (1-63 of a-z, 0-9, ".", "_", "-"), got "a b"',
        'c.yaml:3: groups.a b.elektion: unknown key, did you mean "election"?',
        'c.yaml:5: virtualIPs[0].address: expected an IPv4 or IPv6 address, got "10.0.0.9/3" (without a prefix length)',
        'c.yaml:6: virtualIPs[1].interfaces: unknown key, did you mean "interface"?',
        "c.yaml:8: virtualIPs[3].name: virtualIPs[2] is called ok already",
        "c.yaml:10: loadBalancers[0].port: expected an integer 1-65535, got 70000",
        'c.yaml:11: loadBalancers[1].backends[0].port: expected an integer 1-65535, got "http"',
        'c.yaml:11: loadBalancers[1].backends[1].addres: unknown key, did you mean "address"?',
    ]


ADDRESSES = [
    "",
    "::ffff:10.0.0.1",
    "fe80::1%eth0",
    "010.0.0.1",
    "10.0.0.1/24",
    "224.0.0.1",
    "ff02::1",
    "0.0.0.0",
    "::",
    "255.255.255.255",
]


@pytest.mark.parametrize("address", [*ADDRESSES, "127.0.0.1", "::1", "240.0.0.1", "fe80::1", 5, None])
def test_the_address_of_a_virtual_ip_can_be_reached_by_others(address: object) -> None:
    (problem,) = problems_of(variant(("virtualIPs", 0, "address"), address))
    assert "virtualIPs[0]" in problem


def test_a_link_local_virtual_ip_names_its_interface() -> None:
    vip = {"name": "v", "address": "fe80::9", "interface": "eth0"}
    assert read(variant(("virtualIPs", 0), vip)).vips[0].interface == "eth0"


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_address_of_a_member_is_that_of_one_machine(address: str) -> None:
    (problem,) = problems_of(variant(("elections", "raft", "members", 0, "address"), address))
    assert "elections.raft.members[0].address: " in problem


@pytest.mark.parametrize("address", ADDRESSES)
def test_the_address_of_a_backend_is_that_of_one_machine(address: str) -> None:
    (problem,) = problems_of(variant(("loadBalancers", 0, "backends", 0, "address"), address))
    assert "loadBalancers[0].backends[0].address: " in problem


def test_members_on_loopback_are_for_trials_on_one_machine_only() -> None:
    members = [{"name": f"n{n}", "address": f"127.0.0.{n}"} for n in (1, 2)]
    assert len(read(variant(("elections", "raft", "members"), members)).members) == 2
    (problem,) = problems_of(variant(("elections", "raft", "members", 1, "address"), "127.0.0.2"))
    assert "members[1].address: 127.0.0.2 is a loopback address" in problem


@pytest.mark.parametrize(
    "interface", ["", "a" * 16, "eth/0", "eth:0", "eth0;reboot", "eth 0", "$(x)", "..", "é", "eth0\n"]
)
def test_an_interface_has_a_name_that_a_kernel_and_a_shell_take(interface: str) -> None:
    (problem,) = problems_of(variant(("virtualIPs", 0, "interface"), interface))
    assert "virtualIPs[0].interface: expected the name of a network device" in problem


@pytest.mark.parametrize("port", [0, 65536, -1, "80", True, None, 80.0])
@pytest.mark.parametrize("path", [("loadBalancers", 0, "port"), ("loadBalancers", 0, "backends", 0, "port")])
def test_a_port_is_an_integer_from_1_to_65535(path: tuple[str | int, ...], port: object) -> None:
    (problem,) = problems_of(variant(path, port))
    assert "expected an integer 1-65535" in problem or 'missing required key "port"' in problem


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("apiVersion",), "kubevip/v2", "apiVersion: expected kubevip/v1, got 'kubevip/v2'"),
        (("virtualIPs",), {"v": {}}, "virtualIPs: expected a list, got a mapping"),
        (("virtualIPs", 0), "v", 'virtualIPs[0]: expected a mapping, got "v"'),
        (("virtualIPs", 0, "name"), "all", 'virtualIPs[0]: a virtual IP cannot be called "all"'),
        (("virtualIPs", 0, "name"), "a b", "virtualIPs[0].name: expected a name"),
        (("virtualIPs", 0, "announce"), [], "virtualIPs[0]: announce lists nothing"),
        (("virtualIPs", 0, "announce"), ["arp", "arp"], "virtualIPs[0].announce[1]: arp is listed twice"),
        (("virtualIPs", 0, "announce"), [{"a": {}, "b": {}}], "virtualIPs[0].announce[0]: expected the name of"),
        (("virtualIPs", 0, "announce"), [{"a": 5}], "virtualIPs[0].announce[0].a: expected a mapping of options"),
        (("elections", "raft", "type"), 5, "elections.raft.type: expected the name of a provider"),
        (("elections", "raft", "members", 1, "name"), "n1", "members[1].name: two members are called n1"),
        (("elections", "raft", "members", 1, "address"), "10.0.0.1", "members[1].address: n1 has the address 10.0.0.1"),
        (("elections",), ["raft"], "elections: expected a mapping, got a list"),
        (("agents",), {"dns": {"group": 5}}, "agents.dns.group: expected the name of a group"),
        (("loadBalancers", 0, "name"), "", "loadBalancers[0].name: expected a name of up to 200"),
        (("loadBalancers", 0, "name"), "a\x1b[2J", "loadBalancers[0].name: expected a name of up to 200"),
        (("loadBalancers", 0, "type"), ..., 'loadBalancers[0]: missing required key "type"'),
        (("loadBalancers", 0, "bindTo"), ..., 'loadBalancers[0]: missing required key "bindTo"'),
        (("loadBalancers", 0, "bindTo"), [], "loadBalancers[0].bindTo: expected names of virtual IPs, or all"),
        (("loadBalancers", 0, "bindTo"), ["v", "all"], "loadBalancers[0].bindTo: all stands alone"),
        (("loadBalancers", 0, "bindTo"), ["v", "v"], "loadBalancers[0].bindTo: names a virtual IP twice"),
        (("loadBalancers", 0, "tcp"), 5, "loadBalancers[0].tcp: expected a mapping of options"),
        (("loadBalancers", 0, "http"), {}, "loadBalancers[0].http: unknown key"),
        (("loadBalancers", 0, "drain"), 10, "loadBalancers[0].drain: expected a duration"),
        (("loadBalancers", 0, "backends"), [], "loadBalancers[0].backends: backends lists nothing"),
        (("loadBalancers", 0, "backends", 0), {"port": 1}, "backends[0]: expected one of address, url, members"),
        (("loadBalancers", 0, "backends", 0, "url"), "http://a", "backends[0]: expected one of address, url, members"),
        (("loadBalancers", 0, "backends", 0, "weight"), 257, "backends[0]: expected a weight of 1-256, got 257"),
        (
            ("loadBalancers", 0, "backends", 0),
            {"members": "x", "port": 1},
            "no election 'x' lists members (there is raft)",
        ),
        (
            ("loadBalancers", 0, "backends", 1),
            {"address": "10.0.0.5", "port": 80},
            "backends[1]: 10.0.0.5:80 is a backend",
        ),
        (
            ("loadBalancers", 0, "backends", 0),
            {"url": "http://a:81", "port": 80},
            "backends[0]: port 80 contradicts port 81 of the URL",
        ),
    ],
)
def test_bad_input_is_told_at_its_place(path: tuple[str | int, ...], value: object, problem: str) -> None:
    (found,) = problems_of(variant(path, value))
    assert problem in found


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a",
        "ftp://a",
        "http://",
        "http://a:0",
        "http://a:65536",
        "http://a:x",
        "http://u:p@a",
        "http://a?q",
        "http://a#f",
        "http://a b",
        "http://é",
        "http://[::1",
        "http://0.0.0.0",
        "http://224.0.0.1",
        "http://1.2.3",
        "http://-a",
        "http://a\n",
    ],
)
def test_a_url_names_one_host_by_http(url: str) -> None:
    (problem,) = problems_of(variant(("loadBalancers", 0, "backends", 0), {"url": url}))
    assert "loadBalancers[0].backends[0]" in problem
    assert "u:p" not in problem, "secrets are not repeated"


@pytest.mark.parametrize(
    ("url", "address", "port"), [("https://a.b", "a.b", 443), ("http://[2001:db8::1]:8080/x", "2001:db8::1", 8080)]
)
def test_the_port_of_a_url_is_the_one_of_its_scheme_unless_written(url: str, address: str, port: int) -> None:
    (balancer,) = read(variant(("loadBalancers", 0, "backends", 0), {"url": url})).load_balancers
    assert balancer.backends == (Backend(address=address, port=port, url=url),)


def test_variables_of_the_original_era_are_ignored_with_a_warning() -> None:
    environment = {"vip_address": "10.0.0.99", "lb_port": "x", "PATH": "/bin"}
    desired, warnings = read_configuration(WHOLE.encode(), "c.yaml", environment)
    assert desired == read(WHOLE)
    assert [str(warning) for warning in warnings] == [
        "environment: vip_address: is ignored: the file is of the native format",
        "environment: lb_port: is ignored: the file is of the native format",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "c.yaml: is empty"), ("# x\n", "c.yaml: is empty"), ("- a", "c.yaml:1: expected a mapping")],
)
def test_a_file_that_says_nothing_is_refused(text: str, problem: str) -> None:
    (found,) = problems_of(text)
    assert found.startswith(problem)


def test_the_cluster_of_the_file_is_that_of_an_election_that_lists_members() -> None:
    sections = {it.name: it.section for it in read(WHOLE).instances if it.kind is Kind.ELECTION}
    assert sections["raft"].data["cluster"] == "rack-7"
    assert "cluster" not in sections["services"].data


def test_an_elections_own_cluster_wins_over_that_of_the_file() -> None:
    desired = read(WHOLE.replace("timing: default", "cluster: own"))
    assert [it.section.data["cluster"] for it in desired.instances if it.name == "raft"] == ["own"]
    assert desired.cluster == "rack-7"


def test_an_election_of_a_file_without_a_cluster_keeps_the_default_of_its_provider() -> None:
    desired = read(WHOLE.replace("cluster: rack-7\n", ""))
    assert ["cluster" in it.section.data for it in desired.instances if it.name == "raft"] == [False]


def test_a_health_check_is_an_instance_of_its_own_and_says_when_to_ask_it() -> None:
    check = {"type": "apiserver", "server": "10.0.0.1:6443", "interval": "5s", "timeout": "2s", "rise": 1, "fall": 4}
    desired = read(variant(("groups", "api", "healthCheck"), check))
    (instance,) = (it for it in desired.instances if it.kind is Kind.CHECK)
    assert (instance.name, instance.section.provider) == ("api", "apiserver")
    assert instance.section.data == {"server": "10.0.0.1:6443"}
    (group,) = desired.groups
    assert group.health_check == NodeCheck(check="api", interval_seconds=5.0, timeout_seconds=2.0, rise=1, fall=4)


def test_a_health_check_needs_no_more_than_its_type() -> None:
    (group,) = read(variant(("groups", "api", "healthCheck"), {"type": "apiserver"})).groups
    assert group.health_check == NodeCheck(check="api")


@pytest.mark.parametrize(
    ("check", "problem"),
    [
        ({}, 'groups.api.healthCheck: missing required key "type"'),
        ({"type": "x", "interval": 2}, "groups.api.healthCheck.interval: expected a duration like 150ms, 5s or 1m30s"),
        ({"type": "x", "interval": "10ms"}, "groups.api.healthCheck: expected an interval of 100ms-1h, got 0.01 s"),
        ({"type": "x", "timeout": "3s"}, "groups.api.healthCheck: expected a timeout of 10ms up to the interval"),
        ({"type": "x", "rise": 0}, "groups.api.healthCheck: expected rise of 1-100, got 0"),
        ({"type": "x", "fall": 101}, "groups.api.healthCheck: expected fall of 1-100, got 101"),
        ("apiserver", "groups.api.healthCheck: expected"),
    ],
)
def test_a_health_check_that_cannot_be_is_refused(check: object, problem: str) -> None:
    (told,) = problems_of(variant(("groups", "api", "healthCheck"), check))
    assert problem in told
