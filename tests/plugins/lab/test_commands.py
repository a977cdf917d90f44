"""The commands as a user gives them, with the trivial subject in the place of kubevip."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab import _commands, _demo, _kernel, _run, plugin

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network
    from kubevip_lab._subject import Subject


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def lab(
    prepare_lock_subject: Callable[[Network, Plan, Path], Subject], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., int]:
    def prepare(network: Network, what: Plan, directory: Path, *_: object, **__: object) -> Subject:
        return prepare_lock_subject(network, what, directory)

    monkeypatch.setattr(_commands, "prepare_kubevip", prepare)
    parser = argparse.ArgumentParser()
    plugin.configure(parser)
    return lambda *arguments: _run.run_command(parser.parse_args(arguments))


def figures(capfd: pytest.CaptureFixture[str]) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(capfd.readouterr().out)
    return answer


@pytest.mark.netns
def test_a_measurement_prints_one_object_and_leaves_nothing(
    lab: Callable[..., int], capfd: pytest.CaptureFixture[str], temporary: Path
) -> None:
    assert lab("failover", "--fault", "term", "--rounds", "2", "--json") == 0

    report = figures(capfd)
    assert (report["fault"], report["subject"], len(report["rounds"])) == ("term", "lock", 2)
    assert {"outage_ms", "tcp_outage_ms", "holder_before", "holder_after", "two_holders_ms"} <= set(report["rounds"][0])
    assert report["worst_ms"] >= report["median_ms"] > 0
    assert list(temporary.iterdir()) == []


@pytest.mark.netns
def test_a_measurement_with_a_failed_takeover_exits_1_and_keeps_the_logs(
    lab: Callable[..., int], capfd: pytest.CaptureFixture[str], temporary: Path
) -> None:
    assert lab("failover", "--fault", "cut", "--rounds", "1", "--timeout", "4s") == 1

    output = capfd.readouterr()
    assert "nobody took over" in output.out
    assert "--- n1.log" in output.err
    assert [path.name for path in temporary.glob("*/n?.log")] != []


@pytest.mark.netns
def test_the_demonstration_fails_with_a_subject_that_does_not_survive_a_freeze(
    lab: Callable[..., int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_demo, "TIMEOUT_SECONDS", 4.0)

    assert lab("demo", "--json") == 1

    report = figures(capfd)
    took_over = {each["fault"]: each["holder_after"] is not None for each in report["rounds"]}
    assert took_over == {"term": True, "kill": True, "freeze": False, "cut": False}
    assert report["is_good"] is False


@pytest.mark.netns
def test_the_demonstration_ends_by_itself(lab: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_demo, "LIMIT_SECONDS", 1.0)

    with pytest.raises(KubevipError, match="did not end within 1 s"):
        lab("demo", "--json")


@pytest.mark.netns
def test_the_shell_is_on_the_host_and_reaches_the_others(prepare_lock_subject: object, temporary: Path) -> None:
    script = (
        "import argparse, sys; from kubevip_lab import plugin; parser = argparse.ArgumentParser();"
        "plugin.configure(parser); sys.exit(plugin.run(parser.parse_args(['up', '--host', 'b2']), None))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="hostname; on n2 cat /proc/net/fib_trie | grep -o 10.77.0.12 | head -1; ls $KUBEVIP_LAB; on nowhere\n",
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SHELL": "/bin/sh", "TMPDIR": str(temporary)},
    )

    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert {"b2", "10.77.0.12", "n1.yaml", "n3.log"} <= set(lines)
    assert "hosts: n1 n2 n3 client watch b1 b2 b3" in done.stderr
    assert list(temporary.iterdir()) == []


@pytest.mark.netns
def test_a_shell_on_a_host_that_is_not_there_is_refused(lab: Callable[..., int]) -> None:
    with pytest.raises(KubevipError, match="no host is called 'n7'; there are n1, n2, n3"):
        lab("up", "--host", "n7")


def test_a_machine_that_refuses_leaves_no_directory_behind(
    lab: Callable[..., int], temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unshare(flags: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(_kernel, "unshare", unshare)

    with pytest.raises(NotPermittedError, match="refuses to create a user namespace"):
        lab("demo")
    assert list(temporary.iterdir()) == []
