"""Opens a member: checks that it may run here, reads its state, listens, and puts the parts together."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import ip_address
from pathlib import Path
from random import Random
from time import clock_getres

from anyio import CancelScope, Event, create_task_group, to_thread
from attrs import evolve

from kubevip import Host, Port, __version__
from kubevip.errors import ElectionError, NotPermittedError, Permanent
from kubevip_election_raft._clock import Clock
from kubevip_election_raft._config import MemberConfig, Profile, RaftConfig
from kubevip_election_raft._consensus.entries import MemberRecord, Process
from kubevip_election_raft._consensus.epoch import count_of, joining, members_of
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Outgoing, Ready, SoftState
from kubevip_election_raft._description import no_keys
from kubevip_election_raft._disk.storage import Storage
from kubevip_election_raft._driver import Driver
from kubevip_election_raft._election import RaftElection
from kubevip_election_raft._last_will import LastWill
from kubevip_election_raft._notices import Notices
from kubevip_election_raft._pace import measure_pace
from kubevip_election_raft._status import describe_members
from kubevip_election_raft._tls.keyring import Keyring
from kubevip_election_raft._tls.keys import KeysError
from kubevip_election_raft._wire.identity import Identity
from kubevip_election_raft._wire.sockets import Endpoint, listening
from kubevip_election_raft._wire.transport import Transport

logger = logging.getLogger("kubevip.raft")

#: How far before everything ordinary a heartbeat goes. Longer promises bear being late, and are for small machines.
FIFO_PRIORITY, FAST_FIFO_PRIORITY = 1, 10
LONGEST_URGENT_PROMISE_SECONDS = 0.5

#: `fast` needs a scheduler that lets a heartbeat through within a few milliseconds, and timers as fine.
COARSEST_TICK_SECONDS = 0.004
CLOCK_MONOTONIC_COARSE = 6  # linux/time.h; its resolution is the kernel's tick

LISTEN_BACKLOG = 16

#: What a member draws when its state file is made; large enough that no two are alike.
BIRTH_BITS = 48


#: By state folder and group, the last terms that this process reported: one that is opened again must not repeat them.
_last_terms: dict[Path, dict[str, int]] = {}

#: By state folder, how often a member was opened by this process: peers must not take the next one for the one before,
#: whose rounds and versions are ahead of its own.
_openings: Counter[Path] = Counter()
OPENINGS_PER_PROCESS = 1_000_000


class SupersededError(ElectionError):
    """The group went on without this member, which joins it anew."""


class RefusedError(Permanent, ElectionError):
    """This member cannot run with this configuration."""


@asynccontextmanager
async def open_instance(config: RaftConfig, host: Host) -> AsyncGenerator[RaftElection]:
    """Run the member while the body runs.

    :raises RefusedError: when the node is not a member, or has no good keys and may not do without.
    :raises ElectionError: when the state cannot be used, or the address or port is not to be had.
    """
    own = _own_member(config, host)
    _check_ticks(config)
    keyring = await to_thread.run_sync(_keyring, config, host)
    storage = Storage(host.state_dir / "raft", cluster=config.cluster, member=own.name)
    host = evolve(host, incarnation=_next_incarnation(host))
    async with AsyncExitStack() as stack:
        stack.enter_context(storage.locked())
        saved = await to_thread.run_sync(storage.load)
        await stack.enter_async_context(_urgent(config, host))
        pace = await measure_pace(config.time_spans, storage)
        for warning in pace.warnings:
            logger.warning("%s", warning)
        clock, later = Clock(), _Later()
        rng = Random(host.rng.getrandbits(64))
        birth = saved.hard_state.birth or rng.getrandbits(BIRTH_BITS) or 1
        if not saved.hard_state.birth:  # on the disk before anybody hears of it
            born = Ready(hard_state=evolve(saved.hard_state, birth=birth))
            await to_thread.run_sync(storage.save, born)
            saved = saved.after(born.hard_state, None, ())
        process = Process(name=own.name, incarnation=host.incarnation, birth=birth)
        members = tuple(member.name for member in config.members)
        endpoints = {m.name: Endpoint(address=m.address, port=config.port_of(m)) for m in config.members}
        node = Node(
            process=process,
            members=members,
            timing=pace.timing,
            saved=saved,
            rng=rng,
            now=clock.now(),
            stands_first=config.stand_first,
            seeds=_seeds(config),
            asks=True,
        )
        if set(node.members) != set(members):
            logger.warning(
                "members are %s, as the group agreed; the configuration lists %s",
                ",".join(node.members),
                ",".join(members),
            )
        endpoints |= endpoints_of(node.records)
        election = RaftElection(
            process,
            members,
            clock=clock,
            rng=rng,
            is_witness=own.witness,
            last_terms=_last_terms.setdefault(storage.path.parent, {}),
            describe=lambda: describe_members(
                node, transport, endpoints, clock.now(), warnings=pace.warnings, digest=host.config_digest()
            ),
        )
        identity = Identity(
            process=process,
            cluster=config.cluster,
            own=endpoints[own.name],
            software=__version__,
            epoch=node.epoch,
        )
        peers = {name: endpoints[name] for name in node.peers}
        will = LastWill(host.will, identity.own)
        transport = Transport(
            identity,
            peers,
            keyring,
            receive=election.receive,
            lost=election.lost,
            clock=clock.now,
            rng=rng,
            digest=host.config_digest,
            superseded=later.note,
            introduce=lambda: node.introduction,
            met=election.met,
            seal=will.seal,
        )
        known, notices = node.records, Notices()

        def follow_members() -> None:
            nonlocal known
            if node.records is not known:  # others are members now
                known = node.records
                endpoints.update(endpoints_of(known))
                peers = {name: endpoints[name] for name in node.peers}
                transport.set_peers(peers)
                will.address_to(peers)
                logger.info("members=%s", ",".join(node.members))

        def send(messages: Sequence[Outgoing]) -> None:
            follow_members()
            transport.send_all((outgoing.to, outgoing.message) for outgoing in messages)

        def changed(state: SoftState) -> None:
            follow_members()
            notices.look(node, endpoints[own.name], clock.now())
            election.changed(state)

        driver = Driver(node, clock=clock, disk=storage, send=send, changed=changed)
        stack.push_async_callback(_join_later, later, storage, own.name, config)
        async with create_task_group() as tg:
            tg.start_soon(later.leave)
            if len(members) > 1 or peers:  # whoever was given up has to be told, and who is to be added may come
                stack.enter_context(will.left(peers))
                listener = stack.enter_context(listening(endpoints[own.name], LISTEN_BACKLOG))
                tg.start_soon(transport.run, listener)
            tg.start_soon(election.run, driver)
            logger.info("member=%s of=%s term=%d", own.name, ",".join(members), node.term)
            yield election
            tg.cancel_scope.cancel()


class _Later:
    """A later epoch, once a peer was heard that is of one."""

    def __init__(self) -> None:
        self.epoch, self._peer, self._heard = 0, "", Event()

    def note(self, peer: str, epoch: int) -> None:
        """Take note that `peer` is of `epoch`, which is later than the one of here."""
        self.epoch, self._peer = max(self.epoch, epoch), peer
        self._heard.set()

    async def leave(self) -> None:
        """Wait until a later epoch is heard of, and end this member's part in its own."""
        await self._heard.wait()
        raise SupersededError(
            f"the group was recovered without this member, as {self._peer} says: it holds nothing any more, keeps its "
            "old state aside, and waits to be taken in"
        )


