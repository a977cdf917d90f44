"""What a member knows of the group, for `kubevip status`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kubevip import __version__
from kubevip_election_raft._consensus.epoch import count_of
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._consensus.ready import Role
from kubevip_election_raft._notices import of_others, waits
from kubevip_election_raft._wire.sockets import Endpoint
from kubevip_election_raft._wire.transport import Transport

#: A member that was not heard for so long does not answer: three pings were missed.
SILENT_SECONDS = 3.0


def describe_members(
    node: Node,
    transport: Transport,
    endpoints: Mapping[str, Endpoint],
    now: float,
    warnings: tuple[str, ...] = (),
    digest: str = "",
) -> Mapping[str, object]:
    """Return leader, term, quorum ("2/3": how many answer, of how many) and a row for each member, JSON-compatible.

    `epoch` is how often the group was recovered. `refused` counts the connections that were turned away. `waiting`
    says for whom a node without a leader waits, and why each does not answer, or that it waits to be added or replaced,
    or was removed; absent otherwise. `warnings` are those of this machine, of the connections, and of other members.
    """
    state, own = node.state, node.process.name
    silent = [name for name in transport.links if now - transport.heard_at(name) > _patience(node, name)]
    rows: list[dict[str, object]] = []
    witnesses = {record.name for record in node.records if record.is_witness}
    for name in node.members:
        row: dict[str, object] = {"name": name, "address": str(endpoints[name]), "is_witness": name in witnesses}
        if name == own:
            row |= {"state": state.role.value, "heard_ms": None, "rtt_ms": None, "version": __version__}
            row["config"] = digest
        else:
            link, heard = transport.links[name], now - transport.heard_at(name)
            rtt = link.round_trip_seconds()
            row |= {
                "state": "leader" if name == state.leader else "unreachable" if name in silent else "follower",
                "heard_ms": None if math.isinf(heard) else round(heard * 1000),
                "rtt_ms": None if rtt is None else round(rtt * 1000, 2),
                "version": link.software,
                "config": link.config,
                "problem": link.problem,
            }
        rows.append(row)
    own_warnings = [*warnings]
    if node.offers.promise_seconds > node.timing.promise_seconds:
        own_warnings.append(
            f"promises to {own} last {node.offers.promise_seconds * 1000:.0f} ms, not "
            f"{node.timing.promise_seconds * 1000:.0f}: what it holds is not fenced, and is replaced that much later"
        )
    described: dict[str, object] = {
        "leader": state.leader,
        "term": state.term,
        "epoch": count_of(node.epoch),
        "quorum": f"{len(node.members) - len(silent)}/{len(node.members)}",
        "members": rows,
        "refused": transport.refused_count,
        "warnings": [*own_warnings, *transport.warnings, *of_others(node, now)],
    }
    if wish := waits(node, endpoints[own]):
        described["waiting"] = wish
        return described
    missing = len(node.members) // 2 + 1 - (len(node.members) - len(silent))
    if state.role is not Role.LEADER and state.leader is None and missing > 0:
        peers = ", ".join(
            f"{name} at {endpoints[name]} ({transport.links[name].problem or 'no answer'})" for name in silent
        )
        described["waiting"] = f"waiting for {missing} of {peers}"
    return described


def _patience(node: Node, name: str) -> float:
    """Return after how many seconds of silence a member counts as one that does not answer.

    Leader and followers speak with each heartbeat, and those that elect with each round: of them is known what counts
    for the quorum itself. Two followers have only pings for each other.
    """
    own, leader = node.process.name, node.state.leader
    speaks = leader in (None, own, name) or node.state.role is Role.LEADER
    return min(node.timing.promise_seconds * (2 if leader is None else 1), SILENT_SECONDS) if speaks else SILENT_SECONDS
