"""`kubevip raft keys ...`: makes the keys of a group, on any machine and offline; shows those of a folder anywhere."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kubevip_election_raft._config import DEFAULT_PKI
from kubevip_election_raft._tls.keys import CERTIFICATE_FILE, FILES, Keys, KeysError, fingerprints, load_keys

if TYPE_CHECKING:
    from kubevip.control import Client
    from kubevip_election_raft._tls.key_store import KeyStore, Step

_DEFAULT_OUT = "keys"


def configure(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the parser of `keys`."""
    keys = verbs.add_parser("keys", help="make, renew and show the keys with which members speak to each other")
    actions = keys.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")

    init = actions.add_parser("init", help="make a CA, and a folder of keys for each member")
    init.add_argument("--members", required=True, metavar="NAMES", help="node names, separated by commas: n1,n2,n3")
    init.set_defaults(carry_out_verb=_init)

    add = actions.add_parser("add", help="make a folder of keys for one more member")
    add.add_argument("names", nargs="+", metavar="NAME")
    add.set_defaults(carry_out_verb=_add)

    renew = actions.add_parser("renew", help="make new keys for members, or take the next step towards a new CA")
    renew.add_argument("names", nargs="*", metavar="NAME", help="default: all that have keys")
    renew.add_argument("--ca", action="store_true", help="do the next of three steps; copy the folders after each")
    renew.set_defaults(carry_out_verb=_renew)

    for command in (init, add, renew):
        command.add_argument("--out", metavar="DIR", default=_DEFAULT_OUT, help=f"default: {_DEFAULT_OUT}")

    show = actions.add_parser("show", help="show whose keys are in a folder, and what is wrong with them")
    show.add_argument("folder", nargs="?", metavar="DIR", default=str(DEFAULT_PKI), help=f"default: {DEFAULT_PKI}")
    show.set_defaults(carry_out_verb=_show)


def _init(args: argparse.Namespace, client: Client) -> int:
    names = [name.strip() for name in str(args.members).split(",") if name.strip()]
    store = _open(args)
    store.create(names)
    for name in names:
        _say(store.folder / name, name)
    print(f"{store.ca_folder}: signs certificates; keep it safe, and on no member")
    return 0


def _add(args: argparse.Namespace, client: Client) -> int:
    store = _open(args)
    for name in args.names:
        _say(store.add(name), name)
    return 0


def _renew(args: argparse.Namespace, client: Client) -> int:
    store = _open(args)
    if args.ca:
        if args.names:
            raise KeysError("--ca is about all members: name none")
        step = store.replace_authority()
        print(f"step {step.value} of 3: {_what_follows(step)}")
        return 0
    for name in args.names or store.members:
        _say(store.renew(name), name)
    return 0


def _show(args: argparse.Namespace, client: Client) -> int:
    folder = Path(args.folder)
    is_of_one = any((folder / file).exists() for file in FILES)
    folders = [folder] if is_of_one else sorted(path.parent for path in folder.glob(f"*/{CERTIFICATE_FILE}"))
    if not folders:
        raise KeysError(f"{folder}: there are no keys")
    problems = 0
    for each in folders:
        try:
            keys = load_keys(each, None if is_of_one else each.name)
        except KeysError as error:
            print(f"{each}: refused: {error}")
            problems += 1
            continue
        print(*_lines(keys), sep="\n")
        problems += len(keys.warnings)
    return 1 if problems else 0


def _lines(keys: Keys) -> Iterator[str]:
    until = "for ever" if keys.valid_until is None else f"until {keys.valid_until:%Y-%m-%d %H:%M} UTC"
    yield f"{keys.folder}: {', '.join(keys.names)}, valid {until}, SHA-256 {fingerprints(keys.certificate)[0]}"
    for fingerprint in fingerprints(keys.trusted):
        yield f"  trusts the CA {fingerprint}"
    for warning in keys.warnings:
        yield f"  warning: {warning}"


def _open(args: argparse.Namespace) -> KeyStore:
    try:
        from kubevip_election_raft._tls.key_store import KeyStore
    except ImportError as error:
        raise KeysError(
            f"making keys needs the library cryptography, on this machine alone: pip install 'kubevip[keys]' ({error})"
        ) from None
    return KeyStore(Path(args.out))


def _say(folder: Path, name: str) -> None:
    print(f"{folder}: for {name}; its files belong into {DEFAULT_PKI} there")


def _what_follows(step: Step) -> str:
    match step.value:
        case 1:
            return "members will trust the old CA and the new one. Copy the folders to all of them, then do step 2"
        case 2:
            return "every member has a certificate of the new CA. Copy the folders to all of them, then do step 3"
        case _:
            return "members will trust the new CA alone. Copy the folders to all of them, and that is it"
