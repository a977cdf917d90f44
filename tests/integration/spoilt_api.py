"""An API server on a host of the lab that does what a test says: late, refusing, silent. In memory, in a thread."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from anyio.from_thread import start_blocking_portal

from kubevip_k8s.testing import ADMIN, FakeCluster
from kubevip_k8s.testing.http import served, write_kubeconfig
from kubevip_lab._api_server import ADDRESS, HOST, PORT
from kubevip_lab._network import Network

T = TypeVar("T")


class SpoiltApi:
    """The cluster behind it is touched in its thread only. `kubeconfig` has an administrator's rights."""

    def __init__(self, portal: Any, cluster: FakeCluster, kubeconfig: Path) -> None:
        self._portal, self._cluster, self.kubeconfig = portal, cluster, kubeconfig
        self.token = ""

    def do(self, deed: Callable[[FakeCluster], T]) -> T:
        """Do something with the cluster and return what it returns."""
        result: T = self._portal.call(deed, self._cluster)
        return result

    def give_token(self) -> None:
        """Write a new token into the kubeconfig; the one before is good as long as nobody revokes it."""
        self.token = self.do(lambda cluster: cluster.add_token(ADMIN))
        write_kubeconfig(self.kubeconfig, f"http://{ADDRESS}:{PORT}", self.token)

    def asked(self) -> int:
        """Return how many requests have come so far."""
        return self.do(lambda cluster: len(cluster.requests))


@contextmanager
def open_spoilt_api(network: Network, directory: Path) -> Generator[SpoiltApi]:
    """Serve an empty cluster at the lab's place for API servers until left."""
    host = network.add_host(HOST, ADDRESS)
    with start_blocking_portal() as portal:
        entering = host.entered()
        portal.call(entering.__enter__)
        cluster = portal.call(FakeCluster)
        try:
            with portal.wrap_async_context_manager(served(cluster, host=str(ADDRESS), port=PORT)):
                api = SpoiltApi(portal, cluster, directory / "spoilt.conf")
                api.give_token()
                yield api
        finally:
            portal.call(entering.__exit__, None, None, None)
