"""What goes wrong between `kubevip run` and the API server: held as long as it may be, never by two, and why is told.

The API server is that of `kubevip_k8s.testing`, which can be spoilt.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration import looking
from tests.integration.spoilt_api import SpoiltApi, open_spoilt_api
from tests.integration.test_kubernetes import OTHER_VIP, VIP, addresses, service, slice_of

from kubevip.control import Client
from kubevip.errors import KubevipError
from kubevip_k8s import ENDPOINT_SLICES, NAMESPACES, SERVICES
from kubevip_k8s.testing import Delay, Fail, Request
from kubevip_lab import _sandbox
from kubevip_lab._kubevip import Kubevip, prepare_kubevip
from kubevip_lab._lab import Lab, open_lab
from kubevip_lab._lab import plan as lab_plan

pytestmark = [pytest.mark.netns, pytest.mark.slow]

DEADLINE_SECONDS = 40.0
eventually = partial(looking.eventually, seconds=DEADLINE_SECONDS)

BY_LEASE = """\
apiVersion: kubevip/v1
sources: {{k8s: {{mode: services, kubeconfig: {kubeconfig}}}}}
"""
BY_RAFT = """\
apiVersion: kubevip/v1
elections: {{raft: {{members: [{members}], insecure: true}}}}
groups: {{apps: {{election: raft}}}}
sources: {{k8s: {{mode: services, group: apps, kubeconfig: {kubeconfig}}}}}
"""


class Rig:
    """Nodes beside an API server that can be spoilt, with a Service that has the virtual IP."""

    def __init__(self, lab: Lab, subject: Kubevip, api: SpoiltApi) -> None:
        self.lab, self.subject, self.api = lab, subject, api
        self.hosts = [lab.network.hosts[name] for name in lab.nodes]

    def put(self, name: str, address: str, *, endpoint_on: str = "") -> None:
        """Put a Service; of the policy Local where it is said on which node it has its endpoint."""
        more = {"externalTrafficPolicy": "Local"} if endpoint_on else {}
        value = service(name, ("http", 80), type="LoadBalancer", loadBalancerIP=address, **more)
        value["metadata"] |= {"namespace": "shop"}
        self.api.do(lambda cluster: cluster.put(SERVICES, value))
        if endpoint_on:
            part = slice_of(name, "http", "10.77.0.21")
            part["metadata"] |= {"namespace": "shop"}
            part["endpoints"][0]["nodeName"] = endpoint_on
            self.api.do(lambda cluster: cluster.put(ENDPOINT_SLICES, part))

    def holders(self, address: str = VIP) -> list[str]:
        return [host.name for host in self.hosts if address in addresses(host)]

    def holds_for(self, seconds: float) -> list[list[str]]:
        """Return who held the address in that time, each change of it."""
        seen: list[list[str]] = []
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if (now := self.holders()) != (seen[-1] if seen else None):
                seen.append(now)
        return seen

    def said(self, node: str) -> str:
        """Return all that status says, as text."""
        try:
            return str(Client(self.subject.state[node]).request("status"))
        except KubevipError:
            return ""

    def terms(self) -> set[int]:
        found: set[int] = set()
        for node in self.lab.nodes:
            answer: Any = Client(self.subject.state[node]).request("status")
            found |= {group["term"] for group in answer["groups"] if group["is_leading"]}
        return found


@contextmanager
def rig_of(directory: Path, text: str = BY_LEASE, nodes: int = 2) -> Generator[Rig]:
    made: list[tuple[Kubevip, SpoiltApi]] = []
    with ExitStack() as stack:

        def prepare(network: Any, plan: Any) -> Kubevip:
            api = stack.enter_context(open_spoilt_api(network, directory))
            api.do(lambda cluster: cluster.put(NAMESPACES, {"metadata": {"name": "shop"}}))
            members = ", ".join(f"{{name: {name}, address: {address}}}" for name, address in plan.nodes.items())
            file = directory / "config.yaml"
            file.write_text(text.format(kubeconfig=api.kubeconfig, members=members))
            subject = prepare_kubevip(network, plan, directory, config=file, is_insecure=True)
            for daemon in subject.daemons.values():
                daemon.arguments = ["k8s,raft,arp,tcp" if it == "raft,arp,tcp" else it for it in daemon.arguments]
            made.append((subject, api))
            return subject

        with open_lab(lab_plan(nodes=nodes, backends=1), prepare) as lab:
            rig = Rig(lab, *made[0])
            rig.put("web", VIP)
            eventually(rig.holders, "a holder")
            yield rig


def is_of_leases(request: Request) -> bool:
    return "/leases" in request.path


def is_of_others(request: Request) -> bool:
    return "/leases" not in request.path


def in_lab(body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    return _sandbox.call(body)


def test_an_api_that_answers_late_costs_neither_the_address_nor_a_restart(tmp_path: Path) -> None:
    """Scenario 122: each answer takes longer than the retry period (1 s), and less than the deadline (3 s)."""

    def body() -> dict[str, Any]:
        with rig_of(tmp_path) as rig:
            (holder,), terms = rig.holders(), rig.terms()
            rig.api.do(lambda cluster: cluster.fail(Delay(seconds=1.1), when=is_of_leases))
            seen = rig.holds_for(15)
            return {
                "held": seen == [[holder]],
                "terms": rig.terms() == terms,
                "starts": looking.starts(rig.subject),
            }

    assert in_lab(body) == {"held": True, "terms": True, "starts": 2}


def test_an_api_that_is_silent_costs_the_address_and_never_makes_two_holders(tmp_path: Path) -> None:
    """Scenario 121, by a Lease: it is held up to the renew deadline, then by nobody; status says what is waited for."""

    def body() -> dict[str, Any]:
        with rig_of(tmp_path) as rig:
            (holder,) = rig.holders()
            rig.api.do(lambda cluster: cluster.freeze())
            seen = rig.holds_for(12)
            why = [rig.said(node) for node in rig.lab.nodes]
            rig.api.do(lambda cluster: cluster.thaw())
            eventually(rig.holders, "a holder again")
            seen += rig.holds_for(6)
            return {
                "first": seen[:2] == [[holder], []],
                "two": [now for now in seen if len(now) > 1],
                "why": ["waiting for the API: " in text for text in why],
                "after": len(seen[-1]),
                "starts": looking.starts(rig.subject),
            }

    assert in_lab(body) == {"first": True, "two": [], "why": [True, True], "after": 1, "starts": 2}


def test_with_raft_an_api_that_is_silent_costs_nothing_and_a_dead_holder_is_succeeded(tmp_path: Path) -> None:
    """Scenario 121, by raft: what the API said last stays for as long as the nodes see one another.

    What comes meanwhile is a Service of the policy Local, whose address raft places as well.
    """

    def body() -> dict[str, Any]:
        with rig_of(tmp_path, BY_RAFT, nodes=3) as rig:
            rig.api.do(lambda cluster: cluster.freeze())
            (holder,) = rig.holders()
            seen = rig.holds_for(12)
            rig.subject.daemons[holder].kill()
            rig.hosts = [host for host in rig.hosts if host.name != holder]  # dead, its kernel answers no more
            (successor,) = eventually(rig.holders, "a successor")
            rig.put("other", OTHER_VIP, endpoint_on=(other := rig.hosts[0].name))
            time.sleep(1)  # noqa: TID251 -- what must not happen takes time
            meanwhile = rig.holders(OTHER_VIP)
            rig.api.do(lambda cluster: cluster.thaw())
            eventually(lambda: rig.holders(OTHER_VIP) == [other], "the address of a Service that came meanwhile")
            rig.put("other", OTHER_VIP, endpoint_on=(another := rig.hosts[1].name))
            eventually(lambda: rig.holders(OTHER_VIP) == [another], "that address where its endpoint has gone")
            return {
                "held": seen == [[holder]],
                "another": successor != holder,
                "meanwhile": meanwhile,
                "still": rig.holders() == [successor],
            }

    assert in_lab(body) == {"held": True, "another": True, "meanwhile": [], "still": True}


def test_a_token_that_is_good_no_more_is_told_asked_with_seldom_and_read_again(tmp_path: Path) -> None:
    """Scenario 126: 401 for a while, then another token in the same file; and 403, which names the rights."""

    def body() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with rig_of(tmp_path) as rig:
            token = rig.api.token
            rig.api.do(lambda cluster: cluster.revoke(token))
            rig.api.do(lambda cluster: cluster.drop_watches())
            eventually(lambda: not rig.holders(), "no holder")
            seen["why"] = eventually(lambda: "401" in rig.said("n1") and "401" in rig.said("n2"), "a reason")
            before = rig.api.asked()
            time.sleep(10)  # noqa: TID251 -- a rate takes time
            seen["a hot loop"] = rig.api.asked() - before > 2 * 10 * 10
            rig.api.give_token()
            eventually(rig.holders, "a holder with the new token")

            rig.api.do(lambda cluster: cluster.fail(Fail(status=403, reason="Forbidden"), when=is_of_leases))
            eventually(lambda: not rig.holders(), "no holder")
            needed = "needed are get, list, watch, create, update and patch of leases in namespace kube-system"
            seen["rights"] = eventually(lambda: all(needed in rig.said(node) for node in rig.lab.nodes), "a reason")
            before = rig.api.asked()
            time.sleep(10)  # noqa: TID251 -- as above
            seen["a hot loop of 403"] = rig.api.asked() - before > 2 * 10 * 10
            rig.api.do(lambda cluster: cluster.heal())
            eventually(rig.holders, "a holder")
            seen["starts"] = looking.starts(rig.subject)
        return seen

    assert in_lab(body) == {
        "why": True,
        "a hot loop": False,
        "rights": True,
        "a hot loop of 403": False,
        "starts": 2,
    }


def test_throttled_it_renews_and_asks_for_little_else(tmp_path: Path) -> None:
    """Scenario 125: everything but Leases is answered 429 with Retry-After; what came meanwhile is seen afterwards."""

    def body() -> dict[str, Any]:
        with rig_of(tmp_path) as rig:
            (holder,), terms = rig.holders(), rig.terms()
            fault = Fail(status=429, reason="TooManyRequests", retry_after_seconds=3)
            rule = rig.api.do(lambda cluster: cluster.fail(fault, when=is_of_others))
            rig.api.do(lambda cluster: cluster.drop_watches())
            rig.put("other", OTHER_VIP)
            seen = rig.holds_for(15)
            refused = rig.api.do(lambda cluster: rule.hits)
            why = "429" in rig.said(holder)
            rig.api.do(lambda cluster: cluster.heal())
            eventually(lambda: rig.holders(OTHER_VIP) == [holder], "the address of a Service that came meanwhile")
            return {"held": seen == [[holder]], "terms": rig.terms() == terms, "few": refused <= 20, "why": why}

    assert in_lab(body) == {"held": True, "terms": True, "few": True, "why": True}
