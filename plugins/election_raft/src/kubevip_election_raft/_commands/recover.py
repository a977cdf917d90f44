"""`kubevip raft recover`: go on with those that are left when a majority is lost for good. The daemon is stopped."""

from __future__ import annotations

import argparse
from random import SystemRandom
from typing import TYPE_CHECKING

from kubevip.errors import ElectionError, NoDaemonError
from kubevip_election_raft._consensus.epoch import count_of, members_of, recovered
from kubevip_election_raft._disk.storage import Storage, owner_of

if TYPE_CHECKING:
    from kubevip.control import Client


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of the verb."""
    recover = verbs.add_parser(
        "recover", help="go on without a majority that is lost for good; with the daemon stopped"
    )
    recover.add_argument("--keep", required=True, metavar="NAMES", help="who is left, this one included: n1 or n1,n2")
    recover.add_argument("--yes", action="store_true", help="do not ask")
    recover.set_defaults(carry_out_verb=_recover)


def _recover(args: argparse.Namespace, client: Client) -> int:
    """Begin the next epoch with the state of this machine.

    :raises ElectionError: when the daemon runs, the state cannot be used, or it was not confirmed.
    """
    try:
        client.request("status")
    except NoDaemonError:
        pass
    else:
        raise ElectionError("the daemon of this machine runs: stop it, recover, and start it again")
    folder = client.path.parent / "raft"
    cluster, own = owner_of(folder)
    storage = Storage(folder, cluster=cluster, member=own)
    keep = [name.strip() for name in str(args.keep).split(",") if name.strip()]
    with storage.locked():
        saved = storage.load()
        try:
            new = recovered(saved, own=own, keep=keep, rng=SystemRandom())
        except ValueError as error:
            raise ElectionError(f"{storage.path}: {error}") from None
        given_up = [record.name for record in members_of(saved) if record.name not in keep]
        kept = [record.name for record in members_of(new)]
        print(f"{cluster}: goes on with {', '.join(kept)}; given up: {', '.join(given_up) or 'nobody'}.")
        print("Whoever is given up must be off: as long as those can reach each other, an address may be held twice.")
        if not args.yes and _answer(own) != own:
            raise ElectionError("not confirmed; nothing was changed")
        aside = storage.replace(new, f"state.epoch-{count_of(saved.hard_state.epoch)}")
    print(f"Epoch {count_of(new.hard_state.epoch)}; the state of before is kept as {aside}. Start the daemon now.")
    return 0


def _answer(own: str) -> str:
    try:
        return input(f"Type {own} to go on: ").strip()
    except EOFError:
        return ""
