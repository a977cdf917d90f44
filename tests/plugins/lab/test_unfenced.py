"""Nodes without a fence: whoever is not hung falls silent in time all the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import asdict

from kubevip_lab._faults import FAULTS
from kubevip_lab._kubevip import Kubevip, make_keys, native_file, prepare_kubevip
from kubevip_lab._lab import open_lab, plan
from kubevip_lab._round import Round, run_round, wait_until_whole
from kubevip_lab._sandbox import call
from kubevip_lab._watch import open_watch

if TYPE_CHECKING:
    from pathlib import Path

    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network

pytestmark = [pytest.mark.netns, pytest.mark.slow]

TIMEOUT_SECONDS = 20.0
NO_FENCE = "announcers: {address: {fence: 'off'}}\n"


def test_without_a_fence_there_are_never_two_holders_while_a_process_can_act(tmp_path: Path) -> None:
    """A node that is cut off withdraws by itself, a dead one's keeper does it for it, and others wait for both."""

    def make(network: Network, what: Plan) -> Kubevip:
        keys = make_keys(what, tmp_path / "keys")
        subject = prepare_kubevip(network, what, tmp_path, "native")
        for node in what.nodes:
            (tmp_path / f"{node}.yaml").write_text(native_file(what, "default", keys / node) + NO_FENCE)
        return subject

    def body() -> dict[str, dict[str, Any]]:
        done: dict[str, dict[str, Any]] = {}
        with open_lab(plan(), make) as lab, open_watch(lab, 0.002) as watch:
            for fault in ("kill", "cut", "term", "move"):
                holder = wait_until_whole(lab, watch, TIMEOUT_SECONDS)
                done[fault] = asdict(run_round(lab, watch, FAULTS[fault], holder, TIMEOUT_SECONDS))
        return done

    rounds = {fault: Round(**fields) for fault, fields in call(body).items()}
    assert {fault: each.two_holders_ms for fault, each in rounds.items()} == dict.fromkeys(rounds, 0.0)
    assert [each.holder_after for each in rounds.values()].count(None) == 0
    # The last request before the cut, at most a heartbeat old, bound the voters for half a second.
    assert rounds["cut"].outage_ms > 400
