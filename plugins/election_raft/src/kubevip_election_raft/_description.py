"""What a member would do here, for `kubevip check` and `kubevip plan`."""

from __future__ import annotations

from collections.abc import Iterator

from kubevip import Description, Outlook, Place, Problem, Severity
from kubevip_election_raft._config import MemberConfig, RaftConfig
from kubevip_election_raft._tls.keys import KeysError, NoKeysError, load_keys
from kubevip_election_raft._wire.sockets import Endpoint

#: A graceful hand-over, as the lab measures it at most.
STOP_MS = 15


def describe(config: RaftConfig, outlook: Outlook) -> Description:
    """Say how the member votes, listens and how long clients wait; what is wrong is at its place in the section."""
    own = next((member for member in config.members if member.name == outlook.node_name), None)
    names = " ".join(member.name for member in config.members)
    if own is None:
        return Description(
            lines=(f"{outlook.node_name} is not a member ({names})",),
            problems=(_problem(f"node {outlook.node_name} is none of {names}; name it with --node", "members"),),
        )
    problems: list[Problem] = []
    position = config.members.index(own)
    if not outlook.machine.device_of(own.address):
        problems.append(
            _problem(
                f"{own.address} is not an address of this machine",
                "members",
                position,
                "address",
                severity=Severity.WARNING,
            )
        )
    if len(config.members) == 1:
        line = f"{own.name} alone, quorum 1, listens nowhere"
        return Description(lines=(line, "client waits: node lost = no VIP"), problems=tuple(problems))
    is_plain = config.insecure or outlook.allow_insecure
    if not is_plain:
        problems += _problems_of_keys(config, own, outlook)
    endpoint = Endpoint(address=own.address, port=config.port_of(own))
    quorum = len(config.members) // 2 + 1
    how = "plain TCP" if is_plain else "mTLS"
    role = ", witness" if own.witness else ""
    peers = " ".join(str(member.address) for member in config.members if member is not own)
    timing = config.time_spans
    soonest = timing.promise_seconds - timing.jitter_seconds / 2
    latest = timing.promise_seconds + timing.rank_seconds + timing.jitter_seconds + 0.010
    return Description(
        lines=(
            f"{own.name} of {names}{role}, quorum {quorum}, listens {endpoint}/tcp ({how})",
            f"client waits: stop {STOP_MS} ms, node lost {_round(soonest)}-{_round(latest)} ms; no quorum = no VIP",
        ),
        firewall=(f"in {endpoint.port}/tcp from {peers}",),
        problems=tuple(problems),
        holds_nothing=own.witness,
    )


def no_keys(config: RaftConfig, name: str, error: KeysError) -> str:
    """Say why there are no keys to speak with, and what to do about it."""
    if not isinstance(error, NoKeysError):
        return str(error)
    names = ",".join(member.name for member in config.members)
    return (
        f"{error}: make them anywhere with `kubevip raft keys init --members {names} --out keys` and copy keys/{name} "
        "there; or start with --insecure (or `insecure: true`) if the network between members is trusted, and plain "
        "TCP will do"
    )


def _problems_of_keys(config: RaftConfig, own: MemberConfig, outlook: Outlook) -> Iterator[Problem]:
    """Judge the keys on this machine, which need not be there where the plan is another machine's."""
    path = "members" if config.pki is None else "pki"
    try:
        keys = load_keys(config.pki_folder, own.name)
    except KeysError as error:
        is_here = bool(outlook.machine.device_of(own.address))
        severity = Severity.ERROR if is_here else Severity.WARNING
        yield _problem(no_keys(config, own.name, error), path, severity=severity)
        return
    for warning in keys.warnings:
        yield _problem(warning, path, severity=Severity.WARNING)


def _round(seconds: float) -> int:
    return round(seconds * 100) * 10


def _problem(message: str, *path: str | int, severity: Severity = Severity.ERROR) -> Problem:
    return Problem(place=Place(file="", path=path), message=message, severity=severity)
