from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
import yaml

from kubevip import Backend, Desired, Instance, Kind, LoadBalancer, Member, Problem
from kubevip.errors import ConfigError
from kubevip_source_file._reading import read_configuration

ARCHITECTURE = """\
localPeer:
  id: server1
  address: 192.168.0.70
  port: 10000
remotePeers:
- id: server2
  address: 192.168.0.71
  port: 10000
- id: server3
  address: 192.168.0.72
  port: 10000
vip: 192.168.0.75
gratuitousARP: true
singleNode: false
startAsLeader: false
interface: ens192
addPeersAsBackends: true
loadBalancers:
- name: Kubernetes Control Plane
  type: tcp
  port: 6443
  bindToVip: true
  backendPort: 6444
- name: Every Machine's Shop
  type: tcp
  port: 80
  bindToVip: false
  backends:
  - port: 8080
    address: 192.168.0.81
  - port: 8080
    address: 192.168.0.82
"""

#: What kube-vip v0.1.5 printed as a sample: Go's names, sorted, with everything in it.
PRINTED = """\
AddPeersAsBackends: false
EnableLoadBalancer: true
EnablePacket: false
GratuitousARP: true
Interface: eth0
LoadBalancers:
- BackendPort: 0
  Backends:
  - Address: 192.168.0.1
    ParsedURL: null
    Port: 8080
    RawURL: ""
  - Address: ""
    ParsedURL: {Scheme: http}
    Port: 0
    RawURL: http://192.168.0.2:8080
  BindToVip: true
  Name: Example Load Balancer
  Port: 8080
  Type: HTTP
LocalPeer:
  Address: 192.168.0.1
  ID: server1
  Port: 10000
PacketAPIKey: ""
PacketProject: ""
RemotePeers: null
SingleNode: true
StartAsLeader: false
VIP: 192.168.0.75
"""


def read(text: str, **environment: str) -> tuple[Desired, tuple[Problem, ...]]:
    return read_configuration(text.encode(), "c.yaml", environment)


def problems_of(text: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, **environment)
    return [str(problem) for problem in caught.value.problems]


def variant(**values: object) -> str:
    """Return a small good file with some keys replaced (or removed, for `...`)."""
    document: dict[str, Any] = {
        "localPeer": {"id": "a", "address": "10.0.0.1"},
        "remotePeers": [{"id": "b", "address": "10.0.0.2"}, {"id": "c", "address": "10.0.0.3"}],
        "vip": "10.0.0.9",
        "loadBalancers": [{"name": "lb", "type": "tcp", "port": 80, "bindToVip": True, "backends": [plain()]}],
    }
    document |= values
    return yaml.safe_dump({key: value for key, value in document.items() if value is not ...}, sort_keys=False)


def plain(address: str = "10.0.0.5", port: object = 80) -> dict[str, object]:
    return {"address": address, "port": port}


def balancer(**values: object) -> str:
    """Return that file with keys of its load balancer replaced."""
    document = {"name": "lb", "type": "tcp", "port": 80, "bindToVip": True, "backends": [plain()]} | values
    return variant(loadBalancers=[{key: value for key, value in document.items() if value is not ...}])


def election(desired: Desired) -> Instance:
    (instance,) = desired.instances
    assert instance.kind is Kind.ELECTION
    return instance


def backends(text: str, **environment: str) -> list[str]:
    (first, *_) = read(text, **environment)[0].load_balancers
    return [str(backend) for backend in first.backends]


def test_the_file_of_the_architecture_is_understood_as_it_stands() -> None:
    desired, _ = read(ARCHITECTURE)
    raft = election(desired)
    assert (raft.name, raft.section.provider) == ("raft", "raft")
    assert raft.section.data == {
        "members": [
            {"name": "server1", "address": "192.168.0.70", "port": 10000},
            {"name": "server2", "address": "192.168.0.71", "port": 10000},
            {"name": "server3", "address": "192.168.0.72", "port": 10000},
        ]
    }
    assert [(group.name, group.election) for group in desired.groups] == [("vip", "raft")]
    (vip,) = desired.vips
    assert (vip.name, vip.group, vip.address) == ("vip", "vip", ip_address("192.168.0.75"))
    assert (vip.interface, vip.announcers) == ("ens192", ("address", "arp"))
    assert desired.load_balancers == (
        LoadBalancer(
            name="Kubernetes Control Plane",
            protocol="tcp",
            proxy="tcp",
            port=6443,
            bind_to=("vip",),
            backends=tuple(Backend(address=f"192.168.0.{n}", port=6444) for n in (70, 71, 72)),
        ),
        LoadBalancer(
            name="Every Machine's Shop",
            protocol="tcp",
            proxy="tcp",
            port=80,
            backends=tuple(Backend(address=f"192.168.0.{n}", port=8080) for n in (81, 82)),
        ),
    )
    assert desired.node_name == "server1"
    assert desired.members[0] == Member(name="server1", address=ip_address("192.168.0.70"))
    assert len(desired.digest) == 8


