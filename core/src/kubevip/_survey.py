"""What this machine would do with a configuration, for `kubevip check` and `kubevip plan`; touches nothing.

What is particular to an election, an announcer or a proxy is told by its provider's `describe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
from attrs import evolve, frozen

from kubevip._bootstrap import load
from kubevip._contract import Description, Outlook
from kubevip._machine import read_machine
from kubevip._model import Kind, Severity
from kubevip._node_name import node_name
from kubevip._resolve import resolve
from kubevip._structure import in_file_order
from kubevip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kubevip._machine import Machine
    from kubevip._model import AgentItem, Desired, Group, LoadBalancer, Problem, VirtualIP
    from kubevip._options import Options
    from kubevip._plugins import PluginRegistry
    from kubevip._resolved import Resolved, ResolvedInstance


@frozen(kw_only=True)
class Told:
    """What a provider tells of one of its instances; `lines` are its own words."""

    name: str
    lines: tuple[str, ...]


@frozen(kw_only=True)
class WhileLeading:
    """What would be here while this node leads a group: addresses and announcements, and what listens on them."""

    group: str
    announced: tuple[str, ...]
    served: tuple[str, ...]


@frozen(kw_only=True)
class Survey:
    """Everything that the providers tell about a configuration, in the order in which to show it.

    `is_here` tells whether this machine is the node that was looked at; where it is none of the configured ones, the
    first of them stands for it.
    """

    file: str
    form: str
    options: Options
    node: str
    is_here: bool
    machine: Machine
    resolved: Resolved
    sources: tuple[Told, ...]
    elections: tuple[Told, ...]
    groups: tuple[WhileLeading, ...]
    always: tuple[str, ...]
    agents: tuple[Told, ...]
    firewall: tuple[str, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems for which the configuration, or a part of it, would be refused."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)


def survey(options: Options, registry: PluginRegistry, *, is_about_file: bool = False) -> Survey:
    """Read the configuration and ask what would come of it.

    :param is_about_file: judge the file and not the machine: a machine that is none of the nodes will do.
    :raises ConfigError: when the configuration is refused whole, or for want of a node name.
    """
    loaded = anyio.run(load, options, registry)
    resolved = resolve((loaded.base, loaded.file), registry)
    machine = read_machine()
    is_here = True
    try:
        node = node_name(options, node_name=resolved.node_name, members=resolved.members, machine=machine)
    except ConfigError:
        if not is_about_file:
            raise
        node, is_here = resolved.members[0].name, False
    surveyor = _Surveyor(options, resolved, node, machine)
    foreseen = _foreseen(resolved, (loaded.base, loaded.file), registry)
    described = surveyor.problems
    if not is_here:  # what a stranger lacks says nothing of the nodes
        described = [problem for problem in described if problem.severity is Severity.ERROR]
        lenient = _Surveyor(evolve(options, insecure=True), resolved, node, machine).problems
        described = [it if it in lenient else evolve(it, severity=Severity.WARNING) for it in described]
    if is_here:
        described = [*described, *_never_held(resolved.vips, node, machine)]
    return Survey(
        file=loaded.origin,
        form=loaded.file.form,
        options=options,
        node=node,
        is_here=is_here,
        machine=machine,
        resolved=resolved,
        sources=surveyor.sources,
        elections=surveyor.elections,
        groups=surveyor.groups,
        always=surveyor.always,
        agents=surveyor.agents,
        firewall=tuple(dict.fromkeys(surveyor.firewall)),
        problems=tuple(in_file_order((*loaded.warnings, *resolved.problems, *foreseen, *described))),
    )


def _never_held(vips: Iterable[VirtualIP], node: str, machine: Machine) -> Iterator[Problem]:
    """Yield a problem for each virtual IP that the machine itself has, or uses for a subnet: it is never held there."""
    for vip in vips:
        if broadcasts := machine.broadcast_on(vip.address):
            yield vip.places.problem(
                f"{vip.address} is the broadcast address of the subnet of {broadcasts}: no machine can have it",
                "address",
            )
        if machine.is_own(vip.address):
            yield vip.places.problem(
                f"virtual IP {vip.name!r}: {vip.address} is an address of this machine ({node}), on "
                f"{machine.device_of(vip.address)}; choose one that no machine has",
                "address",
            )


class _Surveyor:
    """Asks the providers, and keeps what they tell: by part, of problems, and of the firewall."""

    def __init__(self, options: Options, resolved: Resolved, node: str, machine: Machine) -> None:
        self.resolved = resolved
        self.problems: list[Problem] = []
        self.firewall: list[str] = []
        self.voting: set[str] = set()  # elections in which this node holds nothing
        devices = {vip.name: machine.device_for(vip.address, vip.interface) for vip in resolved.vips}
        self.outlook = Outlook(
            node_name=node,
            instance=options.instance,
            machine=machine,
            allow_insecure=options.insecure,
            devices={name: device for name, device in devices.items() if device},
        )
        unbound = tuple(it for it in resolved.load_balancers if not it.bind_to)
        self.sources = self._sources()
        self.elections = self._elections()
        self.groups = tuple(self._while_leading(group) for group in resolved.groups)
        self.always = self._served(unbound, resolved.vips)
        self.agents = self._agents()

    def _sources(self) -> tuple[Told, ...]:
        """Ask those that bring more than is known before they run; the file has been read."""
        told = (Told(name=it.name, lines=self._ask(it)) for it in self.resolved.of_kind(Kind.SOURCE))
        return tuple(it for it in told if it.lines)

    def _elections(self) -> tuple[Told, ...]:
        told: list[Told] = []
        for instance in self.resolved.of_kind(Kind.ELECTION):
            groups = {group.name for group in self.resolved.groups if group.election == instance.name}
            vips = tuple(vip for vip in self.resolved.vips if vip.group in groups)
            told.append(Told(name=instance.name, lines=self._ask(instance, vips=vips)))
        return tuple(told)

    def _agents(self) -> tuple[Told, ...]:
        told: list[Told] = []
        for agent in self.resolved.agents:
            instance = self.resolved.instance(Kind.AGENT, agent.name)
            lines = self._ask(instance) if instance is not None else ()
            told.append(Told(name=agent.name, lines=lines or (_where(agent),)))
        return tuple(told)

    def _while_leading(self, group: Group) -> WhileLeading:
        if group.election in self.voting:
            return WhileLeading(
                group=group.name, announced=("never here: this node votes, and holds nothing",), served=()
            )
        vips = tuple(vip for vip in self.resolved.vips if vip.group == group.name)
        names = {vip.name for vip in vips}
        bound = tuple(it for it in self.resolved.load_balancers if not names.isdisjoint(it.bind_to))
        served = (*self._served(bound, vips), *self._checked(group))
        return WhileLeading(group=group.name, announced=tuple(self._announced(vips)), served=served)

    def _checked(self, group: Group) -> Iterator[str]:
        """Say when this node gives the group up for the sake of its health."""
        if (check := group.health_check) is None:
            return
        instance = self.resolved.instance(Kind.CHECK, check.check)
        what = "; ".join(self._ask(instance)) if instance is not None else ""
        pace = f"every {check.interval_seconds:g} s, {check.timeout_seconds:g} s to answer"
        yield f"unfit after {check.fall} failures of {what or check.check} ({pace}), fit after {check.rise} successes"

    def _announced(self, vips: Sequence[VirtualIP]) -> Iterator[str]:
        for name in dict.fromkeys(name for vip in vips for name in vip.announcers):
            instance = self.resolved.instance(Kind.ANNOUNCER, name)
            if instance is not None:
                yield from self._ask(instance, vips=tuple(vip for vip in vips if name in vip.announcers))

    def _served(self, balancers: Sequence[LoadBalancer], vips: Sequence[VirtualIP]) -> tuple[str, ...]:
        lines: list[str] = []
        for name in dict.fromkeys(it.proxy for it in balancers):
            instance = self.resolved.instance(Kind.PROXY, name)
            if instance is not None:
                mine = tuple(it for it in balancers if it.proxy == name)
                lines += self._ask(instance, vips=tuple(vips), balancers=mine)
        return tuple(lines)

    def _ask(
        self, instance: ResolvedInstance, vips: tuple[VirtualIP, ...] = (), balancers: tuple[LoadBalancer, ...] = ()
    ) -> tuple[str, ...]:
        describe = instance.provider.describe
        if describe is None:
            return ()
        outlook = evolve(self.outlook, vips=vips, load_balancers=balancers)
        description: Description = describe(instance.config, outlook)
        self.firewall += description.firewall
        self.problems += _placed(description.problems, instance)
        if instance.kind is Kind.ELECTION and description.holds_nothing:
            self.voting.add(instance.name)
        return description.lines


def _foreseen(resolved: Resolved, known: tuple[Desired, ...], registry: PluginRegistry) -> Iterator[Problem]:
    """Yield what would be wrong with all that a source will publish: of each source, since each has its own place."""
    for instance in resolved.of_kind(Kind.SOURCE):
        if (foresee := instance.provider.foresee) is None:
            continue
        desired: Desired = foresee(instance.config)
        for problem in resolve((*known, desired), registry).problems:
            if problem not in resolved.problems:
                place = problem.place if problem.place.line else instance.places.at(*problem.place.path)
                yield evolve(problem, place=place)


def _placed(problems: Iterable[Problem], instance: ResolvedInstance) -> Iterator[Problem]:
    """Place what a provider says of its own section, to which its paths are relative."""
    for problem in problems:
        if problem.place.line or problem.place.file not in ("", "(built in)"):
            yield problem  # of an item, which knows its place
        else:
            yield evolve(problem, place=instance.places.at(*problem.place.path))


def _where(agent: AgentItem) -> str:
    return "on every node" if agent.group is None else f"on the node that leads {agent.group}"
