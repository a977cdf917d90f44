"""kubevip itself in the lab, started as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.netns, pytest.mark.slow]

KUBEVIP = (sys.executable, "-P", "-m", "kubevip")


def lab(*arguments: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*KUBEVIP, "lab", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(directory)},
        timeout=110,
    )


def test_every_takeover_of_the_demonstration_works(tmp_path: Path) -> None:
    done = lab("demo", "--json", directory=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["backends"] == ["b1", "b2", "b3"]
    assert [each["fault"] for each in report["rounds"]] == ["term", "kill", "freeze", "cut"]
    assert all(each["holder_after"] and each["two_holders_ms"] == 0 for each in report["rounds"])
    assert list(tmp_path.iterdir()) == []


def test_two_never_hold_an_address_under_random_faults(tmp_path: Path) -> None:
    picture = tmp_path / "held.svg"
    done = lab("chaos", "--seconds", "8", "--seed", "5", "--json", "--picture", str(picture), directory=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert (report["seed"], report["two_holders"], report["ended"]) == (5, [], [])
    assert len(report["faults"]) > 3
    assert [each["address"] for each in report["addresses"]] == ["10.77.0.100", "10.77.0.101", "10.77.0.102"]
    assert list(tmp_path.iterdir()) == [picture]


def test_it_moves_as_it_is_told_to(tmp_path: Path) -> None:
    done = lab("failover", "--fault", "move", "--rounds", "2", "--json", directory=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    rounds = json.loads(done.stdout)["rounds"]
    assert [each["holder_before"] == each["holder_after"] for each in rounds] == [False, False]
    assert [each["two_holders_ms"] for each in rounds] == [0, 0]


def test_at_rest_every_process_is_told_of_and_nothing_is_written(tmp_path: Path) -> None:
    done = lab("idle", "--seconds", "2", "--json", directory=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    processes = json.loads(done.stdout)["processes"]
    assert sorted((each["node"], each["process"]) for each in processes) == [
        (node, process) for node in ("n1", "n2", "n3") for process in ("control", "keeper", "worker")
    ]
    assert {each["node"] for each in processes if each["role"] == "holder"} < {"n1", "n2", "n3"}
    assert all(each["resident_mb"] > each["proportional_mb"] > each["private_mb"] > 1 for each in processes)
    assert all(each["cpu_percent"] > 0 for each in processes if each["process"] == "control")


def test_under_load_requests_are_answered_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    done = lab("load", "--seconds", "3", "--json", directory=tmp_path)

    assert done.returncode in (0, 1), done.stdout + done.stderr  # a machine that does other things may be too slow
    report = json.loads(done.stdout)
    losses = report["elections"] + report["lapses"] + report["breaks"]
    assert (losses == 0) is (done.returncode == 0) is report["is_good"]
    assert report["requests_per_second"] > 100
    assert report["processors"] == len(os.sched_getaffinity(0))


def test_ctrl_c_ends_the_demonstration_and_leaves_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*KUBEVIP, "lab", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    ) as demo:
        assert demo.stdout is not None
        while "waiting for a leader" not in demo.stdout.readline():
            assert demo.poll() is None
        time.sleep(1.0)  # noqa: TID251 - the nodes are about to be up
        os.killpg(demo.pid, signal.SIGINT)  # a terminal sends it to all of them
        output, _ = demo.communicate(timeout=30)

    assert demo.returncode == 130, output
    assert "Traceback" not in output
    assert list(tmp_path.iterdir()) == []


def test_who_holds_by_a_lease_releases_it_and_so_does_the_keeper_of_one_that_was_killed(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    arguments = ("failover", "--fault", "term", "--fault", "kill", "--rounds", "1", "--election", "k8s", "--json")
    done = lab(*arguments, "--logs", str(logs), directory=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    rounds = [only for each in json.loads(done.stdout)["measurements"] for only in each["rounds"]]
    assert [each["two_holders_ms"] for each in rounds] == [0, 0]
    said = "".join(file.read_text() for file in logs.glob("kill-kubevip/n?.log"))
    assert "carried out a will function=kubevip_election_k8s._goodbye:say" in said