def test_places_are_those_of_the_original_keys() -> None:
    desired, _ = read(ARCHITECTURE)
    section = election(desired).section
    assert str(section.places.at("members", 2, "address")) == "c.yaml:10: remotePeers[1].address"
    assert str(section.places.at("members", 0, "name")) == "c.yaml:2: localPeer.id"
    assert str(desired.vips[0].places.at("interface")) == "c.yaml:16: interface"
    assert str(desired.load_balancers[1].places.at("bindTo")) == "c.yaml:27: loadBalancers[1].bindToVip"


def test_the_machines_agree_on_the_members_although_each_file_has_another_local_peer() -> None:
    other = variant(
        localPeer={"id": "b", "address": "10.0.0.2"},
        remotePeers=[{"id": "c", "address": "10.0.0.3"}, {"id": "a", "address": "10.0.0.1"}],
    )
    here, there = read(variant())[0], read(other)[0]
    assert election(here).section.data == election(there).section.data
    assert (here.node_name, there.node_name) == ("a", "b")


def test_what_the_first_versions_printed_as_a_sample_is_understood() -> None:
    desired, warnings = read(PRINTED)
    assert election(desired).name == "single"
    assert election(desired).section.data == {}
    (found,) = desired.load_balancers
    assert (found.protocol, found.proxy, found.bind_to) == ("http", "http", ("vip",))
    assert [str(backend) for backend in found.backends] == ["192.168.0.1:8080", "192.168.0.2:8080"]
    assert warnings == ()
    assert desired.node_name == "server1"


def test_without_gratuitous_arp_the_address_is_only_added() -> None:
    assert read(variant())[0].vips[0].announcers == ("address",)


@pytest.mark.parametrize("interface", ["", ..., None])
def test_without_an_interface_the_machine_chooses(interface: object) -> None:
    assert read(variant(interface=interface))[0].vips[0].interface == "auto"


def test_start_as_leader_stands_first_and_nothing_else() -> None:
    assert election(read(variant(startAsLeader=True))[0]).section.data["standFirst"] is True
    assert election(read(variant(pki="/srv/keys"))[0]).section.data["pki"] == "/srv/keys"
    assert "pki" not in election(read(variant())[0]).section.data


def test_leader_election_is_by_lease_and_balances_only_when_asked() -> None:
    desired, warnings = read(variant(enableLeaderElection=True, localPeer=..., remotePeers=...))
    assert election(desired).section.provider == "k8s"
    assert desired.load_balancers == ()
    assert [warning.message.partition(":")[0] for warning in warnings] == ["are left out"]
    balanced, _ = read(variant(enableLeaderElection=True, enableLoadBalancer=True, localPeer=..., remotePeers=...))
    assert len(balanced.load_balancers) == 1


def test_a_file_without_a_vip_only_balances() -> None:
    desired, _ = read(
        variant(
            vip=..., localPeer=..., remotePeers=..., loadBalancers=[{"type": "tcp", "port": 80, "backends": [plain()]}]
        )
    )
    assert (desired.instances, desired.groups, desired.vips) == ((), (), ())
    assert desired.load_balancers[0].name == "load balancer 1"


def test_a_remote_peer_with_the_local_address_is_this_machine() -> None:
    peers = [{"id": "a", "address": "10.0.0.1"}, {"id": "b", "address": "10.0.0.2"}, {"id": "c", "address": "10.0.0.3"}]
    assert [member.name for member in read(variant(remotePeers=peers))[0].members] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"backendPort": 6444}, ["10.0.0.5:80", "10.0.0.1:6444", "10.0.0.2:6444", "10.0.0.3:6444"]),
        ({"backendPort": 6444, "backends": ...}, ["10.0.0.1:6444", "10.0.0.2:6444", "10.0.0.3:6444"]),
        ({"backends": ...}, ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"]),
        ({"backendPort": 80, "backends": [plain("10.0.0.2")]}, ["10.0.0.2:80", "10.0.0.1:80", "10.0.0.3:80"]),
        ({}, ["10.0.0.5:80"]),
    ],
)
def test_peers_become_backends_at_the_backend_port(values: dict[str, object], found: list[str]) -> None:
    assert backends("addPeersAsBackends: true\n" + balancer(**values)) == found


def test_where_peers_do_not_become_backends_a_warning_says_so() -> None:
    _, warnings = read("addPeersAsBackends: true\n" + balancer())
    assert [warning.message for warning in warnings] == [
        "addPeersAsBackends adds no peers here: there are backends, and no backendPort"
    ]


