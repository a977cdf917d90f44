"""Configuration of the raft election."""

from __future__ import annotations

import enum
from pathlib import Path

from attrs import field, frozen

from kubevip import Duration, IPAddress, Port
from kubevip_election_raft._consensus.timing import DEFAULT, FAST, RELAXED, Timing

#: The port that members listen on unless they say otherwise.
DEFAULT_PORT = Port(10000)

#: Where the keys of a member are unless the configuration says otherwise.
DEFAULT_PKI = Path("/etc/kubevip/pki")


def _check_name(_: object, __: object, value: str) -> None:
    if not value or len(value) > 253 or not value.isprintable() or " " in value:
        raise ValueError(f"expected a name without spaces, 1 to 253 characters, got {value!r}")


def _check_cluster(_: object, __: object, value: str) -> None:
    if not value or len(value) > 253 or not value.isprintable():
        raise ValueError(f"expected 1 to 253 characters that print, got {value[:80]!r}")


def _check_pki(_: object, __: object, value: Path | None) -> None:
    if value is not None and not value.is_absolute():
        raise ValueError(f"expected an absolute path, got {value}")


@frozen(kw_only=True)
class MemberConfig:
    """A machine that votes."""

    name: str = field(validator=_check_name)
    """What `host.node_name` is on that machine; unique."""
    address: IPAddress
    """Where it listens for the others and where its own connections come from; an address of its own, never a VIP."""
    port: Port | None = None
    """TCP port; default: the election's `port`."""
    witness: bool = False
    """Votes, so that two machines and a witness survive the loss of one; holds nothing, and leads only
    when nobody else does."""


class Profile(enum.Enum):
    """A tested pair of heartbeat and promise."""

    DEFAULT = "default"
    FAST = "fast"
    RELAXED = "relaxed"


@frozen(kw_only=True)
class TimingConfig:
    """A pair of one's own."""

    heartbeat: Duration
    """How often the leader speaks; at least 5 ms."""
    promise: Duration
    """For how long a voter promises; at least 3 heartbeats, at most 60 s. A node that is lost is replaced after it."""

    def __attrs_post_init__(self) -> None:
        self.timing  # noqa: B018  its checks are those of this class

    @property
    def timing(self) -> Timing:
        """The time spans that follow from it."""
        return Timing(heartbeat_seconds=self.heartbeat, promise_seconds=self.promise)


_TIMINGS = {Profile.DEFAULT: DEFAULT, Profile.FAST: FAST, Profile.RELAXED: RELAXED}


@frozen(kw_only=True)
class RaftConfig:
    """A raft group: the machines that elect one of themselves. The same on all of them but for `standFirst`."""

    members: tuple[MemberConfig, ...]
    """The voters, 1 or at least 3; an odd number is best. This machine is the one called like its node."""
    cluster: str = field(default="default", validator=_check_cluster)
    """Name of the group; frames and state of a group of another name are refused."""
    port: Port = DEFAULT_PORT
    """TCP port of members that name none."""
    timing: Profile | TimingConfig = Profile.DEFAULT
    """default: heartbeat 50 ms, promise 180 ms. fast: 10, 45 ms; needs SCHED_FIFO. relaxed: 250, 1,200 ms, for Wi-Fi
    and SD cards. Or {heartbeat: 50ms, promise: 180ms}."""
    pki: Path | None = field(default=None, validator=_check_pki)
    """The folder with this machine's ca.crt, tls.crt and tls.key; default: /etc/kubevip/pki. Members speak TLS 1.3 and
    believe only in names that a CA of ca.crt has signed. `kubevip raft keys` makes them."""
    insecure: bool = False
    """Speak plain TCP, without keys: whoever reaches the port from a member's address can vote."""
    stand_first: bool = False
    """Stand before the others when the group starts; nothing more: an existing leader stays."""

    def __attrs_post_init__(self) -> None:
        if self.insecure and self.pki is not None:
            raise ValueError("insecure: excludes pki; leave one of them out")
        names = [member.name for member in self.members]
        if not names:
            raise ValueError("members: at least one is needed; without peers the election `single` does")
        if len(names) == 2:
            raise ValueError(
                "members: two cannot fail over, because either alone is no majority: add a third member on any machine "
                "that the others reach; in the native format it may be a `witness: true`, which votes and holds nothing"
            )
        if all(member.witness for member in self.members):
            raise ValueError("members: all are witnesses, which hold nothing: at least one has to hold")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"members: {', '.join(twice)} is there more than once; names are unique")
        endpoints = [(member.address, self.port_of(member)) for member in self.members]
        if twice := sorted({str(address) for address, port in endpoints if endpoints.count((address, port)) > 1}):
            raise ValueError(f"members: {', '.join(twice)} is the address of more than one member")
        if len({member.address.version for member in self.members}) > 1:
            raise ValueError("members: addresses of all members are of one family, IPv4 or IPv6")

    def port_of(self, member: MemberConfig) -> Port:
        """Return the port that `member` listens on."""
        return self.port if member.port is None else member.port

    @property
    def pki_folder(self) -> Path:
        """Where the keys of this machine are."""
        return self.pki or DEFAULT_PKI

    @property
    def time_spans(self) -> Timing:
        """The time spans that `timing` stands for."""
        return _TIMINGS[self.timing] if isinstance(self.timing, Profile) else self.timing.timing
