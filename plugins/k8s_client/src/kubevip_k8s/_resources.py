"""Where objects of a kind are found in the API."""

from __future__ import annotations

from urllib.parse import quote

from attrs import frozen


@frozen(kw_only=True)
class Resource:
    """A resource of the API: its group ("" is the core group), version, plural name and kind."""

    group: str = ""
    version: str = "v1"
    plural: str
    kind: str
    is_namespaced: bool = True

    @property
    def api_version(self) -> str:
        """The `apiVersion` of its objects: "v1", "coordination.k8s.io/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str = "") -> str:
        """Return the path of the collection, of one object, or of a part of it ("status").

        Without a namespace the collection is that of all namespaces.
        """
        steps = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace is not None and self.is_namespaced:
            steps += ["namespaces", namespace]
        steps += [self.plural, *filter(None, (name, subresource))]
        return "".join(f"/{quote(step, safe='')}" for step in steps)


CONFIG_MAPS = Resource(plural="configmaps", kind="ConfigMap")
ENDPOINTS = Resource(plural="endpoints", kind="Endpoints")
ENDPOINT_SLICES = Resource(group="discovery.k8s.io", plural="endpointslices", kind="EndpointSlice")
EVENTS = Resource(group="events.k8s.io", plural="events", kind="Event")
LEASES = Resource(group="coordination.k8s.io", plural="leases", kind="Lease")
NAMESPACES = Resource(plural="namespaces", kind="Namespace", is_namespaced=False)
NODES = Resource(plural="nodes", kind="Node", is_namespaced=False)
PODS = Resource(plural="pods", kind="Pod")
SERVICES = Resource(plural="services", kind="Service")
