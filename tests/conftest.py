"""What all tests share: both event loops, virtual time, and the right to make network namespaces.

Tests marked `netns` make network namespaces of their own. Root may; anybody else first enters a user namespace, once,
for the whole run. Where the machine refuses, they are left out and one line at the end says how many and why; with
KUBEVIP_TEST_NETNS=require that is a failure.

Tests marked `apiserver` need a real Kubernetes API server, which one fixture starts for all of them. Where its
binaries are not found they are left out in the same way; KUBEVIP_TEST_APISERVER=require.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio.testing  # noqa: TID251 -- its clock is what virtual time on trio is made of
from hypothesis import settings
from tests.apiserver import servers

from kubevip.testing import VirtualTimeLoop

if TYPE_CHECKING:
    from collections.abc import Generator

# Time decides no test: a busy machine is not a bug.
settings.register_profile("kubevip", deadline=None)
settings.load_profile("kubevip")

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000

refusals = pytest.StashKey[dict[str, str]]()
left_out = pytest.StashKey[dict[str, int]]()
#: Marker: the variable that requires its tests, and what they are called.
CONDITIONAL = {
    "netns": ("KUBEVIP_TEST_NETNS", "network tests"),
    "apiserver": ("KUBEVIP_TEST_APISERVER", "tests with a Kubernetes API server"),
}


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
    config.stash[refusals] = {"netns": _why_no_network_namespace(), "apiserver": servers.missing()}
    config.stash[left_out] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for marker, reason in config.stash[refusals].items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if not reason or not marked:
            continue
        variable, name = CONDITIONAL[marker]
        config.stash[left_out][marker] = len(marked)
        if os.environ.get(variable) == "require":
            raise pytest.UsageError(f"{len(marked)} {name} cannot run: {reason}")
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for marker, count in config.stash[left_out].items():
        terminalreporter.write_line(f"{count} {CONDITIONAL[marker][1]} not run: {config.stash[refusals][marker]}")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Generator[servers.ApiServer]:
    """A real Kubernetes API server with its etcd; tests that use it are marked `apiserver`."""
    with servers.real_server(tmp_path_factory.mktemp("apiserver")) as server:
        yield server


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["asyncio", "trio"])
def virtual_time(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A backend whose clock jumps; a module uses it by overriding `anyio_backend` with it."""
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": VirtualTimeLoop}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
