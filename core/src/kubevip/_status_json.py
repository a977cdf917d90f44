"""The status as JSON: what the control socket answers, `kubevip status --json` prints and `_status_text` draws.

Times are wall-clock seconds since 1970 and for people only; every key is always there, null where nothing is known.

    node, instance, version     text
    time, up_seconds            when this was answered; how long the control process runs
    config                      {digest, since, refused: null | {at, problems: [text]}}
    fence                       "nft", "unfenced: reason", or null where no announcer says
    elections[]                 {name, provider, state, problem, leader, term, quorum, lease_seconds_left, waiting,
                                warnings: [text],
                                members: [{name, address, state, is_witness, problem, heard_ms, rtt_ms, version,
                                           config}]}
    groups[]                    {name, election, is_leading, leader, term, lease_seconds_left, fitness, problem}
    vips[]                      {name, address, group, is_held, holder, held_since, why,
                                last_outage: null | {milliseconds, parts: [detect, elect, add, announce], how},
                                health: {level: "good" | "degraded" | "failed", reason}}
    listeners[]                 {name, on, proxy, is_listening, connections, problem,
                                backends: [{name, is_up, reason, since}]}
    services[], agents[]        {kind, name, provider, state, problem, detail}
    problems[]                  text

What an election says of itself (`SupportsStatus.status()`) goes into its row as it is: `quorum` is text ("3/3"),
`waiting` text or {for: 1, members: [{name, address, why}]}. An election that says nothing is shown by its groups.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from attrs import asdict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kubevip._status import GroupStatus, ListenerStatus, ServiceStatus, Snapshot, VipStatus

_STARTED = time.monotonic()  # the control process imports this before it does anything
_ELECTION_KEYS = ("leader", "term", "quorum", "lease_seconds_left", "waiting", "members")


class Refused(Protocol):
    """A configuration that was not taken over."""

    @property
    def at(self) -> float:
        """When, in wall-clock seconds."""
        ...

    @property
    def problems(self) -> Sequence[object]:
        """Why; shown by `str`."""
        ...


def status_of(
    snapshot: Snapshot,
    services: Mapping[tuple[str, str], Mapping[str, object]],
    *,
    since: float | None = None,
    refused: Refused | None = None,
    now: float | None = None,
    up_seconds: float | None = None,
) -> dict[str, object]:
    """Return the JSON-compatible status.

    :param services: what open services say of themselves, by (kind, name).
    :param since: since when the configuration is in force.
    :param refused: the newest configuration that was refused, if no good one has followed.
    :param now: the time of now; by default the machine's.
    :param up_seconds: how long the control process runs; by default since this module was imported.
    """
    from kubevip import __version__

    return {
        "node": snapshot.node,
        "instance": snapshot.instance,
        "version": __version__,
        "time": time.time() if now is None else now,  # noqa: TID251 -- shown to people, decides nothing
        "up_seconds": round(time.monotonic() - _STARTED if up_seconds is None else up_seconds, 1),
        "config": {
            "digest": snapshot.config_digest,
            "since": since,
            "refused": None if refused is None else {"at": refused.at, "problems": list(map(str, refused.problems))},
        },
        "fence": _fence(services),
        "elections": [
            _election(it, services.get((it.kind, it.name), it.detail), snapshot)
            for it in snapshot.services
            if it.kind == "election"
        ],
        "groups": [_group(it, snapshot.node) for it in snapshot.groups],
        "vips": [_vip(it) for it in snapshot.vips],
        "listeners": [_listener(it) for it in snapshot.listeners],
        "services": [_service(it, services) for it in snapshot.services],
        "agents": [_service(it, services) for it in snapshot.agents],
        "problems": list(snapshot.problems),
    }


def _fence(services: Mapping[tuple[str, str], Mapping[str, object]]) -> str | None:
    """Return the worst that an announcer says: one address without a fence is what people have to know."""
    said = [str(detail["fence"]) for (kind, _), detail in services.items() if kind == "announcer" and "fence" in detail]
    return min(said, key=lambda fence: not fence.startswith("unfenced"), default=None)


def _election(service: ServiceStatus, detail: Mapping[str, object], snapshot: Snapshot) -> dict[str, object]:
    row: dict[str, object] = {
        "name": service.name,
        "provider": service.provider,
        "state": service.state,
        "problem": service.problem,
        **dict.fromkeys(_ELECTION_KEYS),
        "members": [],
        "warnings": [],
    }
    groups = [it for it in snapshot.groups if it.election == service.name]
    if "leader" not in detail and groups:
        group = max(groups, key=lambda it: it.is_leading)
        row |= {"leader": _leader(group, snapshot.node), "term": group.term or None}
        row["lease_seconds_left"] = _rounded(group.lease_seconds_left)
    return row | dict(detail)


def _leader(group: GroupStatus, node: str) -> str | None:
    return node if group.is_leading else group.leader


def _group(group: GroupStatus, node: str) -> dict[str, object]:
    return {
        **asdict(group),
        "leader": _leader(group, node),
        "lease_seconds_left": _rounded(group.lease_seconds_left),
    }


def _vip(vip: VipStatus) -> dict[str, object]:
    return {
        **asdict(vip),
        "address": str(vip.address),
        "health": {"level": vip.health.level.name.lower(), "reason": vip.health.reason},
    }


def _listener(listener: ListenerStatus) -> dict[str, object]:
    health = listener.health
    return {
        "name": listener.name,
        "on": listener.on,
        "proxy": listener.proxy,
        "is_listening": listener.is_listening,
        "connections": health.connections,
        "problem": health.problem,
        "backends": [
            {"name": str(it.backend), "is_up": it.is_up, "reason": it.reason, "since": it.since}
            for it in health.backends
        ],
    }


def _service(service: ServiceStatus, details: Mapping[tuple[str, str], Mapping[str, object]]) -> dict[str, object]:
    detail = details.get((service.kind, service.name), service.detail)
    return {**asdict(service), "detail": dict(detail)}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
