"""What somebody ought to do about the members, in words: for `kubevip status` and, once, for the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from kubevip_election_raft._consensus.entries import MemberRecord
from kubevip_election_raft._consensus.introductions import Membership, Met
from kubevip_election_raft._consensus.node import Node
from kubevip_election_raft._wire.sockets import Endpoint

logger = logging.getLogger("kubevip.raft")


class Notices:
    """Logs what is to be noticed when it is new."""

    def __init__(self) -> None:
        self._logged: frozenset[str] = frozenset()
        self._looked_at: tuple[object, ...] = ()

    def look(self, node: Node, own: Endpoint, now: float) -> None:
        """Log what there is to notice now and was not before. Cheap while nobody introduces himself."""
        sources = (node.introductions.count, id(node.records), node.removed_by)
        if sources == self._looked_at:
            return
        self._looked_at = sources
        notices = frozenset(filter(None, (waits(node, own), *of_others(node, now))))
        for notice in sorted(notices - self._logged):
            logger.warning("%s", notice)
        self._logged = notices


def waits(node: Node, own: Endpoint) -> str:
    """Say what this member, which listens at `own`, waits for that a human has to do; "" if nothing."""
    name = node.process.name
    add = f"on a member, kubevip raft add {name} --address {own.address}"
    match node.membership:
        case Membership.STRANGER:
            return f"waiting to be added: {add}"
        case Membership.REPLACED:
            return (
                f"waiting to be replaced: the group knows {name} with another disk, which was lost, or another "
                f"machine: on a member, kubevip raft replace {name}"
            )
        case Membership.REMOVED:
            return (
                f"waiting in vain: {name} was removed from the group, as {node.removed_by} says: stop this daemon, or "
                f"take it in again: {add}"
            )
        case _:
            return ""


def of_others(node: Node, now: float) -> Iterator[str]:
    """Say what is to be noticed of others."""
    if node.membership is Membership.ASKS:
        own = node.introductions.listed
        for name, listed in node.introductions.differing.items():
            theirs, ours = _show(listed, own)
            yield f"{name} lists {theirs}; {node.process.name} lists {ours}: members found a group if their lists agree"
    elif node.membership is Membership.MEMBER:
        births = {record.name: record.birth for record in node.records}
        for met in node.introductions.newest(now):
            if met.process.name not in births:
                yield _application(met)
        for name in node.introductions.with_another_disk(births):
            yield f"{name} has another disk than before, or is another machine: kubevip raft replace {name}"


def _application(met: Met) -> str:
    """Say what somebody wants who is no member."""
    name, introduction = met.process.name, met.introduction
    address = next((record.address for record in introduction.members if record.name == name), met.source)
    add = f"kubevip raft add {name} --address {address or 'ADDRESS'}"
    if introduction.has_state:
        return f"{name} is no member any more, and still runs: stop it, or {add}"
    return f"{name} asks to be added: {add}"


def _show(theirs: Sequence[MemberRecord], ours: Sequence[MemberRecord]) -> tuple[str, str]:
    """Return two lists in words: names, and where they listen if that is the difference."""
    is_same = {record.name for record in theirs} == {record.name for record in ours}

    def show(records: Sequence[MemberRecord]) -> str:
        return ", ".join(
            f"{record.name} at {record.address}:{record.port}{' (witness)' if record.is_witness else ''}"
            if is_same
            else record.name
            for record in records
        )

    return show(theirs), show(ours)
