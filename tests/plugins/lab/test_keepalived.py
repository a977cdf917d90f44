"""The lab against keepalived, whose failings are known."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from attrs import asdict

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab import _keepalived
from kubevip_lab._faults import FAULTS
from kubevip_lab._keepalived import Keepalived, find_keepalived, keepalived_file, prepare_keepalived
from kubevip_lab._lab import open_lab, plan
from kubevip_lab._round import Round, run_round, wait_until_whole
from kubevip_lab._sandbox import call
from kubevip_lab._watch import open_watch

if TYPE_CHECKING:
    from pathlib import Path

TIMEOUT_SECONDS = 20.0


@pytest.fixture
def installed() -> None:
    try:
        find_keepalived()
    except NotPermittedError as error:
        if os.environ.get("KUBEVIP_TEST_NETNS") == "require":
            raise
        pytest.skip(str(error))


@pytest.mark.netns
@pytest.mark.usefixtures("installed")
def test_the_dead_keep_the_address_the_cut_are_succeeded_and_all_come_back(tmp_path: Path) -> None:
    def body() -> list[dict[str, Any]]:
        done: list[dict[str, Any]] = []
        with (
            open_lab(
                plan(serves_on_nodes=True), lambda network, what: prepare_keepalived(network, what, tmp_path)
            ) as lab,
            open_watch(lab, 0.002) as watch,
        ):
            for fault in ("killall", "cut"):
                holder = wait_until_whole(lab, watch, TIMEOUT_SECONDS)
                done.append(asdict(run_round(lab, watch, FAULTS[fault], holder, TIMEOUT_SECONDS)))
        return done

    killed, cut = (Round(**fields) for fields in call(body))
    assert killed.holder_after not in (None, killed.holder_before)
    assert killed.two_holders_ms > 300
    assert not killed.is_good
    assert cut.is_good
    assert 10 < cut.outage_ms < 500  # three adverts of 10 ms, less what was left of the one before the cut


def test_where_it_is_not_installed_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def which(name: str, path: str | None = None) -> None:
        return None

    monkeypatch.setattr(shutil, "which", which)

    with pytest.raises(NotPermittedError, match="package keepalived"):
        _keepalived.find_keepalived()


def test_a_node_speaks_as_often_as_vrrp_can_and_keeps_what_it_holds() -> None:
    lines = [line.strip() for line in keepalived_file(plan(), "n2", 253).splitlines()]

    assert {"vrrp_version 3", "advert_int 0.01", "nopreempt", "priority 253", "10.77.0.100/32 dev e0"} <= set(lines)


def test_it_cannot_be_told_to_move() -> None:
    with pytest.raises(KubevipError, match="cannot be told"):
        Keepalived().move("n1", "n2")
