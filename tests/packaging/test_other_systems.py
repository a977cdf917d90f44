"""`check` and `plan` on a system that is not Linux: an administrator's laptop, simulated as far as Python can be.

What only Linux has is taken away before anything of kubevip is imported: constants, system calls, netlink's library.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

OTHER_SYSTEM = """
import os, select, socket, sys

sys.platform = "darwin"
for module, names in {
    socket: ("AF_NETLINK", "AF_PACKET", "SO_PEERCRED", "SO_BINDTODEVICE", "IP_FREEBIND", "IP_TRANSPARENT",
             "TCP_USER_TIMEOUT", "SOCK_CLOEXEC", "SOCK_NONBLOCK", "NETLINK_ROUTE", "PACKET_OUTGOING"),
    select: ("epoll", "EPOLLIN", "EPOLLOUT", "EPOLLET"),
    os: ("pidfd_open", "memfd_create", "splice", "eventfd", "sched_setscheduler", "sched_getaffinity", "setns",
         "unshare", "O_PATH", "O_TMPFILE"),
}.items():
    for name in names:
        if hasattr(module, name):
            delattr(module, name)


class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"pyroute2", "scapy"}:
            raise ModuleNotFoundError(f"No module named {name!r}: this is not Linux")


sys.meta_path.insert(0, Missing())
"""

CONFIG = """
apiVersion: kubevip/v1
elections:
  raft:
    members: [{name: n1, address: 192.0.2.1}, {name: n2, address: 192.0.2.2}, {name: n3, address: 192.0.2.3}]
    insecure: true
virtualIPs:
- {name: api, address: 192.0.2.75, group: api}
groups:
  api: {election: raft}
loadBalancers:
- {name: apiserver, type: tcp, port: 6443, bindTo: [api], backends: [{members: raft, port: 6443}]}
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", OTHER_SYSTEM + code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd="/",
    )


def test_the_core_can_be_imported() -> None:
    names = sorted(
        ".".join(file.relative_to(ROOT / "core" / "src").with_suffix("").parts)
        for file in (ROOT / "core" / "src").glob("kubevip/*.py")
        if file.name not in ("__init__.py", "__main__.py")
    )
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)\n"
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", ["check", "plan"])
def test_a_file_can_be_judged(command: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    code = "from kubevip._cli import main\nsys.exit(main(sys.argv[1:]))\n"
    result = run(code, command, str(file), "--node", "n2")
    assert result.returncode == 0, result.stdout + result.stderr
    if command == "plan":
        assert "192.0.2.75" in result.stdout


def test_a_refused_file_is_refused_there_too(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.replace("port: 6443,", "port: 70000,"))
    result = run("from kubevip._cli import main\nsys.exit(main(sys.argv[1:]))\n", "check", str(file), "--node", "n2")
    assert result.returncode == 78
    assert "loadBalancers[0].port" in result.stdout + result.stderr