@pytest.mark.parametrize(
    ("backend", "found"),
    [
        ({"url": "http://10.0.0.5:81"}, "10.0.0.5:81"),
        ({"rawURL": "https://a.example"}, "a.example:443"),
        ({"rawurl": "http://a.example", "port": 80}, "a.example:80"),
        ({"address": "https://10.0.0.5:6443"}, "10.0.0.5:6443"),
        ({"address": "2001:db8::1", "port": 80}, "[2001:db8::1]:80"),
    ],
)
def test_backends_are_written_in_many_ways(backend: dict[str, object], found: str) -> None:
    assert backends(balancer(type="HTTP", backends=[backend])) == [found]


ENVIRONMENT: list[tuple[dict[str, str], Any]] = [
    ({"vip_address": "10.0.0.10"}, lambda it: str(it.vips[0].address) == "10.0.0.10"),
    ({"vip_interface": "eth7"}, lambda it: it.vips[0].interface == "eth7"),
    ({"vip_arp": "true"}, lambda it: it.vips[0].announcers == ("address", "arp")),
    ({"vip_singlenode": "1"}, lambda it: election(it).name == "single"),
    ({"vip_leaderelection": "T"}, lambda it: election(it).name == "k8s"),
    ({"vip_startleader": "TRUE"}, lambda it: election(it).section.data["standFirst"] is True),
    ({"vip_addpeerstolb": "true", "lb_backendport": "6444"}, lambda it: len(it.load_balancers[0].backends) == 4),
    ({"vip_localpeer": "b:10.0.0.2:10001"}, lambda it: it.node_name == "b"),
    ({"vip_localpeer": "x:[2001:db8::1]:10000"}, lambda it: str(it.members[-1].address) == "2001:db8::1"),
    ({"vip_peers": "d:10.0.0.4:10000,e:10.0.0.5:10000"}, lambda it: [m.name for m in it.members] == ["a", "d", "e"]),
    ({"lb_name": "x y"}, lambda it: it.load_balancers[0].name == "x y"),
    ({"lb_type": "UDP"}, lambda it: it.load_balancers[0].protocol == "udp"),
    ({"lb_port": "6443"}, lambda it: it.load_balancers[0].port == 6443),
    ({"lb_port": "010"}, lambda it: it.load_balancers[0].port == 10),
    ({"lb_bindtovip": "false"}, lambda it: it.load_balancers[0].bind_to == ()),
    (
        {"lb_backends": "10.0.0.7:81,10.0.0.8:82"},
        lambda it: [b.port for b in it.load_balancers[0].backends] == [81, 82],
    ),
    ({"vip_address": ""}, lambda it: str(it.vips[0].address) == "10.0.0.9"),
]


@pytest.mark.parametrize(("environment", "is_so"), ENVIRONMENT)
def test_the_environment_overrides_the_file(environment: dict[str, str], is_so: Any) -> None:
    assert is_so(read(variant(), **environment)[0])


def test_the_environment_makes_a_load_balancer_where_there_is_none() -> None:
    desired, _ = read(variant(loadBalancers=...), lb_type="tcp", lb_port="6443", lb_backends="10.0.0.7:6444")
    assert [it.port for it in desired.load_balancers] == [6443]


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"vip_address": "10.0.0.1/32"}, "environment: vip_address: expected an IPv4 or IPv6 address"),
        ({"lb_port": "http"}, 'environment: lb_port: expected an integer 1-65535, got "http"'),
        ({"lb_port": "70000"}, "environment: lb_port: expected an integer 1-65535, got 70000"),
        ({"vip_singlenode": "yes"}, 'environment: vip_singlenode: expected true or false, got "yes"'),
        ({"vip_localpeer": "a"}, "environment: vip_localpeer.address: expected an IPv4 or IPv6 address"),
        ({"vip_peers": "b:10.0.0.2:0"}, "environment: vip_peers[0].port: expected an integer 1-65535, got 0"),
        ({"lb_backends": "10.0.0.7"}, 'environment: lb_backends[0].port: expected an integer 1-65535, got "10.0.0.7"'),
        ({"vip_interface": "a/b"}, "environment: vip_interface: expected the name of a network device"),
        ({"vip_packet": "true"}, "environment: vip_packet: Packet (Equinix Metal) ended its service"),
    ],
)
def test_a_bad_variable_is_told_by_its_name(environment: dict[str, str], problem: str) -> None:
    found = problems_of(variant(), **environment)
    assert found[0].startswith(problem)


