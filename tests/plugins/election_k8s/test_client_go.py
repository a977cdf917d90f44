"""Beside an elector of client-go, on the same Lease of a real API server: one of the two holds, and they take turns."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import pytest
from anyio import Path as AsyncPath
from anyio import create_task_group, current_time, fail_after, sleep
from tests.plugins.election_k8s.nodes import Stand

from kubevip.testing import make_host
from kubevip_election_k8s._config import LeaseConfig
from kubevip_election_k8s._instance import open_instance
from kubevip_k8s.testing.real import find_program

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator
    from pathlib import Path

    from tests.apiserver.servers import ApiServer

    from kubevip_election_k8s._election import LeaseElection

ELECTOR = find_program("elector")

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.apiserver,
    pytest.mark.skipif(ELECTOR is None, reason="no elector of client-go: `make apiserver` builds it"),
]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the client's only one


class Elector:
    """client-go's, as a process; what it said last is in its log."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process, self._log = process, log

    async def says(self, text: str) -> None:
        """Wait until it has said `text`."""
        with fail_after(60):
            while text not in await AsyncPath(self._log).read_text():
                await sleep(0.02)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def stop(self) -> None:
        """Have it release the Lease and end."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)


@contextmanager
def elector(server: ApiServer, lease: str, log: Path) -> Generator[Elector]:
    arguments = [str(ELECTOR), "-kubeconfig", str(server.kubeconfig), "-identity", "foreign"]
    arguments += ["-namespace", "kube-system", "-name", lease]
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=subprocess.DEVNULL, env=dict(os.environ))
    try:
        yield Elector(process, log)
    finally:
        process.kill()
        process.wait()


class Ours:
    """Our election on the Lease."""

    def __init__(self, election: LeaseElection) -> None:
        self.election, self.name = election, "n1"


@asynccontextmanager
async def standing(server: ApiServer, lease: str, folder: Path) -> AsyncGenerator[Stand]:
    config = LeaseConfig(lease=f"kube-system/{lease}", kubeconfig=server.kubeconfig)
    async with open_instance(config, make_host(folder, node_name="n1")) as election:
        async with create_task_group() as tg:
            stand = Stand(Ours(election), "g")  # type: ignore[arg-type] # of a node it needs the election
            tg.start_soon(stand.run)
            yield stand
            await stand.stop()


async def test_each_follows_the_other_and_takes_over_what_it_releases(api_server: ApiServer, tmp_path: Path) -> None:
    lease = "beside-client-go"
    with elector(api_server, lease, tmp_path / "first") as first:
        await first.says("leading")
        async with standing(api_server, lease, tmp_path) as stand:
            with fail_after(60):
                assert (await stand.follows()).leader == "foreign (foreign)"
            first.stop()
            with fail_after(60):
                await stand.leads()
            with elector(api_server, lease, tmp_path / "second") as second:
                await second.says("follows n1_")
                await sleep(6)  # longer than a Lease lasts
                assert stand.holds
                assert "leading" not in await AsyncPath(tmp_path / "second").read_text()
                await stand.stop()
                await second.says("leading")


async def test_a_foreign_elector_that_dies_is_succeeded_when_its_lease_has_run_out(
    api_server: ApiServer, tmp_path: Path
) -> None:
    lease = "client-go-dies"
    with elector(api_server, lease, tmp_path / "first") as first:
        await first.says("leading")
        async with standing(api_server, lease, tmp_path) as stand:
            with fail_after(60):
                await stand.follows()
            first._process.kill()
            first._process.wait()
            with fail_after(60):
                await stand.leads()
    spec = api_server.ask("GET", f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{lease}")["spec"]
    assert spec["leaseTransitions"] == 1


async def test_a_lease_that_is_deleted_behind_a_foreign_elector_is_not_held_before_that_must_have_stopped(
    api_server: ApiServer, tmp_path: Path
) -> None:
    lease = "deleted-behind-client-go"
    with elector(api_server, lease, tmp_path / "first") as first:
        await first.says("leading")
        first.freeze()
        frozen_at = current_time()
        api_server.ask("DELETE", f"/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/{lease}")
        async with standing(api_server, lease, tmp_path) as stand:
            with fail_after(60):
                await stand.leads()
            assert current_time() - frozen_at >= 5
