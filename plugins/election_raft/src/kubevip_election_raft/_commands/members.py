"""`kubevip raft list|add|remove|replace`: the members of a running group, asked of any of them."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from kubevip_election_raft._config import DEFAULT_PORT

if TYPE_CHECKING:
    from kubevip.control import Client


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parsers of the verbs."""
    show = verbs.add_parser("list", help="show the members as the group knows them")
    show.set_defaults(carry_out_verb=_list)
    add = verbs.add_parser("add", help="add a member, which runs already or will soon")
    add.add_argument("name", help="its node name")
    add.add_argument("--address", required=True, help="where it listens for the others")
    add.add_argument("--port", type=int, default=int(DEFAULT_PORT), help=f"default: {DEFAULT_PORT}")
    add.add_argument("--witness", action="store_true", help="it votes, and holds nothing")
    remove = verbs.add_parser("remove", help="remove a member; what it holds goes elsewhere first")
    remove.add_argument("name", help="its node name")
    replace = verbs.add_parser("replace", help="take a member that lost its disk, or another machine, for it")
    replace.add_argument("name", help="its node name")
    for parser in (add, remove, replace):
        parser.set_defaults(carry_out_verb=_change)
    for parser in (show, add, remove, replace):
        parser.add_argument("--election", metavar="NAME", default="raft", help="default: raft")


def _list(args: argparse.Namespace, client: Client) -> int:
    answer: Any = client.request("list", {}, ("election", args.election))  # as `RaftElection.request` makes it
    for row in answer["members"]:
        witness = ", witness" if row.get("is_witness") else ""
        print(f"{row['name']}\t{row['address']}\t{row['state']}{witness}")
    return 0


def _change(args: argparse.Namespace, client: Client) -> int:
    fields = ("name", "address", "port", "witness")
    given = {name: getattr(args, name) for name in fields if hasattr(args, name)}
    print(client.request(args.raft_command, given, ("election", args.election)))
    return 0
