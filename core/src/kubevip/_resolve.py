"""Turns the snapshots of all sources into one value in which every name is looked up and every section structured.

Pure. What is wrong with one object leaves out that object and what depends on it, each with a problem that names it;
everything else stands.
"""

from __future__ import annotations

import difflib
from operator import attrgetter
from typing import TYPE_CHECKING

from attrs import evolve, field, frozen

from kubevip._instances import Instances
from kubevip._listeners import Listeners
from kubevip._merge import merge
from kubevip._model import Group, Kind, Places, Section, Severity
from kubevip._resolved import Resolved, ResolvedInstance
from kubevip._structure import in_file_order, structure
from kubevip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kubevip._instances import InstanceKey
    from kubevip._model import AgentItem, Desired, LoadBalancer, Member, Problem, VirtualIP
    from kubevip._plugins import PluginRegistry
    from kubevip.abc import AnyProvider

__all__ = ["Frame", "Resolved", "ResolvedInstance", "resolve", "resolve_frame", "resolve_part"]

#: Kinds of which every configured instance is opened, whether or not anything names it.
_ALWAYS_OPEN = (Kind.SOURCE, Kind.OBSERVER)


@frozen(kw_only=True)
class Frame:
    """What parts of a configuration may refer to.

    `groups` are those that are configured or named, by name; None: it is left out. `resolved` is what is wanted apart
    from the parts.
    """

    instances: Instances = field(eq=attrgetter("configured"))
    groups: Mapping[str, Group | None] = field(factory=dict[str, "Group | None"])
    members: tuple[Member, ...] = ()
    resolved: Resolved = field(factory=Resolved, eq=False)


def resolve(snapshots: Sequence[Desired], registry: PluginRegistry) -> Resolved:
    """Merge `snapshots` (the first wins on equal names), look up every reference and structure every section."""
    return resolve_frame(snapshots, registry).resolved


def resolve_frame(snapshots: Sequence[Desired], registry: PluginRegistry) -> Frame:
    """Resolve `snapshots`, and return what parts that are not among them may refer to as well."""
    desired, problems = merge(snapshots)
    instances = Instances(desired.instances, registry)
    resolver = _Resolver(desired, Frame(instances=instances, members=desired.members), problems)
    for instance in desired.instances:  # also those that nothing uses: what is written is to be right
        if resolver.instance(instance.kind, instance.name, instance.section.places) and instance.kind in _ALWAYS_OPEN:
            resolver.use(instance.kind, instance.name)
    resolved = resolver.resolved()
    left_out = dict.fromkeys(resolver.named_groups)
    return Frame(
        instances=instances, groups={**left_out, **resolver.groups}, members=desired.members, resolved=resolved
    )


def resolve_part(part: Desired, frame: Frame) -> Resolved:
    """Resolve what refers to nothing but itself and the frame, and shares no name, address or socket with anything."""
    return _Resolver(part, frame, []).resolved()


