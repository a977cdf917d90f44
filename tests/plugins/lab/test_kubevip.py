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


def test_every_takeover_of_the_demonstration_works(tmp_path: Path) -> None:
    done = subprocess.run(
        [*KUBEVIP, "lab", "demo", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        timeout=110,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["backends"] == ["b1", "b2", "b3"]
    assert [each["fault"] for each in report["rounds"]] == ["term", "kill", "freeze", "cut"]
    assert all(each["holder_after"] and each["two_holders_ms"] == 0 for each in report["rounds"])
    assert list(tmp_path.iterdir()) == []


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
