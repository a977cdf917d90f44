"""A Kubernetes API for tests: `FakeCluster`, all of it in memory.

    cluster = FakeCluster()
    cluster.put(SERVICES, {"metadata": {"namespace": "shop", "name": "web"}, "spec": {...}})
    cluster.fail(Drop(is_carried_out=True), when=lambda request: request.method == "PUT", times=1)
    api = cluster.api(cluster.service_account_token("kube-system", "kubevip"))

`cluster.api()` gives an `Api` without sockets, which runs on virtual time.
"""

from kubevip_k8s.testing._cluster import FakeCluster
from kubevip_k8s.testing._faults import Delay, Drop, Fail, Fault, Raw, Rule, Stall
from kubevip_k8s.testing._kinds import (
    CLUSTER_ROLE_BINDINGS,
    CLUSTER_ROLES,
    CORE_EVENTS,
    DAEMON_SETS,
    DEPLOYMENTS,
    ROLE_BINDINGS,
    ROLES,
    SECRETS,
    SERVICE_ACCOUNTS,
)
from kubevip_k8s.testing._memory import MemoryApi
from kubevip_k8s.testing._rbac import ADMIN, User
from kubevip_k8s.testing._requests import Answer, Request

__all__ = [
    "ADMIN",
    "CLUSTER_ROLES",
    "CLUSTER_ROLE_BINDINGS",
    "CORE_EVENTS",
    "DAEMON_SETS",
    "DEPLOYMENTS",
    "ROLES",
    "ROLE_BINDINGS",
    "SECRETS",
    "SERVICE_ACCOUNTS",
    "Answer",
    "Delay",
    "Drop",
    "Fail",
    "FakeCluster",
    "Fault",
    "MemoryApi",
    "Raw",
    "Request",
    "Rule",
    "Stall",
    "User",
]
