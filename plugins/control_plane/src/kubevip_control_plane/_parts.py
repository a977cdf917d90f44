"""The parts of kubevip that a cluster may run side by side, and what each is called: no two share any name."""

from __future__ import annotations

from attrs import frozen


@frozen(kw_only=True)
class Part:
    """What one manifest is about.

    `name` is that of its objects and the value of the label that selects its Pods. `instance` is what its Pods are
    called on their nodes, "" where each has the name of its namespace.
    """

    name: str
    instance: str = ""

    @property
    def labels(self) -> dict[str, str]:
        """What its Pods bear."""
        return {"app.kubernetes.io/name": "kubevip", "app.kubernetes.io/instance": self.name}

    def cluster_wide(self, namespace: str) -> str:
        """Return the name of its objects that are in no namespace. A colon is in no other name that is used here."""
        return f"{self.name}:{namespace}"


# The prefix kube- is reserved for Kubernetes' own namespaces, so that no namespace is called like these instances.
STATIC_POD = Part(name="kubevip", instance="kube-api")
CONTROL_PLANE = Part(name="kubevip-control-plane", instance="kube-api")
SERVICES = Part(name="kubevip-services", instance="kube-svc")
CONFIG_MAP = Part(name="kubevip-configmap")
ACCOUNT = Part(name="kubevip")

#: What no namespace may be called whose Deployment shares nodes with the others.
INSTANCES = frozenset(it.instance for it in (STATIC_POD, CONTROL_PLANE, SERVICES))
