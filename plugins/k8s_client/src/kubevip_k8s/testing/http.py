"""A fake cluster on a socket. Needs the extra `testing`; `python -m kubevip_k8s.testing` is the same as a process.

context = Authority().server_context(directory)
async with served(FakeCluster(), tls=context) as place:
... place.url
"""

from kubevip_k8s.testing._certificates import SERVER_NAMES, Authority
from kubevip_k8s.testing._kubeconfig import kubeconfig, write_kubeconfig
from kubevip_k8s.testing._server import Served, served

__all__ = ["SERVER_NAMES", "Authority", "Served", "kubeconfig", "served", "write_kubeconfig"]
