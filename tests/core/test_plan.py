"""What a change of the configuration starts, stops and updates; nothing else."""

from __future__ import annotations

from ipaddress import IPv4Address

from attrs import evolve

from kubevip import Backend, Group, LoadBalancer, NodeCheck, Place, Places, VirtualIP
from kubevip._plan import Plan, plan, units
from kubevip._resolved import Resolved

VIP = VirtualIP(name="api4", address=IPv4Address("192.0.2.1"), group="api")
WEB = VirtualIP(name="web", address=IPv4Address("192.0.2.2"), group="web")
BOUND = LoadBalancer(name="kube-apiserver", protocol="tcp", proxy="tcp", port=6443, bind_to=("api4",))
EVERYWHERE = LoadBalancer(name="shop", protocol="tcp", proxy="tcp", port=80)
RESOLVED = Resolved(
    groups=(
        Group(name="api", election="raft"),
        Group(name="web", election="raft"),
        Group(name="idle", election="raft"),
    ),
    vips=(VIP, WEB),
    load_balancers=(BOUND, EVERYWHERE),
)
RUNNING = units(RESOLVED)


def change(resolved: Resolved) -> Plan:
    return plan(units(resolved), RUNNING)


def test_a_first_configuration_starts_items_before_candidacies_and_no_idle_group() -> None:
    assert plan(RUNNING, {}).start == (
        ("vip", "api4"),
        ("vip", "web"),
        ("listener", "shop"),
        ("group", "api"),
        ("group", "web"),
    )


def test_no_change_does_nothing() -> None:
    """Scenario 109."""
    assert change(RESOLVED) == Plan()


def test_a_comment_in_the_file_does_nothing() -> None:
    moved = evolve(VIP, places=Places(root=Place(file="config.yaml", line=99)))
    assert change(evolve(RESOLVED, vips=(moved, WEB))) == Plan()


def test_nothing_wanted_stops_addresses_first_and_candidacies_after_them() -> None:
    assert change(Resolved()).stop == (
        ("vip", "api4"),
        ("vip", "web"),
        ("listener", "shop"),
        ("group", "api"),
        ("group", "web"),
    )


def test_backends_go_into_the_running_listener() -> None:
    backends = (Backend(address="192.0.2.9", port=80),)
    changed = (evolve(BOUND, backends=backends), evolve(EVERYWHERE, backends=backends))
    assert change(evolve(RESOLVED, load_balancers=changed)) == Plan(update=(("vip", "api4"), ("listener", "shop")))


def test_another_port_restarts_that_listener_alone() -> None:
    changed = (BOUND, evolve(EVERYWHERE, port=81))
    assert change(evolve(RESOLVED, load_balancers=changed)) == Plan(restart=(("listener", "shop"),))


def test_a_bound_listener_that_comes_or_goes_leaves_its_address_alone() -> None:
    assert change(evolve(RESOLVED, load_balancers=(EVERYWHERE,))) == Plan(update=(("vip", "api4"),))


def test_a_new_address_comes_up_before_the_old_one_goes() -> None:
    """Scenario 115."""
    moved = evolve(VIP, address=IPv4Address("192.0.2.7"))
    assert change(evolve(RESOLVED, vips=(moved, WEB))) == Plan(replace=(("vip", "api4"),))


def test_the_same_address_elsewhere_is_stopped_before_it_starts() -> None:
    moved = evolve(VIP, interface="eth1")
    assert change(evolve(RESOLVED, vips=(moved, WEB))) == Plan(restart=(("vip", "api4"),))


def test_a_changed_group_touches_no_virtual_ip() -> None:
    groups = (Group(name="api", election="k8s"), *RESOLVED.groups[1:])
    assert change(evolve(RESOLVED, groups=groups)) == Plan(restart=(("group", "api"),))


def test_a_health_check_comes_changes_and_goes_without_a_word_to_the_candidacy() -> None:
    def checked(check: NodeCheck | None) -> Resolved:
        return evolve(RESOLVED, groups=(Group(name="api", election="raft", health_check=check), RESOLVED.groups[1]))

    slow, fast = NodeCheck(check="api"), NodeCheck(check="api", interval_seconds=1)
    assert change(checked(slow)) == Plan(start=(("check", "api"),))
    assert plan(units(checked(fast)), units(checked(slow))) == Plan(restart=(("check", "api"),))
    assert plan(units(RESOLVED), units(checked(slow))) == Plan(stop=(("check", "api"),))
