"""Epochs: how a group whose majority is lost for good goes on without it, and how those of before join it again.

The first epoch is 0. `recovered` begins the next one, with members that a human named, from what one of them has on its
disk; every frame bears the epoch of its sender. A member that hears of a later epoch than its own was given up: it
holds nothing any more, keeps its old state aside, and goes on as `joining`: without a vote, and without ever standing,
until a member of the later epoch tells it who the members are. So of two epochs only the later one goes on as soon as
they hear each other; before that only the word of the human stands between them.

No two recoveries make the same epoch, so that of two by mistake one wins.
"""

from __future__ import annotations

from collections.abc import Collection
from random import Random

from attrs import evolve

from kubevip_election_raft._consensus.entries import HardState, MemberRecord, Saved, Snapshot

#: An epoch is so many times the number of recoveries before it, plus a number by chance.
EPOCH_STEP = 2**20


def count_of(epoch: int) -> int:
    """Return how many recoveries led to `epoch`, which is what people are told."""
    return epoch // EPOCH_STEP


def members_of(saved: Saved) -> tuple[MemberRecord, ...]:
    """Return the members that a state names last, committed or not; none when it names none."""
    state = saved.snapshot.state.after(saved.entries)
    return state.members


def recovered(saved: Saved, *, own: str, keep: Collection[str], rng: Random) -> Saved:
    """Return the state with which the member `own` goes on in the next epoch, in which only `keep` are members.

    Everything in its log counts as agreed from now on: nobody is left who could say otherwise. Others of `keep` join it
    without what they have on their disks.

    :raises ValueError: when `own` is not to be kept, or one to be kept is not a member; the text says which.
    """
    records = members_of(saved)
    names = [record.name for record in records]
    if not names:
        raise ValueError("its state names no members: the group never had a leader, and there is nothing to recover")
    if own not in keep:
        raise ValueError(f"this is {own}, which has to be among those that are kept")
    if unknown := sorted(set(keep) - set(names)):
        raise ValueError(f"{', '.join(unknown)}: no member (members: {', '.join(names)})")
    kept = tuple(record if record.name == own else evolve(record, birth=0) for record in records if record.name in keep)
    last_index = saved.entries[-1].index if saved.entries else saved.snapshot.index
    last_term = saved.entries[-1].term if saved.entries else saved.snapshot.term
    index, term = last_index + 1, max(saved.hard_state.term, last_term) + 1
    state = evolve(saved.snapshot.state.after(saved.entries), members=kept, members_index=index)
    epoch = (count_of(saved.hard_state.epoch) + 1) * EPOCH_STEP + rng.randrange(EPOCH_STEP)
    return Saved(
        hard_state=evolve(saved.hard_state, term=term, vote=None, epoch=epoch),
        snapshot=Snapshot(index=index, term=term, state=state),
    )


def joining(saved: Saved, *, own: str, epoch: int, known: Collection[MemberRecord]) -> Saved:
    """Return the state with which `own` waits to be taken into `epoch`: it hears `known`, and is no member itself.

    What it may have promised is still heeded: it keeps silent for as long as before.
    """
    others = tuple(evolve(record, birth=0) for record in known if record.name != own)
    before = saved.hard_state
    return Saved(
        hard_state=HardState(promise_seconds=before.promise_seconds, epoch=epoch),
        snapshot=Snapshot(state=evolve(saved.snapshot.state, placements={}, members=others, members_index=0)),
    )