class _Resolver:
    """Resolves one configuration, or a part of one; notes problems as it goes.

    `groups` are its own, with those of the frame; `named_groups` the names of its own, also of those that are left out.
    """

    def __init__(self, desired: Desired, frame: Frame, problems: list[Problem]) -> None:
        self.desired, self.frame, self.problems = desired, frame, problems
        self.missing: list[Problem] = []
        self.used: dict[InstanceKey, ResolvedInstance] = {}
        self.groups: dict[str, Group] = {}
        self.named_groups: list[str] = []

    def resolved(self) -> Resolved:
        groups = self.groups = {group.name: group for group in self._groups()}
        vips = {vip.name: vip for vip in self._vips()}
        balancers = tuple(self._load_balancers(vips))
        agents = tuple(self._agents())
        needed = {vip.group for vip in vips.values()} | {it.group for it in agents if it.group is not None}
        for name in needed:
            self.use(Kind.ELECTION, self._group(name).election)
            if (check := self._group(name).health_check) is not None:
                self.use(Kind.CHECK, check.check)
        return Resolved(
            instances=tuple(self.used[key] for key in sorted(self.used, key=self.frame.instances.position)),
            groups=tuple(self._group(name) for name in (*groups, *self.frame.groups) if name in needed),
            vips=tuple(vips.values()),
            load_balancers=balancers,
            agents=agents,
            members=self.desired.members,
            cluster=self.desired.cluster,
            node_name=self.desired.node_name,
            digest=self.desired.digest,
            problems=tuple(in_file_order(self.problems)),
            missing=tuple(in_file_order(self.missing)),
        )

    # Instances

    def instance(self, kind: Kind, name: str, places: Places, *path: str | int) -> ResolvedInstance | None:
        """Return the instance that is called `name` at `path`; None: it is refused, and that was noted."""
        looked = self.frame.instances.look_up(kind, name, places, *path)
        self.problems += looked.problems
        self.missing += looked.problems if looked.is_missing else ()
        return looked.found

    def use(self, kind: Kind, name: str) -> None:
        """Have an instance opened."""
        found = self.frame.instances.look_up(kind, name, Places()).found
        assert found is not None  # or what uses it would have been left out
        self.used[kind, name] = found

    def _leave_out(self, what: str, name: str, why: str, places: Places, *path: str | int) -> None:
        self.problems.append(places.problem(f"{what} {name!r} is left out: {why}", *path))

    def _options(self, provider: AnyProvider, section: object) -> object:
        """Structure what an item says to the provider `provider` alone.

        :raises ConfigError: with what is wrong with it.
        """
        if not isinstance(section, Section):
            return section  # from a source that structures its options itself
        wanted: type[object] | None = provider.options
        if wanted is None:
            raise ConfigError([section.places.problem(f"{provider.name} has no options")])
        return structure(section, wanted)

    # Groups

    def _group(self, name: str) -> Group:
        group = self.groups.get(name) or self.frame.groups.get(name)
        assert group is not None  # or what is in it would have been left out
        return group

    def _is_group(self, name: str) -> bool:
        return name in self.groups or self.frame.groups.get(name) is not None

    def _groups(self) -> Iterator[Group]:
        """Yield the configured groups and those that are only named, each with its election."""
        groups = {group.name: group for group in self.desired.groups}
        defined = (*self.frame.groups, *groups)
        items: tuple[VirtualIP | AgentItem, ...] = (*self.desired.vips, *self.desired.agents)
        for item in items:
            if item.group is None or item.group in groups or item.group in self.frame.groups:
                continue
            if item.group != item.name and (near := difflib.get_close_matches(item.group, defined, 1)):
                message = f"group {item.group!r} is not configured, so it is made; did you mean {near[0]!r}?"
                self.problems.append(item.places.problem(message, "group", severity=Severity.WARNING))
            groups[item.group] = Group(name=item.group, election="", places=Places(root=item.places.at("group")))
        self.named_groups = list(groups)
        elections = [name for kind, name in self.frame.instances.configured if kind is Kind.ELECTION]
        for group in groups.values():
            election = group.election
            if not election:
                if len(elections) != 1:
                    several = f"it names no election, and there are several: {', '.join(elections)}"
                    why = several if elections else "no election is configured"
                    self._leave_out("group", group.name, why, group.places)
                    continue
                (election,) = elections
            if self.instance(Kind.ELECTION, election, group.places, "election") is None:
                self._leave_out("group", group.name, f"it needs election {election!r}", group.places, "election")
                continue
            check = group.health_check
            if check is not None and self.instance(Kind.CHECK, check.check, group.places, "healthCheck") is None:
                # Never held unchecked: a node that should not have the address could keep it for ever.
                why = f"it needs health check {check.check!r}"
                self._leave_out("group", group.name, why, group.places, "healthCheck")
                continue
            yield evolve(group, election=election)

    # Virtual IPs

    def _vips(self) -> Iterator[VirtualIP]:
        holders = {member.address: f"member {member.name!r} has it" for member in self.frame.members}
        for vip in self.desired.vips:
            if (why := holders.get(vip.address)) is not None:
                self._leave_out("virtual IP", vip.name, f"{vip.address}: {why}", vip.places, "address")
                continue
            holders[vip.address] = f"virtual IP {vip.name!r} has it"
            if not self._is_group(vip.group):
                self._leave_out("virtual IP", vip.name, f"it needs group {vip.group!r}", vip.places, "group")
                continue
            if (announced := self._announced(vip)) is not None:
                yield announced

    def _announced(self, vip: VirtualIP) -> VirtualIP | None:
        """Look up the announcers of `vip` and structure its options."""
        options: dict[str, object] = {}
        is_complete = True
        for index, name in enumerate(vip.announcers):
            instance = self.instance(Kind.ANNOUNCER, name, vip.places, "announce", index)
            if instance is None:
                why = f"it needs announcer {name!r}"
                self._leave_out("virtual IP", vip.name, why, vip.places, "announce", index)
                is_complete = False
            elif name in vip.options:
                try:
                    options[name] = self._options(instance.provider, vip.options[name])
                except ConfigError as error:
                    self.problems += error.problems
                    self._leave_out("virtual IP", vip.name, f"its options of {name!r}", vip.places, "announce", index)
                    is_complete = False
        if not is_complete:
            return None
        for name in vip.announcers:
            self.use(Kind.ANNOUNCER, name)
        return evolve(vip, options=options)

    # Load balancers

    def _load_balancers(self, vips: Mapping[str, VirtualIP]) -> Iterator[LoadBalancer]:
        listeners = Listeners(vips, self.frame.members)
        for instance in self.frame.instances.found:
            if (sockets := instance.provider.sockets) is not None:
                listeners.reserve(f"{instance.kind.value} {instance.name!r}", sockets(instance.config))
        configured = {vip.name for vip in self.desired.vips}
        for balancer in self.desired.load_balancers:
            places = balancer.places
            bound = tuple(name for name in balancer.bind_to if name in vips)
            for index, name in enumerate(balancer.bind_to):
                if name not in vips:
                    message = f"virtual IP {name!r} is " + ("left out" if name in configured else "not configured")
                    if name not in configured and (near := difflib.get_close_matches(name, vips, 1)):
                        message += f"; did you mean {near[0]!r}?"
                    self.problems.append(places.problem(message, "bindTo", index))
            if balancer.bind_to and not bound:
                # Never to be mistaken for an empty `bind_to`, which means every address.
                why = "none of its virtual IPs is there"
                self._leave_out("load balancer", balancer.name, why, places, "bindTo")
                continue
            proxied = self._proxied(evolve(balancer, bind_to=bound))
            if proxied is None:
                continue
            if (obstacle := listeners.add(proxied)) is not None:
                self._leave_out("load balancer", balancer.name, obstacle, places, "port")
                continue
            self.use(Kind.PROXY, proxied.proxy)
            yield proxied

    def _proxied(self, balancer: LoadBalancer) -> LoadBalancer | None:
        """Look up the proxy of `balancer` and structure its options."""
        name, places, protocol = self._proxy_name(balancer), balancer.places, balancer.protocol
        path = "proxy" if balancer.proxy != protocol else "type"
        instance = self.instance(Kind.PROXY, name, places, path)
        if instance is None:
            self._leave_out("load balancer", balancer.name, f"it needs proxy {name!r}", places, path)
            return None
        provider = instance.provider
        if protocol not in provider.protocols:
            why = f"proxy {name!r} serves {', '.join(provider.protocols) or 'nothing'}, not {protocol}"
            self._leave_out("load balancer", balancer.name, why, places, path)
            return None
        options: dict[str, object] = {}
        for key, section in balancer.options.items():
            try:
                options[name] = self._options(provider, section)
            except ConfigError as error:
                self.problems += error.problems
                self._leave_out("load balancer", balancer.name, f"its options of {key!r}", places, key)
                return None
        return evolve(balancer, proxy=name, options=options)

    def _proxy_name(self, balancer: LoadBalancer) -> str:
        """Return the proxy that is asked for; where only the type is, and none is called so, the only one for it."""
        name = balancer.proxy or balancer.protocol
        providers = self.frame.instances.registry.providers(Kind.PROXY)
        if name != balancer.protocol or name in providers or (Kind.PROXY, name) in self.frame.instances.configured:
            return name
        serving = [it.name for it in providers.values() if balancer.protocol in it.protocols]
        return serving[0] if len(serving) == 1 else name

    # Agents

    def _agents(self) -> Iterator[AgentItem]:
        for agent in self.desired.agents:
            if agent.group is not None and not self._is_group(agent.group):
                self._leave_out("agent", agent.name, f"it needs group {agent.group!r}", agent.places, "group")
            elif self.instance(Kind.AGENT, agent.name, agent.places) is None:
                self._leave_out("agent", agent.name, "it is refused", agent.places)
            else:
                self.use(Kind.AGENT, agent.name)
                yield agent
