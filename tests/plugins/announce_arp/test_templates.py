from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from kubevip.errors import AnnounceError
from kubevip_announce_arp import _templates as templates

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Load templates that a program of the test's own prints."""
    run = subprocess.run

    def load(program: str) -> object:
        def run_instead(command: list[str], **how: Any) -> object:
            return run([sys.executable, "-c", program], **{**how, "timeout": min(how["timeout"], 5)})

        monkeypatch.setattr(subprocess, "run", run_instead)
        return templates.load_templates.__wrapped__()

    return load


def test_frames_are_built_without_their_library_in_this_process() -> None:
    program = (
        "import sys; from kubevip_announce_arp._templates import load_templates as load; "
        "frames = load(); assert load() is frames and len(frames.arp_reply) == 42, frames; "
        "print([name for name in sys.modules if 'scapy' in name])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import no_such_library", "scapy cannot build the frames: ModuleNotFoundError: No module named"),
        ("import os; os._exit(3)", "scapy cannot build the frames: status 3"),
        ("print('no frame')", "scapy cannot be asked to build the frames: non-hexadecimal"),
        ("print('00')", "scapy cannot be asked to build the frames: .*missing 4 required"),
    ],
)
def test_frames_that_cannot_be_built_are_an_error_that_says_why(
    load: Callable[[str], object], program: str, message: str
) -> None:
    with pytest.raises(AnnounceError, match=message):
        load(program)


def test_a_library_that_does_not_come_to_an_end_is_given_up(
    load: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(templates, "BUILD_SECONDS", 0.2)
    with pytest.raises(AnnounceError, match="did not build the frames within"):
        load("import time; time.sleep(60)")


def test_what_failed_once_is_tried_again(load: Callable[[str], object], monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnnounceError):
        load("raise SystemExit(1)")
    monkeypatch.undo()
    assert templates.load_templates()
