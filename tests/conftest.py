"""What all tests share: both event loops, virtual time, and the right to make network namespaces.

Tests marked `netns` make network namespaces of their own. Root may; anybody else first enters a user namespace, once,
for the whole run. Where the machine refuses, they are left out and one line at the end says how many and why; with
KUBEVIP_TEST_NETNS=require that is a failure.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import trio.testing  # noqa: TID251 -- its clock is what virtual time on trio is made of
from hypothesis import settings

from kubevip.testing import VirtualTimeLoop

# Time decides no test: a busy machine is not a bug.
settings.register_profile("kubevip", deadline=None)
settings.load_profile("kubevip")

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000

refusal = pytest.StashKey[str]()
left_out = pytest.StashKey[int]()


def _unshare(flags: int) -> str:
    """Leave namespaces; return why that is refused, or "". Python has os.unshare from 3.12 on only."""
    libc = ctypes.CDLL(None, use_errno=True)
    return "" if libc.unshare(flags) == 0 else os.strerror(ctypes.get_errno())


def _enter_user_namespace() -> str:
    uid, gid = os.geteuid(), os.getegid()
    if reason := _unshare(CLONE_NEWUSER):
        return f"a user namespace is refused: {reason}"
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except OSError as error:
        return f"a user namespace cannot be mapped: {error.strerror}"
    return ""


def _why_no_network_namespace() -> str:
    if sys.platform != "linux":
        return "this is not Linux"
    if os.geteuid() != 0 and (reason := _enter_user_namespace()):
        return reason
    if (child := os.fork()) == 0:
        os._exit(1 if _unshare(CLONE_NEWNET) else 0)
    _, status = os.waitpid(child, 0)
    return "" if status == 0 else "a network namespace is refused"


def pytest_configure(config: pytest.Config) -> None:
    config.stash[refusal] = _why_no_network_namespace()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not (reason := config.stash[refusal]):
        return
    marked = [item for item in items if item.get_closest_marker("netns")]
    config.stash[left_out] = len(marked)
    if os.environ.get("KUBEVIP_TEST_NETNS") == "require" and marked:
        raise pytest.UsageError(f"{len(marked)} network tests cannot run: {reason}")
    for item in marked:
        item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if count := config.stash.get(left_out, 0):
        terminalreporter.write_line(f"{count} network tests not run: {config.stash[refusal]}")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["asyncio", "trio"])
def virtual_time(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A backend whose clock jumps; a module uses it by overriding `anyio_backend` with it."""
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": VirtualTimeLoop}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
