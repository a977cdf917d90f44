"""What is wanted after all sources were merged and every name in it was looked up.

The values compare without regard to places, so that a comment added to a file changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from kubevip._model import Kind, Places, Severity
from kubevip._persistent import PersistentMap

if TYPE_CHECKING:
    from kubevip._model import AgentItem, Group, LoadBalancer, Member, Problem, VirtualIP
    from kubevip.abc import AnyProvider

#: The source of a part, and the name that it has there.
PartName = tuple[str, str]


@frozen(kw_only=True)
class ResolvedInstance:
    """A provider to open: `config` is of the class `provider.config`. `name` is unique within its kind."""

    kind: Kind
    name: str
    provider: AnyProvider
    config: object
    places: Places = field(factory=Places, eq=False)


@frozen(kw_only=True)
class Resolved:
    """Everything that can be brought about. Whatever is named in it is in it.

    `instances` are those that something in it uses, and all sources and observers. A group's `election`, a virtual
    IP's `group` and `announcers`, a load balancer's `proxy` and `bind_to` name what is listed here; the `options` of
    items are structured, by name of the instance that they are for. `problems` are what was left out and why, and
    warnings.

    `parts` is what else is wanted, by source and name of the part: each lists all that is named in it, and so may list
    instances and groups that others list, too. `problems` are those of all.
    """

    instances: tuple[ResolvedInstance, ...] = ()
    groups: tuple[Group, ...] = ()
    vips: tuple[VirtualIP, ...] = ()
    load_balancers: tuple[LoadBalancer, ...] = ()
    agents: tuple[AgentItem, ...] = ()
    members: tuple[Member, ...] = ()
    parts: PersistentMap[PartName, Resolved] = field(factory=PersistentMap[PartName, "Resolved"])
    cluster: str = ""
    node_name: str | None = None
    digest: str = ""
    problems: tuple[Problem, ...] = field(default=(), eq=False)
    missing: tuple[Problem, ...] = field(default=(), eq=False)
    """Those of `problems` that name a provider which is not installed or not loaded: fatal when a daemon starts."""

    def of_kind(self, kind: Kind) -> tuple[ResolvedInstance, ...]:
        """Return the instances of one kind, in configured order."""
        return tuple(instance for instance in self.instances if instance.kind is kind)

    def instance(self, kind: Kind, name: str) -> ResolvedInstance | None:
        """Return the instance of `kind` that is called `name`, if there is one."""
        return next((it for it in self.instances if it.kind is kind and it.name == name), None)

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that left something out."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)
