"""What a file of kube-vip's own format stands for, with its environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from kubevip import (
    Backend,
    Desired,
    Group,
    Instance,
    Kind,
    LoadBalancer,
    Member,
    Place,
    Places,
    Problem,
    Section,
    Severity,
    VirtualIP,
    structure,
)
from kubevip.errors import ConfigError
from kubevip_source_file._checks import backend_url, free_text_problem
from kubevip_source_file._environment import override
from kubevip_source_file._members import members_of
from kubevip_source_file._original import (
    OriginalAddress,
    OriginalBackend,
    OriginalFile,
    OriginalLoadBalancer,
    OriginalPeer,
    spell_keys,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

T = TypeVar("T")

#: The name of the one virtual IP and of its group.
VIP = "vip"

#: Keys of the Equinix Metal (Packet) support, which ended with that service.
PACKET_KEYS = ("enablePacket", "packetAPIKey", "packetProject")


def read_original(
    data: Mapping[str, object], places: Places, environment: Mapping[str, str]
) -> tuple[Desired, tuple[Problem, ...]]:
    """Return what a file of the original format and the environment want, and warnings.

    :raises ConfigError: with everything that is wrong with it.
    """
    reader = _Reader(data, places, environment)
    desired = reader.desired()
    errors = [problem for problem in reader.problems if problem.severity is Severity.ERROR]
    if errors:
        raise ConfigError(sorted(errors, key=lambda problem: problem.place.line))
    return desired, tuple(problem for problem in reader.problems if problem not in errors)


class _Reader:
    """Reads one file and collects what is wrong with it."""

    def __init__(self, data: Mapping[str, object], places: Places, environment: Mapping[str, str]) -> None:
        spelt, places, self.problems = spell_keys(data, places)
        self.places, warnings = override(spelt, places, environment)
        self.problems += warnings
        for key in PACKET_KEYS:
            if spelt.pop(key, None):
                self._problem("Packet (Equinix Metal) ended its service; remove the key", key)
        if spelt.get("interface") == "":
            del spelt["interface"]
        if spelt.get("vip") == "":
            del spelt["vip"]
        self.has_vip = "vip" in spelt
        self.file = self._file(spelt)

    def desired(self) -> Desired:
        file = self.file
        local, peers = self._peers()
        election, members = self._election(local, peers)
        vips: tuple[VirtualIP, ...] = ()
        groups: tuple[Group, ...] = ()
        if file.vip is not None:
            announcers = ("address", "arp") if file.gratuitous_arp else ("address",)
            vips = (
                VirtualIP(
                    name=VIP,
                    address=file.vip,
                    group=VIP,
                    interface=file.interface,
                    announcers=announcers,
                    places=self._places_of_vip(),
                ),
            )
            if election is not None:
                place = election.section.places.root
                places = Places(root=place, inner={("election",): place})
                groups = (Group(name=VIP, election=election.name, places=places),)
        return Desired(
            instances=() if election is None else (election,),
            groups=groups,
            vips=vips,
            load_balancers=tuple(self._load_balancers(members)),
            members=members,
            node_name=local.id if local is not None else None,
        )

    def _problem(self, message: str, *path: str | int, severity: Severity = Severity.ERROR) -> None:
        self.problems.append(self.places.problem(message, *path, severity=severity))

    def _structured(self, data: Mapping[str, object], cls: type[T], *path: str | int) -> T | None:
        """Structure what stands at `path`; what is wrong with it is noted."""
        try:
            return structure(Section(provider="file", data=data, places=self.places.below(*path)), cls)
        except ConfigError as error:
            self.problems += error.problems
            return None

    def _file(self, data: dict[str, object]) -> OriginalFile:
        """Structure the top level key by key; those that are not what they should be are noted and left out."""
        good: dict[str, object] = {}
        for key, value in data.items():
            section = Section(provider="file", data={key: value}, places=self.places)
            try:
                structure(section, OriginalFile)
            except ConfigError as error:
                self.problems += error.problems
            else:
                good[key] = value
        return structure(Section(provider="file", data=good, places=self.places), OriginalFile)

    def _peers(self) -> tuple[OriginalPeer | None, list[tuple[OriginalPeer, Places]]]:
        """Return the local peer and all peers; a remote one with the local address is the local one again."""
        local: OriginalPeer | None = None
        peers: list[tuple[OriginalPeer, Places]] = []
        if self.file.local_peer:
            local = self._structured(self.file.local_peer, OriginalPeer, "localPeer")
            if local is not None:
                peers.append((local, self.places.below("localPeer")))
        for index, data in enumerate(self.file.remote_peers):
            peer = self._structured(data, OriginalPeer, "remotePeers", index)
            if peer is not None and (local is None or peer.address != local.address):
                peers.append((peer, self.places.below("remotePeers", index)))
        peers.sort(key=lambda peer: peer[0].id)  # each machine's file lists another one first
        return local, peers

    def _election(
        self, local: OriginalPeer | None, peers: list[tuple[OriginalPeer, Places]]
    ) -> tuple[Instance | None, tuple[Member, ...]]:
        file = self.file
        if file.single_node and file.enable_leader_election:
            self._problem("excludes enableLeaderElection; leave one of them out", "singleNode")
        members = tuple(Member(name=peer.id, address=peer.address) for peer, _ in peers)
        if file.enable_leader_election:
            return _instance("k8s", {}, self.places.below("enableLeaderElection")), members
        if file.single_node:
            return _instance("single", {}, self.places.below("singleNode")), members
        if not peers and not self.file.remote_peers and not self.file.local_peer:
            if file.vip is not None:
                self._problem("a virtual IP needs localPeer and remotePeers, or singleNode: true", "vip")
            return None, members
        if local is None and not self.file.local_peer:
            self._problem("localPeer is missing: which of the machines is this one?", "remotePeers")
        data: dict[str, object] = {
            "members": [{"name": peer.id, "address": str(peer.address), "port": peer.port} for peer, _ in peers]
        }
        if file.start_as_leader:
            data["standFirst"] = True
        if file.pki is not None:
            data["pki"] = file.pki
        raft = _instance("raft", data, self._places_of_raft(peers))
        checked, problems = members_of(raft)
        self.problems += problems
        return raft, checked

    def _places_of_vip(self) -> Places:
        inner: dict[tuple[str | int, ...], Place] = {
            (ours,): self.places.at(theirs)
            for ours, theirs in (
                ("address", "vip"),
                ("group", "vip"),
                ("interface", "interface"),
                ("announce", "gratuitousARP"),
            )
        }
        return Places(root=self.places.at("vip"), inner=inner)

    def _places_of_raft(self, peers: list[tuple[OriginalPeer, Places]]) -> Places:
        """Let each key of the section of raft stand where the key stands that it comes from."""
        inner: dict[tuple[str | int, ...], Place] = {
            ("members",): self.places.at("remotePeers"),
            ("standFirst",): self.places.at("startAsLeader"),
            ("pki",): self.places.at("pki"),
        }
        for index, (_, places) in enumerate(peers):
            inner["members", index] = places.root
            for ours, theirs in (("name", "id"), ("address", "address"), ("port", "port")):
                inner["members", index, ours] = places.at(theirs)
        root = self.places.at("localPeer")
        return Places(root=root, inner=inner)

    def _load_balancers(self, members: tuple[Member, ...]) -> Iterator[LoadBalancer]:
        file = self.file
        if file.enable_leader_election and not file.enable_load_balancer and file.load_balancers:
            message = "are left out: with enableLeaderElection they need enableLoadBalancer: true"
            self._problem(message, "loadBalancers", severity=Severity.WARNING)
            return
        names: set[str] = set()
        for index, data in enumerate(file.load_balancers):
            path = ("loadBalancers", index)
            balancer = self._structured(data, OriginalLoadBalancer, *path)
            if balancer is None:
                continue
            name = balancer.name or f"load balancer {index + 1}"
            if message := free_text_problem(name):
                self._problem(message, *path, "name")
            if name in names:
                self._problem(f"another load balancer is called {name!r} already", *path, "name")
            names.add(name)
            if balancer.bind_to_vip and not self.has_vip:
                self._problem("there is no vip to bind to", *path, "bindToVip")
            protocol = balancer.type.lower()
            yield LoadBalancer(
                name=name,
                protocol=protocol,
                proxy=protocol,
                port=balancer.port,
                bind_to=(VIP,) if balancer.bind_to_vip else (),
                backends=tuple(self._backends(balancer, members, index)),
                places=self._places_of_load_balancer(index),
            )

    def _places_of_load_balancer(self, index: int) -> Places:
        """Let `bindTo` stand where `bindToVip` does."""
        places = self.places.below("loadBalancers", index)
        place = places.at("bindToVip")
        inner: dict[tuple[str | int, ...], Place] = {("bindTo",): place, ("bindTo", 0): place}
        inner |= {(key,): places.at(key) for key in ("name", "type", "port")}
        return Places(root=places.root, inner=inner)

    def _backends(self, balancer: OriginalLoadBalancer, members: tuple[Member, ...], index: int) -> Iterator[Backend]:
        path = ("loadBalancers", index)
        seen: set[tuple[str, int]] = set()
        for at, data in enumerate(balancer.backends):
            backend = self._backend(data, *path, "backends", at)
            if backend is None:
                continue
            if (backend.address, backend.port) in seen:
                self._problem(f"{backend} is a backend already", *path, "backends", at)
            seen.add((backend.address, backend.port))
            yield backend
        if not self.file.add_peers_as_backends:
            if not balancer.backends:
                self._problem("there are no backends to balance over", *path)
            return
        if not 0 <= balancer.backend_port <= 65535:
            self._problem(f"expected an integer 1-65535, got {balancer.backend_port}", *path, "backendPort")
        elif balancer.backend_port or (not balancer.backends and balancer.bind_to_vip):
            # Without a port of their own, peers serve the port of the balancer on their own addresses.
            port = balancer.backend_port or balancer.port
            for member in members:
                if (str(member.address), port) not in seen:
                    yield Backend(address=str(member.address), port=port)
        elif not balancer.backends:
            self._problem("addPeersAsBackends needs backendPort where bindToVip is false", *path)
        else:
            message = "addPeersAsBackends adds no peers here: there are backends, and no backendPort"
            self._problem(message, *path, severity=Severity.WARNING)

    def _backend(self, data: Mapping[str, object], *path: str | int) -> Backend | None:
        """Read a backend; kube-vip's documentation writes URLs as addresses, so they may stand there.

        Its samples print "" and 0 for what is not given.
        """
        written = {key: value for key, value in data.items() if value != "" and (value != 0 or value is False)}
        given = self._structured(written, OriginalBackend, *path)
        if given is None:
            return None
        url, key = given.url or given.raw_url, "url" if given.url else "rawURL"
        if url is None and given.address is not None and "://" in given.address:
            url, key = given.address, "address"
        try:
            if url is None:
                return self._plain_backend(given, *path)
            backend = backend_url(url)
        except ValueError as error:
            self._problem(str(error), *path, key)
            return None
        if given.port is not None and given.port != backend.port:
            message = f"port {given.port} contradicts port {backend.port} of the URL; leave one out"
            self._problem(message, *path, "port")
        return backend

    def _plain_backend(self, given: OriginalBackend, *path: str | int) -> Backend | None:
        for key, value in (("address", given.address), ("port", given.port)):
            if not value:
                self._problem(f'missing required key "{key}"', *path)
                return None
        address = self._structured({"address": given.address}, OriginalAddress, *path)
        if address is None or given.port is None:
            return None
        return Backend(address=str(address.address), port=given.port)


def _instance(provider: str, data: Mapping[str, object], places: Places) -> Instance:
    section = Section(provider=provider, data=data, places=places)
    return Instance(kind=Kind.ELECTION, name=provider, section=section)
