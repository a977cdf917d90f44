"""What a native file stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar, cast

from kubevip import (
    AgentItem,
    Backend,
    Desired,
    Group,
    Instance,
    Kind,
    LoadBalancer,
    Member,
    NodeCheck,
    Places,
    Problem,
    Section,
    VirtualIP,
    structure,
)
from kubevip.errors import ConfigError
from kubevip_source_file._checks import backend_url, object_name_problem
from kubevip_source_file._members import members_of
from kubevip_source_file._native import (
    HEALTH_CHECK_KEYS,
    KINDS,
    LATER,
    LOAD_BALANCER_KEYS,
    NativeBackend,
    NativeFile,
    NativeGroup,
    NativeHealthCheck,
    NativeLoadBalancer,
    NativeVirtualIP,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TypeVar("T")

#: Where a value stands: keys and indices.
Path = tuple[str | int, ...]


def read_native(data: Mapping[str, object], places: Places) -> Desired:
    """Return what a native file wants.

    :raises ConfigError: with everything that is wrong with it.
    """
    reader = _Reader(places)
    desired = reader.desired(data)
    if reader.problems:
        raise ConfigError(sorted(reader.problems, key=lambda problem: problem.place.line))
    return desired


class _Reader:
    """Reads one file and collects what is wrong with it."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self.problems: list[Problem] = []
        self.members: dict[str, tuple[Member, ...]] = {}
        self.checks: list[Instance] = []  # those that groups spell out, each named like its group

    def desired(self, data: Mapping[str, object]) -> Desired:
        file = self._file(cast("dict[str, object]", self._without_later(data, ())))
        instances = tuple(self._instances(file))
        groups = tuple(self._groups(file))
        return Desired(
            instances=(*instances, *self.checks),
            groups=groups,
            vips=tuple(self._vips(file)),
            load_balancers=tuple(self._load_balancers(file)),
            agents=tuple(self._agents(file)),
            members=tuple({member.name: member for listed in self.members.values() for member in listed}.values()),
            cluster=file.cluster,
        )

    def _problem(self, message: str, *path: str | int) -> None:
        self.problems.append(self.places.problem(message, *path))

    def _structured(self, data: Mapping[str, object], cls: type[T], *path: str | int) -> T | None:
        """Structure what stands at `path`; what is wrong with it is noted."""
        try:
            return structure(Section(provider="file", data=data, places=self.places.below(*path)), cls)
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _without_later(self, value: object, path: Path) -> object:
        """Refuse the keys that a later version understands by name, and return `value` without them."""
        if isinstance(value, Mapping):
            kept: dict[str, object] = {}
            for key, inner in cast("Mapping[str, object]", value).items():
                here = (*path, key)
                if any(_fits(here, pattern) for pattern in LATER):
                    self._problem(f"{key} comes with a later version; leave it out", *here)
                else:
                    kept[key] = self._without_later(inner, here)
            return kept
        if isinstance(value, list):
            return [self._without_later(inner, (*path, at)) for at, inner in enumerate(cast("list[object]", value))]
        return value

    def _file(self, data: dict[str, object]) -> NativeFile:
        """Structure the top level; sections that are not what they should be are noted and left out."""
        section = Section(provider="file", data=data, places=self.places)
        try:
            return structure(section, NativeFile)
        except ConfigError as error:
            self.problems += error.problems
            refused = {problem.place.path[0] for problem in error.problems if problem.place.path}
        kept = {key: value for key, value in data.items() if key not in refused}
        return structure(Section(provider="file", data=kept, places=self.places), NativeFile)

    def _instances(self, file: NativeFile) -> Iterator[Instance]:
        for key, kind in KINDS.items():
            sections: Mapping[str, Mapping[str, object] | None] = getattr(file, key)
            for name, given in sections.items():
                self._check_name(name, key, name)
                data = dict(given or {})
                provider = data.pop("type", name)
                if kind is Kind.AGENT:
                    data.pop("group", None)
                if kind is Kind.ELECTION and file.cluster and isinstance(data.get("members"), list):
                    data.setdefault("cluster", file.cluster)  # machines that elect among themselves are of the whole
                if not isinstance(provider, str):
                    self._problem("expected the name of a provider", key, name, "type")
                    continue
                section = Section(provider=provider, data=data, places=self.places.below(key, name))
                instance = Instance(kind=kind, name=name, section=section)
                if kind is Kind.ELECTION:
                    self.members[name], problems = members_of(instance)
                    self.problems += problems
                yield instance

    def _agents(self, file: NativeFile) -> Iterator[AgentItem]:
        for name, data in file.agents.items():
            group = (data or {}).get("group")
            if group is not None and not isinstance(group, str):
                self._problem("expected the name of a group", "agents", name, "group")
                continue
            yield AgentItem(name=name, group=group, places=self.places.below("agents", name))

    def _groups(self, file: NativeFile) -> Iterator[Group]:
        for name, data in file.groups.items():
            self._check_name(name, "groups", name)
            if (group := self._structured(data or {}, NativeGroup, "groups", name)) is not None:
                yield Group(
                    name=name,
                    election=group.election,
                    placement=group.placement,
                    health_check=self._health_check(name, group.health_check),
                    places=self.places.below("groups", name),
                )

    def _health_check(self, group: str, data: Mapping[str, object] | None) -> NodeCheck | None:
        """Read `healthCheck: {type: apiserver, interval: 2s, ...}`: an instance of its own, and when to ask it."""
        if data is None:
            return None
        path = ("groups", group, "healthCheck")
        shared = {key: value for key, value in data.items() if key in HEALTH_CHECK_KEYS}
        if (check := self._structured(shared, NativeHealthCheck, *path)) is None:
            return None
        own = {key: value for key, value in data.items() if key not in HEALTH_CHECK_KEYS}
        section = Section(provider=check.type, data=own, places=self.places.below(*path))
        self.checks.append(Instance(kind=Kind.CHECK, name=group, section=section))
        return NodeCheck(
            check=group,
            interval_seconds=check.interval,
            timeout_seconds=check.timeout,
            rise=check.rise,
            fall=check.fall,
        )

    def _vips(self, file: NativeFile) -> Iterator[VirtualIP]:
        seen: dict[str, int] = {}
        for index, data in enumerate(file.virtual_ips):
            vip = self._structured(data, NativeVirtualIP, "virtualIPs", index)
            if vip is None:
                continue
            if seen.setdefault(vip.name, index) != index:
                message = f"virtualIPs[{seen[vip.name]}] is called {vip.name} already"
                self._problem(message, "virtualIPs", index, "name")
            announcers, options = self._announcers(vip, index)
            yield VirtualIP(
                name=vip.name,
                address=vip.address,
                group=vip.group or vip.name,
                interface=vip.interface,
                announcers=announcers,
                options=options,
                places=self.places.below("virtualIPs", index),
            )

    def _announcers(self, vip: NativeVirtualIP, index: int) -> tuple[tuple[str, ...], dict[str, Section]]:
        """Read `announce: [address, {bgp: {...}}]`."""
        names: list[str] = []
        options: dict[str, Section] = {}
        for at, entry in enumerate(vip.announce):
            path = ("virtualIPs", index, "announce", at)
            if isinstance(entry, str):
                name = entry
            elif len(entry) == 1:
                ((name, data),) = entry.items()
                if isinstance(data, Mapping):
                    section_data = cast("Mapping[str, object]", data)
                    options[name] = Section(provider=name, data=section_data, places=self.places.below(*path, name))
                elif data is not None:
                    self._problem("expected a mapping of options", *path, name)
            else:
                self._problem("expected the name of an announcer, or one name with its options", *path)
                continue
            if name in names:
                self._problem(f"{name} is listed twice", *path)
            names.append(name)
        return tuple(names), options

    def _load_balancers(self, file: NativeFile) -> Iterator[LoadBalancer]:
        seen: dict[str, int] = {}
        for index, data in enumerate(file.load_balancers):
            own, options = self._split_options(data, index)
            balancer = self._structured(own, NativeLoadBalancer, "loadBalancers", index)
            if balancer is None:
                continue
            if seen.setdefault(balancer.name, index) != index:
                message = f"loadBalancers[{seen[balancer.name]}] is called {balancer.name!r} already"
                self._problem(message, "loadBalancers", index, "name")
            yield LoadBalancer(
                name=balancer.name,
                protocol=balancer.type,
                proxy=balancer.proxy or balancer.type,
                port=balancer.port,
                bind_to=self._bind_to(balancer, index),
                backends=self._backends(balancer, index),
                drain_seconds=balancer.drain,
                options=options,
                places=self.places.below("loadBalancers", index),
            )

    def _split_options(self, data: Mapping[str, object], index: int) -> tuple[dict[str, object], dict[str, Section]]:
        """Take out the section that is named like the provider, or the type: `http: {requestTimeout: 60s}`."""
        own = dict(data)
        options: dict[str, Section] = {}
        for name in (data.get("proxy"), data.get("type")):
            if isinstance(name, str) and name in own and name not in LOAD_BALANCER_KEYS:
                section = own.pop(name)
                if isinstance(section, Mapping):
                    places = self.places.below("loadBalancers", index, name)
                    options[name] = Section(provider=name, data=cast("Mapping[str, object]", section), places=places)
                else:
                    self._problem("expected a mapping of options", "loadBalancers", index, name)
        return own, options

    def _bind_to(self, balancer: NativeLoadBalancer, index: int) -> tuple[str, ...]:
        names = (balancer.bind_to,) if isinstance(balancer.bind_to, str) else balancer.bind_to
        if names == ("all",):
            return ()
        if not names:
            self._problem("expected names of virtual IPs, or all", "loadBalancers", index, "bindTo")
        elif "all" in names:
            self._problem("all stands alone: it includes every address", "loadBalancers", index, "bindTo")
        elif len(set(names)) < len(names):
            self._problem("names a virtual IP twice", "loadBalancers", index, "bindTo")
        return names

    def _backends(self, balancer: NativeLoadBalancer, index: int) -> tuple[Backend, ...]:
        found: dict[tuple[str, int], Backend] = {}
        if not balancer.backends:
            self._problem(
                "backends lists nothing: there is nothing to balance over", "loadBalancers", index, "backends"
            )
        for at, entry in enumerate(balancer.backends):
            for backend in self._backends_of(entry, "loadBalancers", index, "backends", at):
                if (backend.address, backend.port) in found:
                    self._problem(f"{backend} is a backend already", "loadBalancers", index, "backends", at)
                found[backend.address, backend.port] = backend
        return tuple(found.values())

    def _backends_of(self, entry: NativeBackend, *path: str | int) -> Sequence[Backend]:
        if entry.url is not None:
            backend = backend_url(entry.url)
            return [Backend(address=backend.address, port=backend.port, weight=entry.weight, url=entry.url)]
        assert entry.port is not None  # checked by its class
        if entry.address is not None:
            return [Backend(address=str(entry.address), port=entry.port, weight=entry.weight)]
        assert entry.members is not None  # checked by its class
        members = self.members.get(entry.members)
        if not members:
            known = ", ".join(name for name, listed in self.members.items() if listed) or "none"
            self._problem(f"no election {entry.members!r} lists members (there is {known})", *path, "members")
        return [Backend(address=str(it.address), port=entry.port, weight=entry.weight) for it in members or ()]

    def _check_name(self, name: str, *path: str | int) -> None:
        if message := object_name_problem(name):
            self._problem(message, *path)


def _fits(path: Path, pattern: tuple[str, ...]) -> bool:
    return len(path) == len(pattern) and all(wanted in ("*", step) for step, wanted in zip(path, pattern, strict=True))
