"""`kubevip raft ...`: one module for each group of verbs, which adds its own parser."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from kubevip_election_raft._commands import keys, members, recover

if TYPE_CHECKING:
    from kubevip.control import Client

#: Each adds parsers whose default `carry_out_verb` is a function like `run` below.
GROUPS = (keys.configure, members.configure, recover.configure)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the parsers of all verbs."""
    verbs = parser.add_subparsers(dest="raft_command", required=True, metavar="COMMAND")
    for add in GROUPS:
        add(verbs)
    for verb in verbs.choices.values():  # as people write it: `kubevip raft list --instance blue`
        for option in ("--instance", "--state-dir"):
            verb.add_argument(option, default=argparse.SUPPRESS, help=argparse.SUPPRESS)


def run(args: argparse.Namespace, client: Client) -> int:
    """Carry out a verb; returns the exit status.

    :raises KubevipError: when it cannot be carried out.
    """
    return int(args.carry_out_verb(args, client))
