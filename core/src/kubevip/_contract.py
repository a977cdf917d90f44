"""The objects that the core and plugins hand to each other.

What may grow is here, as a value with defaults, and not in the parameter lists of the protocols, which can never
change.
"""

from __future__ import annotations

import enum
import math
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path as FilePath
    from random import Random

    from kubevip._latest import Latest
    from kubevip._leadership import Tenure
    from kubevip._machine import Machine
    from kubevip._model import Backend, Desired, IPAddress, LoadBalancer, Placement, Port, Problem, VirtualIP
    from kubevip._status import Snapshot


@frozen(kw_only=True)
class Cause:
    """Why this node leads, for people: `why` is a few words ("n3 is silent", "moved", "first").

    `silent_since` and `stood_at` are readings of `anyio.current_time()`: when the leader before was last heard or said
    goodbye, and when this node stood; None where there was none or it is not known.
    """

    why: str
    silent_since: float | None = None
    stood_at: float | None = None


@frozen(kw_only=True)
class Leading:
    """This node leads until `valid_until`, a reading of `anyio.current_time()` before which nobody else may take over.

    `term` is an integer that never repeats for a group within this process. A report with the same term moves the end
    of the tenure; one with another term ends it and begins the next.
    """

    term: int
    valid_until: float
    cause: Cause | None = None


@frozen(kw_only=True)
class Following:
    """This node does not lead; `leader` is the name of the node that does, if it is known.

    Whoever gives leadership away in good order says until when nobody else can have it, a reading of
    `anyio.current_time()`: what was held may answer until it is withdrawn, at once but one thing after the other.
    Without it everything falls silent first, and is withdrawn then.
    """

    leader: str | None = None
    valid_until: float = field(default=-math.inf, eq=False)


Leadership = Leading | Following


def _at_any_time() -> float:
    return 0.0


@frozen(kw_only=True)
class Candidacy:
    """What an election is given to stand for one group.

    `report` takes each change and each renewal, from the event-loop thread. `fitness` is 0 (unfit) to 100 and changes
    while standing. `grace_seconds` bounds the release after a cancellation. `withdrawn()` returns when nothing is up
    any more that was guarded by an earlier report: after reporting `Following`, an election that gives leadership away
    without being cancelled awaits it before it releases; without it, it waits for the end of the lease.

    `soonest_takeover()` is in seconds: what is up here cannot be silenced in less, should this process hang, so that no
    other node may take over sooner after the last renewal that was asked for. 0 where a fence sees to it. It may
    change; an election that cannot keep it says so in its status.
    """

    group: str
    report: Callable[[Leadership], None]
    fitness: Latest[int]
    placement: Placement
    grace_seconds: float
    withdrawn: Callable[[], Awaitable[None]] | None = None
    soonest_takeover: Callable[[], float] = _at_any_time


class Level(enum.IntEnum):
    """How well a thing does; the number is the fitness that it leaves the node for its group."""

    FAILED = 0
    DEGRADED = 50
    GOOD = 100


@frozen(kw_only=True)
class Health:
    """How an announcer or agent does; `reason` is one line for people, empty when all is well."""

    level: Level = Level.GOOD
    reason: str = ""


@frozen(kw_only=True)
class BackendHealth:
    """How one backend does; `reason` says why it is down, `since` from when on (wall-clock seconds, for people)."""

    backend: Backend
    is_up: bool = True
    reason: str = ""
    since: float | None = None


@frozen(kw_only=True)
class ListenerHealth:
    """How a listener does: open connections (a count), its backends, what keeps it from serving (empty: nothing)."""

    connections: int = 0
    backends: tuple[BackendHealth, ...] = ()
    problem: str = ""


@frozen(kw_only=True, eq=False)
class Listener:
    """One socket to listen on and relay from.

    `address` None means every address of the machine, IPv4 and IPv6. `tenure` is set on a listener that is bound to a
    virtual IP: ask it before binding. `options` is the provider's structured options of the item, or None.
    """

    name: str
    protocol: str
    address: IPAddress | None
    port: int
    backends: tuple[Backend, ...] = ()
    drain_seconds: float = 10.0
    tenure: Tenure | None = None
    options: object | None = None

    @property
    def is_bound(self) -> bool:
        """Whether it belongs to a virtual IP and goes with it."""
        return self.tenure is not None


class Serving(Protocol):
    """A listener that listens."""

    def set_backends(self, backends: Sequence[Backend]) -> None:
        """Use `backends` for new connections; connections to removed ones drain. Returns at once."""

    def set_drain(self, seconds: float) -> None:
        """Say how long open connections may go on once the listener is left.

        0 means reset them at once, which is where bound listeners start; unbound ones start with `drain_seconds`.
        """


class Standby(Serving, Protocol):
    """A bound listener that is ready to listen, any number of times; its duties are those of `Proxy.serve`.

    While it listens, `set_drain` and `set_backends` are about what it serves; before that, about what it will.
    """

    def listen(self, tenure: Tenure) -> None:
        """Listen at once, while the address is not there yet; clients may wait until `relay`.

        :raises ProxyError: when that is refused, or `tenure` is over.
        """

    def relay(self) -> None:
        """Serve the clients that come: the address is there. Returns at once."""

    async def close(self) -> None:
        """Stop listening, reset what is relayed or let it drain; returns when that is done, also when cancelled."""


