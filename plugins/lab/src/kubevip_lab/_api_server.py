"""The Kubernetes API server of a lab whose nodes elect by a Lease: a process on a host of its own.

It is on the lab's switch like everybody else, so a node whose link is cut does not reach it.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip.errors import KubevipError
from kubevip_lab._network import SUBNET

if TYPE_CHECKING:
    from collections.abc import Generator

    from kubevip_lab._network import Network

HOST = "api"
ADDRESS, PORT = SUBNET[5], 6443

#: Ten seconds for kube-apiserver, on a busy machine several times as long.
_START_SECONDS = 120.0
_STOP_SECONDS = 30.0


@frozen(kw_only=True)
class ApiServer:
    """A server that runs: the `kubeconfig` that leads to it, and what it is, for people."""

    kubeconfig: Path
    description: str


@contextmanager
def open_api_server(network: Network, directory: Path) -> Generator[ApiServer]:
    """Run an API server on a new host of the network until left. Its files and its log are below `directory`.

    It is kube-apiserver with etcd where `kubevip_k8s.testing` finds them, else its own, all of it in memory.

    :raises KubevipError: it does not start; says why.
    """
    host = network.add_host(HOST, ADDRESS)
    arguments = [sys.executable, "-P", "-m", "kubevip_k8s.testing"]
    arguments += ["--server", "auto", "--listen", f"{ADDRESS}:{PORT}", "--directory", str(directory / HOST)]
    log = directory / f"{HOST}.log"
    with log.open("ab") as errors:
        process = host.start(arguments, output=subprocess.PIPE, errors=errors)
    try:
        kubeconfig, version = _place_of(process, log)
        what = "the fake Kubernetes API server" if version == "fake" else f"kube-apiserver {version}"
        yield ApiServer(kubeconfig=kubeconfig, description=f"{what} runs on {HOST} {ADDRESS}:{PORT}")
    finally:
        process.terminate()  # it ends its own children
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _place_of(process: subprocess.Popen[bytes], log: Path) -> tuple[Path, str]:
    """Wait for the line in which the server says where its kubeconfig is, and its version."""
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline() if ready else b""
    try:
        said = json.loads(line)
        return Path(str(said["kubeconfig"])), str(said["version"])
    except (ValueError, KeyError, TypeError):
        words = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it says nothing"]
        hint = "; pip install 'kubevip[lab,k8s]'" if "No module named" in words[0] else ""
        raise KubevipError(f"the API server does not start: {words[0]}{hint}") from None
