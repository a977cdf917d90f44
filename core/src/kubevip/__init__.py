"""kubevip: a virtual IP address that always has a holder, and a load balancer on it.

This module is what plugins import: the hook marker, the provider descriptors, the values that pass between core and
plugins. `kubevip.abc` holds the protocols with their duties, `kubevip.hookspecs` the hooks, `kubevip.errors` what is
raised, `kubevip.testing` the conformance kit. Everything else is private.
"""

from kubevip._contract import (
    BackendHealth,
    Candidacy,
    Cause,
    CheckResult,
    Description,
    Event,
    Feed,
    Following,
    Health,
    Host,
    Leadership,
    Leading,
    Level,
    Listener,
    ListenerHealth,
    Outlook,
    Serving,
    Target,
    Will,
)
from kubevip._latest import Latest
from kubevip._leadership import Tenure
from kubevip._machine import Interface, Machine
from kubevip._model import (
    AgentItem,
    Backend,
    Desired,
    Duration,
    Group,
    Instance,
    IPAddress,
    Kind,
    LoadBalancer,
    Member,
    Place,
    Placement,
    Places,
    Port,
    Problem,
    Section,
    Severity,
    VirtualIP,
)
from kubevip._status import Snapshot
from kubevip._structure import structure
from kubevip.abc import (
    AgentProvider,
    AnnouncerProvider,
    CheckProvider,
    Command,
    ElectionProvider,
    ObserverProvider,
    Provider,
    ProxyProvider,
    SourceProvider,
)
from kubevip.hookspecs import hookimpl

__version__ = "0.1.0"

__all__ = [
    "AgentItem",
    "AgentProvider",
    "AnnouncerProvider",
    "Backend",
    "BackendHealth",
    "Candidacy",
    "Cause",
    "CheckProvider",
    "CheckResult",
    "Command",
    "Description",
    "Desired",
    "Duration",
    "ElectionProvider",
    "Event",
    "Feed",
    "Following",
    "Group",
    "Health",
    "Host",
    "IPAddress",
    "Instance",
    "Interface",
    "Kind",
    "Latest",
    "Leadership",
    "Leading",
    "Level",
    "Listener",
    "ListenerHealth",
    "LoadBalancer",
    "Machine",
    "Member",
    "ObserverProvider",
    "Outlook",
    "Place",
    "Placement",
    "Places",
    "Port",
    "Problem",
    "Provider",
    "ProxyProvider",
    "Section",
    "Serving",
    "Severity",
    "Snapshot",
    "SourceProvider",
    "Target",
    "Tenure",
    "VirtualIP",
    "Will",
    "__version__",
    "hookimpl",
    "structure",
]