class Will(Protocol):
    """A last will, carried out by the keeper should this process die: it holds the function's name and the bytes."""

    def __call__(self, order: int, function: str, payload: bytes | None) -> None:
        """Leave `function(payload)` to be called; lower orders first.

        Orders below 100 are deeds on this machine. Orders from 100 on tell others what the deeds achieved, so they
        are left out when one of the deeds raised. `function` is "package.module:function" and uses the standard
        library only; the keeper imports its module now, so that doing it costs no import. A later call with the same
        order and function replaces the payload; None withdraws it. Must be cheap; never blocks.
        """


def _no_digest() -> str:
    return ""


def _keep_nothing(descriptor: int) -> Callable[[], None]:
    return lambda: None


@asynccontextmanager
async def _never_urgent(priority: int) -> AsyncGenerator[bool]:
    yield False


@frozen(kw_only=True, eq=False)
class Host:
    """What a provider instance knows of the process it runs in.

    `incarnation` never repeats on this machine and instance. `rng` is the process's source of randomness (seeded in
    tests). `state_dir` exists, mode 0700; an instance keeps its files in a folder of its own below it.
    `config_digest()` names the configuration that this node runs now, at most eight characters, "" while there is none:
    for elections whose members tell each other. `urgent(priority)` has this process scheduled in real time (SCHED_FIFO,
    1 to 99) while the context that it returns is entered, which yields whether that is permitted: for elections that
    count in milliseconds. Nothing that the process starts inherits it, and for whoever is at work for 100 ms without a
    pause it is suspended. `keep_open(descriptor)` has the keeper hold a descriptor as well until it has carried out
    the last wills, and returns how to end that, which is due before the descriptor is closed: for what takes the kernel
    long to release, like raw sockets, since nobody may speak for a process before all that it had is released.
    """

    node_name: str
    instance: str
    state_dir: FilePath
    rng: Random
    will: Will
    incarnation: int = 0
    allow_insecure: bool = False
    config_digest: Callable[[], str] = _no_digest
    urgent: Callable[[int], AbstractAsyncContextManager[bool]] = _never_urgent
    keep_open: Callable[[int], Callable[[], None]] = _keep_nothing


@frozen(kw_only=True, eq=False)
class Feed:
    """What a source is given.

    `publish(desired)`: a whole snapshot; the newest wins. `reject(problems)`: what could not be read; the last good
    one stays. `status`: who holds what, for sources that write it back. `reload` grows when the user asks to read
    again (SIGHUP). `known`: the `text_digest` of what the source has said already, through `SupportsLoad` or before it
    was restarted, and which stands; when it begins with the same it need not say it. "" if there is nothing of that
    kind.
    """

    publish: Callable[[Desired], None]
    reject: Callable[[Sequence[Problem]], None]
    status: Latest[Snapshot]
    reload: Latest[int]
    known: str = ""


@frozen(kw_only=True)
class Event:
    """Something that happened, for people and metrics, never for control.

    `name` is a stable word ("leading", "withdrawn"); `message` one line; `fields` the objects it is about (group=,
    vip=, ...).
    """

    name: str
    message: str
    fields: Mapping[str, object] = field(factory=dict[str, object])


@frozen(kw_only=True)
class Target:
    """What one probe of a check is aimed at.

    A check of the node itself gets 127.0.0.1 and port 0: its own configuration says what to ask there.
    """

    address: str
    port: int
    url: str | None = None


@frozen(kw_only=True)
class CheckResult:
    """What one probe found."""

    is_good: bool
    reason: str = ""


@frozen(kw_only=True, eq=False)
class Outlook:
    """What a provider may look at when `kubevip check` and `plan` ask it what it would do here; it touches nothing.

    `vips` and `load_balancers` are those that the question is about; `devices` maps a virtual IP's name to the device
    it would be on here, if there is one.
    """

    node_name: str
    instance: str
    machine: Machine
    allow_insecure: bool = False
    vips: tuple[VirtualIP, ...] = ()
    load_balancers: tuple[LoadBalancer, ...] = ()
    devices: Mapping[str, str] = field(factory=dict[str, str])


@frozen(kw_only=True)
class Socket:
    """Where something listens: `transport` is "tcp" or "udp"; `address` None stands for every one of the machine."""

    port: Port
    address: IPAddress | None = None
    transport: str = "tcp"


@frozen(kw_only=True)
class Description:
    """What a provider would do.

    `lines` are for `kubevip plan`; `firewall` is what has to be open ("in 10000/tcp from 192.168.0.70"). The path
    of a problem's place is relative to the provider's section. `holds_nothing`: of an election, in which this node
    only votes.
    """

    lines: tuple[str, ...] = ()
    firewall: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    holds_nothing: bool = False
