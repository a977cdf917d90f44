"""What `kubevip status` prints, made of the JSON status (`_status_json` has its form) and nothing else.

Keys that are missing, as from a daemon of another version, are shown as unknown.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

from kubevip._status_values import clock, date, items, millis, number, numbers, one, printable, rows, span, text
from kubevip.control import Client
from kubevip.errors import KubevipError, NoDaemonError, NotPermittedError
from kubevip_keeper._exit_status import BAD_RESULT, NO_DAEMON, NOT_PERMITTED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_TIMEOUT_SECONDS = 5.0
_DIGEST_LENGTH = 8
_MOST_SAID = 30  # lines of one source about its objects
_NOTHING: Mapping[str, object] = MappingProxyType({})


def show(state_dir: Path, *, as_json: bool = False, check: bool = False, ready: bool = False) -> int:
    """Ask the daemon of `state_dir` for its status and print it; return the exit status.

    0; 69 when no daemon answers; 77 when this user may not ask; 1 when it refuses, or with `check` when something is
    degraded (what, is said on stderr with `as_json`, and in the text without). So the text says everything that counts.
    With `ready` 1 only when the node itself does not take part; see `unready`.
    """
    try:
        answer = Client(state_dir, timeout_seconds=_TIMEOUT_SECONDS).request("status")
    except KubevipError as error:
        sys.stderr.write(f"kubevip: {error}\n")
        if isinstance(error, NoDaemonError):
            return NO_DAEMON
        return NOT_PERMITTED if isinstance(error, NotPermittedError) else BAD_RESULT
    status = one({"status": answer}, "status")
    problems = degraded(status)
    sys.stdout.write((json.dumps(status, indent=2) if as_json else render(status, check=check)) + "\n")
    if ready and (missing := unready(status)):
        sys.stderr.writelines(f"kubevip: not ready: {reason}\n" for reason in missing)
        return BAD_RESULT
    if not (check and problems):
        return 0
    for problem in problems if as_json else ():
        sys.stderr.write(f"kubevip: degraded: {problem}\n")
    return BAD_RESULT


def render(status: Mapping[str, object], *, check: bool = False) -> str:
    """Return the whole text, without a line feed at its end.

    :param check: add a line of its own for what is degraded and seen in a table only.
    """
    tables = (_elections(status), _members(status), _vips(status), _listeners(status))
    lines = [*_heading(status), *_waiting(status)]
    for table in tables:
        if len(table) > 1:  # more than the column names
            lines += _aligned(table)
    below = [*_silent_members(status), *_remarks(status), *_down(status)] if check else _remarks(status)
    lines += [f"degraded: {remark}" for remark in below]
    return "\n".join(lines)


def degraded(status: Mapping[str, object]) -> list[str]:
    """Return what is not as it should be, one line each; empty when all is well."""
    return [*_refused(status), *_waiting(status), *_silent_members(status), *_remarks(status), *_down(status)]


def unready(status: Mapping[str, object]) -> list[str]:
    """Return why the node does not take part, one line each: something it needs is not open, or an election waits.

    Nothing else counts, however degraded: a backend that is down, an address or an object that is refused, and a peer
    that is not heard are the same on all nodes, or another's; a roll-out that waited for them would never end.
    """
    closed = [
        f"{text(it, 'kind')} {text(it, 'name')} is {text(it, 'state')}: {text(it, 'problem', 'no reason given')}"
        for it in rows(status, "services")
        if text(it, "state", "open") != "open"
    ]
    return [*_waiting(status), *closed]


def _heading(status: Mapping[str, object]) -> Iterator[str]:
    config = one(status, "config")
    parts = [text(status, "node", "?"), f"kubevip {text(status, 'version', '?')}"]
    parts.append(f"up {span(number(status, 'up_seconds'))}")
    since = number(config, "since")
    now = number(status, "time")
    digest = text(config, "digest")[:_DIGEST_LENGTH] or "-"
    parts.append(f"config {digest}" + (f" since {clock(since, now)}" if since is not None else ""))
    if fence := text(status, "fence"):
        parts.append("unfenced" if fence.startswith("unfenced") else f"fence {fence}")
    yield "  ".join(parts)
    yield from _refused(status)


def _refused(status: Mapping[str, object]) -> Iterator[str]:
    refused = one(one(status, "config"), "refused")
    at = clock(number(refused, "at"), number(status, "time"))
    for problem in items(refused, "problems"):
        yield f"last configuration refused {at}: {printable(problem)}"


def _waiting(status: Mapping[str, object]) -> Iterator[str]:
    for election in rows(status, "elections"):
        waiting = one(election, "waiting")
        members = ", ".join(
            f"{text(it, 'name', '?')} at {text(it, 'address', '?')} ({text(it, 'why', 'no answer')})"
            for it in rows(waiting, "members")
        )
        if members:
            yield f"waiting for {text(waiting, 'for', '1')} of {members}"
        elif said := text(election, "waiting"):
            yield said if said.startswith("waiting") else f"waiting for {said}"


def _elections(status: Mapping[str, object]) -> list[list[str]]:
    table = [["ELECTION", "LEADER", "TERM", "QUORUM", "LEASE LEFT"]]
    for it in rows(status, "elections"):
        left = number(it, "lease_seconds_left")
        table.append(
            [
                text(it, "name", "?"),
                text(it, "leader", "-"),
                text(it, "term", "-"),
                text(it, "quorum", "-"),
                "-" if left is None else f"{max(left, 0):.1f} s",
            ]
        )
    return table


def _members(status: Mapping[str, object]) -> list[list[str]]:
    table = [["MEMBER", "ADDRESS", "STATE", "HEARD", "RTT", "VERSION", "CONFIG"]]
    own = text(one(status, "config"), "digest")[:_DIGEST_LENGTH]
    for election in rows(status, "elections"):
        for it in rows(election, "members"):
            config = text(it, "config")[:_DIGEST_LENGTH]
            differs = "  differs" if config and own and config != own else ""
            table.append(
                [
                    text(it, "name", "?"),
                    text(it, "address", "-"),
                    text(it, "state", "-")
                    + (", witness" if it.get("is_witness") is True else "")
                    + (f": {text(it, 'problem')}" if text(it, "problem") else ""),
                    millis(number(it, "heard_ms")),
                    millis(number(it, "rtt_ms")),
                    text(it, "version", "-"),
                    (config or "-") + differs,
                ]
            )
    return table


def _vips(status: Mapping[str, object]) -> list[list[str]]:
    table = [["VIP", "ADDRESS", "GROUP", "HOLDER", "SINCE", "WHY", "LAST OUTAGE (detect+elect+add+announce)"]]
    for it in rows(status, "vips"):
        holder = text(it, "holder")
        outage = one(it if holder else _NOTHING, "last_outage")  # without a holder the newest one is not over
        parts = "+".join(f"{part:.0f}" for part in numbers(outage, "parts"))
        how = parts or text(outage, "how")
        table.append(
            [
                text(it, "name", "?"),
                text(it, "address", "-"),
                text(it, "group", "-"),
                holder or "-",
                date(number(it, "held_since")),
                text(it, "why", "-"),
                millis(number(outage, "milliseconds")) + (f" ({how})" if how else ""),
            ]
        )
    return table


def _listeners(status: Mapping[str, object]) -> list[list[str]]:
    table = [["LISTENER", "ON", "PROXY", "CONNS", "BACKENDS"]]
    for it in rows(status, "listeners"):
        backends = rows(it, "backends")
        count = f"{sum(backend.get('is_up') is True for backend in backends)}/{len(backends)}"
        down = "; ".join(_down_backends(it, number(status, "time")))
        table.append(
            [
                text(it, "name", "?"),
                text(it, "on", "-"),
                text(it, "proxy", "-"),
                text(it, "connections", "-") if it.get("is_listening") is True else "closed",
                (count if backends else "-") + (f"  {down}" if down else ""),
            ]
        )
    return table


def _down_backends(listener: Mapping[str, object], now: float | None) -> Iterator[str]:
    for it in rows(listener, "backends"):
        if it.get("is_up") is not True:
            since, reason = number(it, "since"), text(it, "reason")
            how_long = f" {span(now - since, units=1)}" if since is not None and now is not None else ""
            yield f"{text(it, 'name', '?')} down{how_long}" + (f": {reason}" if reason else "")


def _down(status: Mapping[str, object]) -> Iterator[str]:
    for it in rows(status, "listeners"):
        for backend in _down_backends(it, number(status, "time")):
            yield f"listener {text(it, 'name', '?')}: {backend}"


def _silent_members(status: Mapping[str, object]) -> Iterator[str]:
    """Name members that the election itself does not see, and those that run with another configuration."""
    own = text(one(status, "config"), "digest")[:_DIGEST_LENGTH]
    for election in rows(status, "elections"):
        for it in rows(election, "members"):
            what = f"election {text(election, 'name', '?')}: member {text(it, 'name', '?')}"
            problem = f" ({text(it, 'problem')})" if text(it, "problem") else ""
            if text(it, "state") in ("", "unreachable", "unknown"):
                yield f"{what} at {text(it, 'address', '?')} is not heard{problem}"
            elif problem:
                yield f"{what} at {text(it, 'address', '?')} is heard and cannot be spoken to{problem}"
            elif (config := text(it, "config")[:_DIGEST_LENGTH]) and own and config != own:
                yield f"{what} has other members, groups, virtual IPs or load balancers in its file ({config})"


def _remarks(status: Mapping[str, object]) -> list[str]:
    """Say what no table shows."""
    remarks = list(map(printable, items(status, "problems")))
    if (fence := text(status, "fence")).startswith("unfenced"):
        remarks.append(f"{fence}; a frozen process may keep its addresses longer than its lease")
    for it in rows(status, "elections"):
        remarks += [f"election {text(it, 'name', '?')}: {printable(warning)}" for warning in items(it, "warnings")]
    for it in (*rows(status, "services"), *rows(status, "agents")):
        state, problem = text(it, "state", "open"), text(it, "problem")
        if state != "open":
            remarks.append(f"{text(it, 'kind')} {text(it, 'name')} is {state}" + (f": {problem}" if problem else ""))
        said = items(one(it, "detail"), "problems")
        remarks += [f"{text(it, 'kind')} {text(it, 'name')}: {printable(problem)}" for problem in said[:_MOST_SAID]]
    for it in rows(status, "vips"):
        health = one(it, "health")
        level, reason = text(health, "level", "good"), text(health, "reason")
        if level != "good":
            remarks.append(f"vip {text(it, 'name')} is {level}: {reason}")
        elif reason:  # nothing that another node would do better
            remarks.append(f"vip {text(it, 'name')}: {reason}")
        if not text(it, "holder"):
            remarks.append(f"vip {text(it, 'name')} has no holder that this node knows of")
    for it in rows(status, "listeners"):
        if problem := text(it, "problem"):
            remarks.append(f"listener {text(it, 'name')} on {text(it, 'on')}: {problem}")
    for it in rows(status, "groups"):
        problem = text(it, "problem")
        if problem and not any(problem in remark for remark in remarks):  # often the reason of one of its addresses
            remarks.append(f"group {text(it, 'name')}: {problem}")
    return remarks


def _aligned(table: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
