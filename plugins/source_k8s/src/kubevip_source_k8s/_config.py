"""Configuration of the source, and which namespace a Pod is in."""

from __future__ import annotations

import enum
import re
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from attrs import field, frozen

from kubevip_source_k8s._services import KUBE_VIP_CLASS

#: Where Kubernetes tells a Pod which namespace it is in.
NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

#: kube-vip's names, which its users have given rights to.
CONFIG_MAP = "plndr"
SERVICES_LEASE = "kube-system/plndr-svcs-lock"
NAMESPACE_LEASE = "plunder-lock"


class Mode(enum.Enum):
    """What the source reads."""

    SERVICES = "services"
    CONFIG_MAP = "configmap"


class Balance(enum.Enum):
    """Who balances over the endpoints."""

    KUBE_PROXY = "kube-proxy"
    KUBEVIP = "kubevip"


class EndpointsFrom(enum.Enum):
    """Which objects tell the endpoints of a Service."""

    SLICES = "slices"
    ENDPOINTS = "endpoints"


#: RFC 1123, as the API server checks names: of a namespace a label, of other objects a subdomain.
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_SUBDOMAIN = rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*"


def _check_namespaces(_: object, __: object, names: tuple[str, ...]) -> None:
    for name in names:
        if not re.fullmatch(_LABEL, name):
            raise ValueError(f'expected names of namespaces (1-63 of a-z, 0-9, "-"), got "{name[:80]}"')


def _check_config_map(_: object, __: object, name: str) -> None:
    if not re.fullmatch(_SUBDOMAIN, name):
        raise ValueError(f'expected the name of a ConfigMap (a-z, 0-9, "-", "."), got "{name[:80]}"')


def _check_lease(_: object, __: object, lease: str | None) -> None:
    if lease is not None and not re.fullmatch(rf"{_LABEL}/{_SUBDOMAIN}", lease):
        raise ValueError(f'expected "NAMESPACE/NAME", such as {SERVICES_LEASE}, got "{lease[:80]}"')


def _check_server(_: object, __: object, url: str | None) -> None:
    if url is not None and not url.startswith("https://"):  # a token would go in clear
        raise ValueError(f"expected a URL such as https://127.0.0.1:6443, got {url[:80]!r}")


def _check_interface(_: object, __: object, name: str) -> None:
    # the kernel takes 15 bytes without "/" and white space
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}", name):
        raise ValueError(f'expected the name of a network device (1-15 of a-z, 0-9, ".", "_", "-"), got "{name[:40]}"')


@frozen(kw_only=True)
class K8sSourceConfig:
    """What to read of a cluster, and what its addresses become."""

    mode: Mode = Mode.SERVICES
    """services: Services of type LoadBalancer. configmap: the entries of a ConfigMap in one namespace, as kube-vip's
    first cloud provider wrote them."""
    namespaces: tuple[str, ...] = field(default=(), validator=_check_namespaces)
    """Where to look. Default: in all of them for services, in the Pod's own for configmap, which takes one."""
    config_map: str = field(default=CONFIG_MAP, validator=_check_config_map)
    """Name of the ConfigMap whose key `plndr-services` is read."""
    balance: Balance | None = None
    """kube-proxy (default for services): the virtual IP alone, the cluster's own rules balance. kubevip (always for
    configmap): listeners on the virtual IP that lead to the ready endpoints."""
    proxy: str = ""
    """The proxy of those listeners; default: the one named like the protocol, tcp or udp."""
    load_balancer_class: str = KUBE_VIP_CLASS
    """The `loadBalancerClass` of Services that are meant for this source."""
    only_class: bool = False
    """Whether Services without a class are left alone; else they are served, too."""
    addresses: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks whose addresses may be asked for; default: all. Whoever may write Services may take any of them."""
    interface: str = field(default="auto", validator=_check_interface)
    """Device of the addresses where a Service names none; auto: the one whose subnet holds the address."""
    announce: tuple[str, ...] = ("address", "arp")
    """The announcers, as for `virtualIPs`."""
    group: str | None = None
    """The group of the configuration that holds the addresses. Default: one of the source's own, "services"."""
    election: str | None = None
    """The election of that group, and of those that Services of the policy Local have each. Default: a Lease of the
    source's own; with `group`, the election that the group has."""
    lease: str | None = field(default=None, validator=_check_lease)
    """NAMESPACE/NAME of the source's own Lease. Default: kube-system/plndr-svcs-lock for services,
    NAMESPACE/plunder-lock for configmap."""
    endpoints: EndpointsFrom = EndpointsFrom.SLICES
    """slices: EndpointSlices, of every cluster from 1.21 on. endpoints: Endpoints objects."""
    write_status: bool = True
    """Whether the holder writes the addresses into the status of the Services."""
    events: bool = True
    """Whether what happens to an object is told in Events."""
    kubeconfig: Path | None = None
    """A file of kubectl's format; default: the service account of the Pod."""
    context: str | None = None
    """One of its contexts; default: its current one."""
    server: str | None = field(default=None, validator=_check_server)
    """URL of the API, in the place of the kubeconfig's."""
    tls_server_name: str | None = None
    """The name that the API's certificate has to bear, where it is not the URL's."""
    own_namespace: str = field(factory=lambda: own_namespace() or "default", init=False)

    def __attrs_post_init__(self) -> None:
        if self.mode is Mode.CONFIG_MAP:
            if len(self.namespaces) > 1:
                raise ValueError("mode configmap looks in one namespace; configure a source for each")
            if self.balance is Balance.KUBE_PROXY:
                raise ValueError("mode configmap always balances itself: kube-proxy knows nothing of its addresses")
        if self.lease is not None and (self.group is not None or self.election is not None):
            raise ValueError("lease is that of the source's own election: leave out group and election, or lease")
        if not self.announce:
            raise ValueError("announce lists nothing: without an announcer no machine would answer for an address")

    @property
    def namespace(self) -> str:
        """The namespace of the ConfigMap."""
        return self.namespaces[0] if self.namespaces else self.own_namespace

    @property
    def balances(self) -> bool:
        """Whether kubevip's listeners balance."""
        return self.mode is Mode.CONFIG_MAP or self.balance is Balance.KUBEVIP

    @property
    def own_lease(self) -> str:
        """NAMESPACE/NAME of the source's own Lease."""
        if self.lease is not None:
            return self.lease
        return SERVICES_LEASE if self.mode is Mode.SERVICES else f"{self.namespace}/{NAMESPACE_LEASE}"

    @property
    def access(self) -> dict[str, object]:
        """What leads to the API, as a section of another Kubernetes plugin would write it."""
        given = {
            "kubeconfig": str(self.kubeconfig) if self.kubeconfig is not None else None,
            "context": self.context,
            "server": self.server,
            "tlsServerName": self.tls_server_name,
        }
        return {key: value for key, value in given.items() if value is not None}


def own_namespace(path: Path = NAMESPACE_FILE) -> str | None:
    """Return the namespace of the Pod that this process runs in; None outside of one."""
    try:
        return path.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None
