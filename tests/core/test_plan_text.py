from __future__ import annotations

from ipaddress import IPv4Interface, ip_address
from pathlib import Path
from typing import Any

import pytest

from kubevip import Group, Interface, LoadBalancer, Machine, Member, Place, Problem, Severity, VirtualIP
from kubevip._check import render_check, render_refusal
from kubevip._options import Options
from kubevip._plan_text import WIDTH, render_plan
from kubevip._resolved import Resolved
from kubevip._survey import Survey, Told, WhileLeading

MISSING = Problem(
    place=Place(file="config.yaml", line=18, path=("virtualIPs", 2, "interface")),
    message="ens19 does not exist on this machine; n2 will not stand for web",
    severity=Severity.WARNING,
)
BAD = Problem(place=Place(file="config.yaml", line=20, path=("loadBalancers", 0, "port")), message="is taken")


def vip(name: str, address: str, group: str) -> VirtualIP:
    return VirtualIP(name=name, address=ip_address(address), group=group)


def balancer(name: str) -> LoadBalancer:
    return LoadBalancer(name=name, protocol="tcp", proxy="tcp", port=80)


def survey(**changes: Any) -> Survey:
    values: dict[str, Any] = {
        "file": "/etc/kubevip/config.yaml",
        "form": "native",
        "options": Options(config=Path("/etc/kubevip/config.yaml")),
        "node": "n2",
        "is_here": True,
        "machine": Machine(
            interfaces=(Interface(name="ens18", addresses=(IPv4Interface("192.168.0.71/24"),)),), host_name="n2"
        ),
        "resolved": Resolved(
            groups=tuple(Group(name=name, election="raft") for name in ("api", "web", "apps")),
            vips=(
                vip("api4", "192.168.0.75", "api"),
                vip("api6", "2001:db8::75", "api"),
                vip("web", "192.168.0.76", "web"),
            ),
            load_balancers=(balancer("kube-apiserver"), balancer("shop")),
            members=tuple(Member(name=f"n{n}", address=ip_address(f"192.168.0.{69 + n}")) for n in (1, 2, 3)),
        ),
        "sources": (),
        "elections": (
            Told(
                name="raft",
                lines=(
                    "n2 of n1 n2 n3, quorum 2, listens 192.168.0.71:10000/tcp (mTLS)",
                    "client waits: stop 15 ms, node lost 170-250 ms; no quorum = no VIP",
                ),
            ),
            Told(name="services", lines=("Lease kube-system/plndr-svcs-lock as n2, 5/3/1 s; node lost 6 s",)),
        ),
        "groups": (
            WhileLeading(
                group="api",
                announced=(
                    "ens18 += 192.168.0.75/32 2001:db8::75/128 (lifetime 10 s, fenced)",
                    "GARP+NA at once, +1.1 s, +2.2 s",
                ),
                served=("6443/tcp on both -> 192.168.0.70:6443 .71:6443 .72:6443 (nft, https /readyz)",),
            ),
            WhileLeading(group="web", announced=(), served=()),
        ),
        "always": ("80/tcp on every address -> 192.168.0.81:8080 (worker)",),
        "agents": (Told(name="dns", lines=("on every node",)),),
        "firewall": ("in 10000/tcp from 192.168.0.70 192.168.0.72", "in 6443/tcp to the VIPs"),
        "problems": (MISSING,),
    }
    return Survey(**values | changes)


def test_a_plan_is_shown_in_columns() -> None:
    assert (
        render_plan(survey())
        == """\
config.yaml: native, 3 groups, 3 virtual IPs, 2 load balancers. Node n2 (ens18 192.168.0.71/24), instance default. \
Nothing was touched.
elections   raft      n2 of n1 n2 n3, quorum 2, listens 192.168.0.71:10000/tcp (mTLS)
                      client waits: stop 15 ms, node lost 170-250 ms; no quorum = no VIP
            services  Lease kube-system/plndr-svcs-lock as n2, 5/3/1 s; node lost 6 s
while leading api   ens18 += 192.168.0.75/32 2001:db8::75/128 (lifetime 10 s, fenced); GARP+NA at once, +1.1 s, +2.2 s
                    6443/tcp on both -> 192.168.0.70:6443 .71:6443 .72:6443 (nft, https /readyz)
while leading web   nothing on this machine
always      80/tcp on every address -> 192.168.0.81:8080 (worker)
agents      dns  on every node
firewall    in 10000/tcp from 192.168.0.70 192.168.0.72; in 6443/tcp to the VIPs
warning     config.yaml:18: virtualIPs[2].interface: ens19 does not exist on this machine; n2 will not stand for web"""
    )


def test_what_there_is_not_is_not_shown() -> None:
    nothing = survey(resolved=Resolved(), elections=(), groups=(), always=(), agents=(), firewall=(), problems=())
    assert render_plan(nothing) == (
        "config.yaml: native, no groups, no virtual IPs, no load balancers. Node n2, instance default. "
        "Nothing was touched."
    )


def test_errors_are_marked_as_such() -> None:
    assert render_plan(survey(problems=(BAD,))).endswith(
        "\nerror       config.yaml:20: loadBalancers[0].port: is taken"
    )


def test_a_node_whose_address_is_elsewhere_is_told_so() -> None:
    assert "Node n2 (192.168.0.71, which is not on this machine)" in render_plan(survey(machine=Machine()))


def test_many_addresses_are_wrapped_between_words() -> None:
    addresses = tuple(f"192.0.2.{n}/32" for n in range(60))
    group = WhileLeading(group="api", announced=(f"ens18 += {' '.join(addresses)}", "GARP"), served=())
    lines = [line for line in render_plan(survey(groups=(group,))).splitlines() if "192.0.2." in line]
    assert len(lines) > 5
    assert all(len(line) <= WIDTH for line in lines)
    assert " ".join(" ".join(lines).split()).endswith("192.0.2.59/32; GARP")


def test_check_ends_with_a_word_on_the_whole() -> None:
    assert render_check(survey()).splitlines() == [
        "config.yaml:18: virtualIPs[2].interface: warning: ens19 does not exist on this machine; "
        "n2 will not stand for web",
        "ok: config.yaml: native, 3 groups, 3 virtual IPs, 2 load balancers. Node n2 (ens18 192.168.0.71/24), "
        "instance default.",
    ]
    assert render_check(survey(problems=(MISSING, BAD))).splitlines()[1:] == [
        "config.yaml:20: loadBalancers[0].port: is taken",
        "refused: 1 problem",
    ]


def test_check_says_for_whom_it_looked_where_the_machine_is_a_stranger() -> None:
    assert render_check(survey(is_here=False, problems=())).endswith(
        "This machine is none of the members; checked as n2."
    )


@pytest.mark.parametrize(("problems", "end"), [((BAD,), "1 problem"), ((BAD, BAD), "2 problems")])
def test_a_refusal_counts(problems: tuple[Problem, ...], end: str) -> None:
    assert render_refusal(problems).splitlines()[-1] == f"refused: {end}"
