"""The unit for systemd: what it permits is enough, and what is missing without it is said."""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from kubevip.control import Client
from kubevip.errors import ControlError, NoDaemonError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SECONDS = 20.0

CONFIG = """
singleNode: true
vip: 198.51.100.9
interface: d0
gratuitousARP: true
loadBalancers:
- {name: web, type: tcp, port: 80, bindToVip: true, backends: [{address: 198.51.100.1, port: 8080}]}
"""

NETWORK = """
ip link add d0 type veth peer name d1
ip link set lo up
ip link set d0 up
ip link set d1 up
ip address add 198.51.100.1/24 dev d0
exec "$@"
"""


def service() -> configparser.SectionProxy:
    parser = configparser.ConfigParser(strict=False, interpolation=None, comment_prefixes=("#",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys have capitals
    parser.read(ROOT / "examples" / "kubevip.service")
    return parser["Service"]


CAPABILITIES = [name.removeprefix("CAP_").lower() for name in service()["CapabilityBoundingSet"].split()]


def test_the_unit_is_as_the_daemon_wants_it() -> None:
    unit = service()
    assert unit["Type"] == "notify"
    assert unit["KillMode"] == "mixed"
    assert unit["RestartPreventExitStatus"] == "78"
    assert int(unit["TimeoutStopSec"]) > 10
    assert unit["ExecStart"].endswith("/kubevip run")
    families = {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"}
    assert set(unit["RestrictAddressFamilies"].split()) == families
    assert (unit["LimitRTPRIO"], unit["LimitNICE"]) == ("1", "-10")  # real time, without a capability for it
    assert sorted(CAPABILITIES) == ["net_admin", "net_bind_service", "net_raw"]


def start(folder: Path, capabilities: list[str]) -> subprocess.Popen[bytes]:
    """Start a node with these capabilities alone, in a network namespace of its own; its log is `log` in `folder`."""
    tools = [shutil.which(tool) for tool in ("unshare", "sh", "setpriv", "ip")]
    if None in tools:
        pytest.skip("unshare, setpriv (util-linux) and ip (iproute2) are needed")
    (folder / "config.yaml").write_text(CONFIG)
    allowed = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    command = [sys.executable, "-m", "kubevip", "run", "--config", str(folder / "config.yaml")]
    command += ["--state-dir", str(folder / "state")]
    drop = ["setpriv", f"--bounding-set={allowed}", "--inh-caps=-all"]
    with (folder / "log").open("w") as log:
        return subprocess.Popen(
            ["unshare", "--net", "sh", "-ec", NETWORK, "sh", *drop, *command],
            stderr=log,
            env={key: value for key, value in os.environ.items() if not key.startswith("KUBEVIP")},
        )


@contextmanager
def daemon(folder: Path, capabilities: list[str]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Run such a node; yield what asks for its status."""
    process = start(folder, capabilities)

    def status() -> dict[str, Any]:
        try:
            answer: Any = Client(folder / "state", timeout_seconds=5).request("status")
        except (NoDaemonError, ControlError):
            answer = {"vips": []}
        return dict(answer)

    try:
        yield status
        process.terminate()
        assert process.wait(SECONDS) == 0, (folder / "log").read_text()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def wait(status: Callable[[], dict[str, Any]], test: Callable[[dict[str, Any]], bool], log: Path) -> dict[str, Any]:
    end = time.monotonic() + SECONDS
    while not test(now := status()):
        assert time.monotonic() < end, f"{now}\n{log.read_text()}"
        time.sleep(0.1)  # noqa: TID251 -- waits for a process of its own
    return now


@pytest.mark.netns
def test_the_capabilities_of_the_unit_are_enough(tmp_path: Path) -> None:
    """Scenario 154."""
    with daemon(tmp_path, CAPABILITIES) as status:
        now = wait(status, lambda now: any(vip["is_held"] for vip in now["vips"]), tmp_path / "log")
        assert [vip["health"] for vip in now["vips"]] == [{"level": "good", "reason": ""}]
        assert [listener["is_listening"] for listener in now["listeners"]] == [True]


@pytest.mark.netns
@pytest.mark.parametrize("missing", ["net_raw", "net_admin"])
def test_without_a_capability_it_ends_with_77_and_names_it(missing: str, tmp_path: Path) -> None:
    """Scenario 154."""
    process = start(tmp_path, [name for name in CAPABILITIES if name != missing])
    try:
        assert process.wait(SECONDS) == 77, (tmp_path / "log").read_text()
    finally:
        process.kill()
    assert f"needs CAP_{missing.upper()}, which this process lacks" in (tmp_path / "log").read_text()
