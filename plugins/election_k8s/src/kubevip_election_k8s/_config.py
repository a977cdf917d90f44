"""Configuration of the Lease election."""

from __future__ import annotations

import enum
from pathlib import Path

from attrs import field, frozen

from kubevip import Duration
from kubevip_election_k8s._lease_name import LeaseName, parse_lease_name
from kubevip_election_k8s._timing import Timing

#: kube-vip's name for the Lease of its control plane; that of its services, plndr-svcs-lock, is the source's.
DEFAULT_LEASE = "kube-system/plndr-cp-lock"


class Scope(enum.Enum):
    """For what one Lease elects."""

    LEASE = "lease"
    SERVICE = "service"


def _check_lease(_: object, __: object, value: str) -> None:
    parse_lease_name(value)


def _check_server(_: object, __: object, value: str | None) -> None:
    if value is not None and not value.startswith("https://"):  # a token would go in clear
        raise ValueError(f"expected a URL such as https://127.0.0.1:6443, got {value[:80]!r}")


@frozen(kw_only=True)
class LeaseConfig:
    """A Lease of Kubernetes that elects the holder. Nodes that name the same Lease elect one of themselves."""

    lease: str = field(default=DEFAULT_LEASE, validator=_check_lease)
    """NAMESPACE/NAME of the Lease. Whoever else elects on it, client-go's electors included, takes part."""
    scope: Scope = Scope.LEASE
    """lease: one holder for all groups of this election, so a thousand groups cost one renewal. service: each group
    elects on a Lease of its own, named after this one and the group; groups spread, and each costs a renewal."""
    lease_duration: Duration = field(default=Duration(5.0))
    """How long others wait after the last renewal they saw, in whole seconds. kube-vip's default: 15 s."""
    renew_deadline: Duration = field(default=Duration(3.0))
    """How long the holder holds after it sent its last renewal; less than leaseDuration by the time that a withdrawal
    takes. That renewal may be retryPeriod old when an API goes away. kube-vip's default: 10 s."""
    retry_period: Duration = field(default=Duration(1.0))
    """How often the holder renews; at most renewDeadline / 1.2. kube-vip's default: 2 s."""
    kubeconfig: Path | None = None
    """A file of kubectl's format; default: the service account of the Pod."""
    context: str | None = None
    """One of its contexts; default: its current one."""
    server: str | None = field(default=None, validator=_check_server)
    """URL of the API, in the place of the kubeconfig's. Never the virtual IP that this election is about."""
    tls_server_name: str | None = None
    """The name that the API's certificate has to bear, where it is not the URL's."""
    control_plane: bool = False
    """This is a node of the control plane: ask its own API server, at https://127.0.0.1:6443 under the name kubernetes,
    whatever the kubeconfig says; without `kubeconfig` as the service account or, as soon as there is one, with
    kubeadm's admin.conf (super-admin.conf while that is refused), k3s' or rke2's."""

    def __attrs_post_init__(self) -> None:
        if not float(self.lease_duration).is_integer():
            raise ValueError(f"leaseDuration: a Lease counts whole seconds, got {self.lease_duration:g} s")
        if self.control_plane and self.context is not None and self.kubeconfig is None:
            raise ValueError("context: is one of a kubeconfig, which controlPlane looks for itself; name it, too")
        self.timing  # noqa: B018  its checks are those of this class

    @property
    def lease_name(self) -> LeaseName:
        """Where the Lease is."""
        return parse_lease_name(self.lease)

    @property
    def timing(self) -> Timing:
        """The time spans."""
        return Timing(
            lease_seconds=int(self.lease_duration),
            renew_seconds=self.renew_deadline,
            retry_seconds=self.retry_period,
        )