def test_variables_that_mean_nothing_any_more_say_what_does() -> None:
    _, warnings = read(variant(), vip_loglevel="5")
    assert [str(warning) for warning in warnings] == ["environment: vip_loglevel: use --log-level or KUBEVIP_LOG_LEVEL"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (variant(vip="10.0.0.9/32"), "vip: expected an IPv4 or IPv6 address"),
        (variant(vip="224.0.0.1"), "vip: 224.0.0.1 is a multicast address"),
        (variant(interface="a" * 16), "interface: expected the name of a network device"),
        (variant(localPeer=...), "remotePeers: localPeer is missing"),
        (variant(localPeer=..., remotePeers=...), "vip: a virtual IP needs localPeer and remotePeers, or singleNode"),
        (variant(localPeer={"id": "a"}), 'localPeer: missing required key "address"'),
        (
            variant(localPeer={"id": "a", "address": "10.0.0.1", "port": 0}),
            "localPeer.port: expected an integer 1-65535",
        ),
        (variant(localPeer={"id": "b", "address": "10.0.0.8"}), "remotePeers[0].id: two members are called b"),
        (variant(localPeer={"id": 1, "address": "10.0.0.8"}), "localPeer.id: expected a string, got 1 (quote it)"),
        (
            variant(remotePeers=[{"id": "b", "address": "10.0.0.2"}, {"id": "c", "address": "10.0.0.2"}]),
            "remotePeers[1].address: b has the address 10.0.0.2 already",
        ),
        (variant(remotePeers={"id": "b"}), "remotePeers: expected a list, got a mapping"),
        (variant(singleNode="yes"), 'singleNode: expected true or false, got "yes"'),
        (variant(singleNode=True, enableLeaderElection=True), "singleNode: excludes enableLeaderElection"),
        (variant(enablePacket=True), "enablePacket: Packet (Equinix Metal) ended its service; remove the key"),
        (variant(packetAPIKey="s3cret"), "packetAPIKey: Packet (Equinix Metal) ended its service; remove the key"),
        (variant(gratuitousArps=True), 'gratuitousArps: unknown key, did you mean "gratuitousARP"?'),
        (variant() + "VIP: 10.0.0.8\n", "VIP: duplicate key: vip is given already"),
        (balancer(type=...), 'loadBalancers[0]: missing required key "type"'),
        (balancer(port="http"), 'loadBalancers[0].port: expected an integer 1-65535, got "http"'),
        (balancer(bindToVip="x"), 'loadBalancers[0].bindToVip: expected true or false, got "x"'),
        (balancer(bindToVIP=True, bindToVip=...) + "vip: ''\n", "duplicate key"),
        (
            balancer(backendPort=70000, backends=...) + "addPeersAsBackends: true\n",
            "loadBalancers[0].backendPort: expected",
        ),
        (
            balancer(bindToVip=False, backends=...) + "addPeersAsBackends: true\n",
            "addPeersAsBackends needs backendPort",
        ),
        (balancer(backends=...), "loadBalancers[0]: there are no backends to balance over"),
        (balancer(backends=[{"address": "10.0.0.5"}]), 'loadBalancers[0].backends[0]: missing required key "port"'),
        (balancer(backends=[plain("host")]), "loadBalancers[0].backends[0].address: expected an IPv4 or IPv6 address"),
        (balancer(backends=[plain(), plain()]), "loadBalancers[0].backends[1]: 10.0.0.5:80 is a backend already"),
        (balancer(backends=[{"url": "http://a:81", "port": 80}]), "backends[0].port: port 80 contradicts port 81"),
        (balancer(backends=[{"url": "http://u:p@a"}]), "backends[0].url: expected a URL like"),
        (balancer(name="a\nb"), "loadBalancers[0].name: expected a name of up to 200 characters that print"),
        (
            variant(vip=..., loadBalancers=[{"type": "tcp", "port": 1, "bindToVip": True, "backends": [plain()]}]),
            "loadBalancers[0].bindToVip: there is no vip to bind to",
        ),
    ],
)
def test_bad_input_is_told_at_its_place(text: str, problem: str) -> None:
    (found,) = problems_of(text)
    assert problem in found
    assert "s3cret" not in found


def test_all_problems_are_told_at_once() -> None:
    text = "vip: x\nsingleNode: 1\nloadBalancers: [{type: tcp, port: 0}, {type: 5}]\n"
    assert problems_of(text) == [
        'c.yaml:1: vip: expected an IPv4 or IPv6 address, got "x"',
        "c.yaml:2: singleNode: expected true or false, got 1",
        "c.yaml:3: loadBalancers[0].port: expected an integer 1-65535, got 0",
        "c.yaml:3: loadBalancers[1].type: expected a string, got 5 (quote it)",
        'c.yaml:3: loadBalancers[1]: missing required key "port"',
    ]