async def _join_later(later: _Later, storage: Storage, own: str, config: RaftConfig) -> None:
    """When everything has ended, begin anew in a later epoch that was heard of."""
    if not later.epoch:
        return

    def begin_anew() -> Path | None:
        saved = storage.load()
        known = {record.name: record for record in (*members_of(saved), *_seeds(config))}
        state = joining(saved, own=own, epoch=later.epoch, known=tuple(known.values()))
        return storage.replace(state, f"state.epoch-{count_of(saved.hard_state.epoch)}")

    with CancelScope(shield=True):
        kept = await to_thread.run_sync(begin_anew)
        logger.warning("begins anew in epoch %d; the old state is kept as %s", count_of(later.epoch), kept)


def _seeds(config: RaftConfig) -> tuple[MemberRecord, ...]:
    """Return the configured members as the log knows members."""
    return tuple(
        MemberRecord(
            name=member.name, address=str(member.address), port=config.port_of(member), is_witness=member.witness
        )
        for member in config.members
    )


def endpoints_of(records: Iterable[MemberRecord]) -> dict[str, Endpoint]:
    """Return where members listen that the log knows."""
    return {
        record.name: Endpoint(address=ip_address(record.address), port=Port(record.port))
        for record in records
        if record.address
    }


def _next_incarnation(host: Host) -> int:
    """Return what tells this member from every other that this process, or one before, opened."""
    opened = _openings[host.state_dir]
    _openings[host.state_dir] += 1
    return host.incarnation * OPENINGS_PER_PROCESS + opened


def _own_member(config: RaftConfig, host: Host) -> MemberConfig:
    own = next((member for member in config.members if member.name == host.node_name), None)
    if own is None:
        names = ", ".join(member.name for member in config.members)
        raise RefusedError(f"node {host.node_name!r} is not a member ({names}): name it with --node")
    return own


def _keyring(config: RaftConfig, host: Host) -> Keyring:
    """Return the keys of this member, or none where that was allowed or nobody is there to speak to.

    :raises RefusedError: when they cannot be used.
    """
    if len(config.members) == 1:
        return Keyring(host.node_name, None)
    if config.insecure or host.allow_insecure:
        logger.warning("members speak plain TCP: whoever reaches the port from a member's address can vote")
        return Keyring(host.node_name, None)
    try:
        return Keyring.load(config.pki_folder, host.node_name)
    except KeysError as error:
        raise RefusedError(no_keys(config, host.node_name, error)) from error


def _check_ticks(config: RaftConfig) -> None:
    """Refuse `fast` where timers are too coarse for it.

    :raises NotPermittedError: when they are.
    """
    if config.timing is Profile.FAST and sys.platform == "linux":
        tick = clock_getres(CLOCK_MONOTONIC_COARSE)
        if tick > COARSEST_TICK_SECONDS:
            raise NotPermittedError(
                f"timing fast: this kernel's tick is {tick * 1000:.0f} ms, and short leases need 4 ms or less: "
                "use timing default"
            )


@asynccontextmanager
async def _urgent(config: RaftConfig, host: Host) -> AsyncGenerator[None]:
    """Have heartbeats go before what else this machine does, where it can be had.

    :raises NotPermittedError: when the time spans need it and it is not.
    """
    if config.time_spans.promise_seconds > LONGEST_URGENT_PROMISE_SECONDS:
        yield
        return
    priority = FAST_FIFO_PRIORITY if config.timing is Profile.FAST else FIFO_PRIORITY
    async with host.urgent(priority) as is_real_time:
        if config.timing is Profile.FAST and not is_real_time and sys.platform == "linux":
            raise NotPermittedError(
                "timing fast: this process may not run as SCHED_FIFO: give it CAP_SYS_NICE "
                f"(systemd: CapabilityBoundingSet=), or LimitRTPRIO={priority}, or use timing default"
            )
        yield
