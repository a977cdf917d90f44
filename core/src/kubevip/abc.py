"""The protocols that plugins implement, with the duties of both sides.

They are structural: nothing has to be inherited. They cannot grow without breaking third parties, so new abilities
come as new optional protocols (`Supports...`), found with `isinstance`. Two shapes are all there is: something that
tells is `async def run(...)`; something that holds is `async with thing(...)`. The core owns every task, scope and
restart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from attrs import frozen

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from kubevip._contract import (
        Candidacy,
        CheckResult,
        Description,
        Event,
        Feed,
        Health,
        Host,
        Listener,
        ListenerHealth,
        Outlook,
        Serving,
        Socket,
        Standby,
        Target,
    )
    from kubevip._leadership import Tenure
    from kubevip._model import Desired, Problem, Section, VirtualIP
    from kubevip.control import Client


class Election(Protocol):
    """Decides which node leads a group."""

    async def campaign(self, candidacy: Candidacy) -> None:
        """Stand for `candidacy.group` until cancelled.

        Not a proof of mutual exclusion by itself: the fence is the announcer's.

        The implementer
        1. reports each change and each renewal, from the event-loop thread;
        2. never repeats a term for a group within this process, also when its record was deleted and made again;
        3. gives `valid_until` in `anyio.current_time()`, measured from BEFORE the request that renewed it was sent,
           and before the moment at which anybody else may take over by at least the time that a withdrawal takes;
        4. retries transient faults itself;
        5. releases only when cancelled, within `candidacy.grace_seconds` (the core cannot cut through its shield); on
           an error of its own it raises WITHOUT releasing, because the address is still up;
        6. never reports after returning;
        7. after a start promises nothing to anybody for one longest lease.

        The core calls it once at a time for a group, with any number of groups side by side, and cancels it only when
        the work that was guarded by its reports has unwound.
        """


class Announcer(Protocol):
    """Makes an address reachable on this node."""

    def announce(
        self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]
    ) -> AbstractAsyncContextManager[None]:
        """Keep `vip` reachable here while the body runs.

        The implementer
        1. enters when the first announcement was sent, and leaves withdrawn, also when cancelled, within its own
           short grace;
        2. repairs what others break while it holds, and reports how it does;
        3. asks `tenure.remaining_seconds > 0` right before every frame, every renewal of an address and of a fence;
        4. raises `AnnounceError` when the address cannot be raised, naming it and the remedy.

        The core opens the announcers of an address in the order the configuration lists them and leaves them in
        reverse.
        """
        ...


class Proxy(Protocol):
    """Listens and relays."""

    def serve(
        self, listener: Listener, report: Callable[[ListenerHealth], None]
    ) -> AbstractAsyncContextManager[Serving]:
        """Listen and relay while the body runs.

        The implementer
        1. enters when the socket listens, also when its address is not on the machine yet (IP_FREEBIND);
        2. leaves when nothing listens and nothing is relayed any more: open connections are reset, or drain for as
           long as `Serving.set_drain` said;
        3. raises `ProxyError` when the socket cannot be opened, naming address, port and, if known, who has it.
        """
        ...


class ConfigSource(Protocol):
    """Says what is wanted."""

    async def run(self, feed: Feed) -> None:
        """Publish whole snapshots until cancelled; return when nothing will change again; raise to be restarted."""


class Agent(Protocol):
    """Anything that runs for long."""

    async def run(self, report: Callable[[Health], None]) -> None:
        """Run until cancelled; raise to be restarted."""


class Observer(Protocol):
    """Is told what happens."""

    def notify(self, event: Event) -> None:
        """Take note of `event`. Must not block; what it raises is logged and ignored."""


class Check(Protocol):
    """Tells whether something is well."""

    async def probe(self, target: Target) -> CheckResult:
        """Probe once. Interval, timeout, rise and fall are the caller's.

        Whatever the target does or does not answer is a result, with a reason of one line where it is bad; what is
        raised is told as a failure, too, and the next probe comes after a growing pause. Ends at once when cancelled.
        """
        ...


@runtime_checkable
class SupportsPreparation(Protocol):
    """An announcer that gets ready for an address long before it is told to announce it.

    What it opens, builds and records here does not cost anything in the moment of a takeover.
    """

    def prepare(self, vip: VirtualIP) -> AbstractAsyncContextManager[None]:
        """Be ready to announce `vip` while the body runs; touches neither the wire nor the kernel for the address.

        Raise `AnnounceError` when it could not be announced here: another node that is ready is then preferred.
        """
        ...


@runtime_checkable
class SupportsStandby(Protocol):
    """A proxy that gets a bound listener ready long before its address is raised here.

    What is opened here does not cost anything in the moment of a takeover.
    """

    def stand_by(
        self, listener: Listener, report: Callable[[ListenerHealth], None]
    ) -> AbstractAsyncContextManager[Standby]:
        """Be ready to serve `listener` while the body runs; nothing listens before `Standby.listen`.

        `listener.tenure` is None, as there is none yet; its address is a virtual IP's. Raise `ProxyError` when it could
        not be served here: the node is then less fit for its group. Left like `Proxy.serve`, also while it listens.
        """
        ...


@runtime_checkable
class SupportsStatus(Protocol):
    """A service that has something to show in `kubevip status`."""

    def status(self) -> Mapping[str, object]:
        """Return JSON-compatible values; called from the event loop, must be cheap."""
        ...


@runtime_checkable
class SupportsTakeover(Protocol):
    """An announcer that cannot fall silent at once when its process hangs: nothing but time ends what it holds."""

    @property
    def soonest_takeover_seconds(self) -> float:
        """How long after the last renewal nobody else may take over; 0 where the kernel keeps the end of a tenure."""
        ...


@runtime_checkable
class SupportsRequests(Protocol):
    """A service that answers requests of the control socket (`kubevip raft add ...`)."""

    async def request(self, verb: str, args: Mapping[str, object]) -> object:
        """Carry out `verb` and return JSON-compatible values; raise a KubevipError to refuse."""
        ...


@runtime_checkable
class SupportsPlacement(Protocol):
    """An election that can move a group to a node."""

    async def move(self, group: str, to: str) -> None:
        """Move `group` to node `to` and return when it is held there; raise an ElectionError to refuse.

        A node that is known to be unfit for the group is refused: it would give the group away again.
        """


@runtime_checkable
class SupportsRelief(Protocol):
    """An election that can have everything placed elsewhere while it is still held here.

    So a graceful stop costs a client next to nothing: whoever takes over has decided, and asks, before the address
    goes here.
    """

    async def relieve(self) -> None:
        """Have every group that is held here placed elsewhere, and stand for none that others can hold.

        Return when nothing is held here any more, or nobody can take it, or cannot be asked; within 1.2 s in any case.
        Candidacies go on until they are cancelled: what is left is withdrawn and released then.
        """


@runtime_checkable
class SupportsFitness(Protocol):
    """An election that learns every node's `Candidacy.fitness` and moves a group to the fittest by itself.

    A fitness of 0 means that the node is unfit, or can hold nothing of the group; below 50, that it cannot hold all of
    it. Only that is a reason to move a group, and only to a node that can hold more. For an election without it the
    core lets an unfit leader release and stand aside for a while.
    """

    @property
    def follows_fitness(self) -> bool:
        """Always true."""
        ...


@runtime_checkable
class SupportsLoad(Protocol):
    """A source that can be read once, before anything runs: for start-up, `kubevip check` and `kubevip plan`."""

    def load(self) -> tuple[Desired, tuple[Problem, ...]]:
        """Return what `run` would publish first, and warnings.

        :raises ConfigError: with all problems, when nothing would be published.
        """
        ...


ConfigT = TypeVar("ConfigT")
ServiceT_co = TypeVar("ServiceT_co", covariant=True)


@frozen(kw_only=True)
class Provider(Generic[ConfigT, ServiceT_co]):
    """What a plugin provides: a name, a configuration class, and how to open an instance.

    Make it a module-level constant: only then do type checkers compare `config` with `open`.
    """

    name: str
    """What users write: "raft", "arp", "tcp"; lower case letters, digits and dashes."""
    summary: str
    """One line for `kubevip plugins`."""
    config: type[ConfigT]
    """An attrs class; the section of an instance is structured into it. Field names are camelCase in files."""
    open: Callable[[ConfigT, Host], AbstractAsyncContextManager[ServiceT_co]]
    """Opens an instance for its lifetime: its transport, client, tables. Heavy libraries are imported inside."""
    options: type | None = None
    """The attrs class of its section within an item (`announce: [{bgp: {...}}]`), if it has one."""
    protocols: tuple[str, ...] = ()
    """Proxies: the load-balancer types that it serves ("tcp", "http")."""
    describe: Callable[[ConfigT, Outlook], Description] | None = None
    """What it would do here, for `kubevip check` and `kubevip plan`; touches nothing."""
    sockets: Callable[[ConfigT], Iterable[Socket]] | None = None
    """Where it listens itself, on whatever node: a load balancer that would be in the way is refused beforehand."""
    default: Callable[[Mapping[str, str]], Section | None] | None = None
    """Sources: the section that the environment stands for where there is no configuration file; None: it says nothing.

    Asked only when no file was named, the usual one is not there, and `--plugins` names the plugin.
    """
    claims: Callable[[ConfigT], str] | None = None
    """What an instance has to itself ("Lease kube-system/x"), "" for nothing: another that claims it is refused."""
    foresee: Callable[[ConfigT], Desired] | None = None
    """Sources: what it will name whatever it reads, for `kubevip check` and `plan`: its own elections and groups, and
    an item that stands for all of its kind. Problems of these whose places have no line are placed in its section."""
    cleanup: Callable[[str, Path], Sequence[str]] | None = None
    """`cleanup(instance, state_dir)` removes what a process of that instance left behind that no longer runs.

    Returns one line per thing removed ("address 192.0.2.1 from eth0"); raises a KubevipError when it may not.
    """


@frozen(kw_only=True)
class Command:
    """A subcommand of `kubevip`.

    `run` gets the parsed arguments and a client of the running daemon, and returns the exit status.
    """

    name: str
    summary: str
    configure: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace, Client], int]


# Providers of any configuration class; Any, because the class is the plugin's own.
ElectionProvider = Provider[Any, Election]
AnnouncerProvider = Provider[Any, Announcer]
ProxyProvider = Provider[Any, Proxy]
SourceProvider = Provider[Any, ConfigSource]
AgentProvider = Provider[Any, Agent]
CheckProvider = Provider[Any, Check]
ObserverProvider = Provider[Any, Observer]
AnyProvider = Provider[Any, Any]
