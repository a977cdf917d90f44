"""Interaction scripts: each file of `testdata` is replayed, and every word of the transcript is compared.

KUBEVIP_REWRITE=1 writes what happens into the files. Commit the change only if you understand what caused it.

A script is a list of blocks: a command, `----`, what happened. Commands: `group N [first=nX] [fitness=N] [groups=a,b]`,
`run T`, `quiet T` (runs, and says nothing), `wait T` (time passes, messages stay in flight), `deliver [FROM->TO]`,
`drop [FROM->TO]`, `cut nX`, `cut nX->nY`, `heal`, `crash nX`, `restart nX`, `fitness nX N|none`, `leave nX`,
`move nX GROUP nY`, `resign nX`, `keep nX` (it does not withdraw), `withdraw nX`, `hint nX nY`, `goodbye nX`,
`suspend nX`, `status`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kubevip_election_raft._consensus.messages import Goodbye

from .group import Group, InFlight

SCRIPTS = sorted((Path(__file__).parent / "testdata").glob("*.txt"))


class Session:
    """Runs the commands of one script."""

    def __init__(self) -> None:
        self._group = Group(1)
        self._said: list[str] = []

    def run(self, command: str) -> str:
        """Return what happens on `command`."""
        self._said = []
        verb, *words = command.split()
        action: Callable[..., None] = getattr(self, f"_on_{verb}")
        action(*words)
        return "\n".join(self._said) or "nothing"

    def _tell(self, name: str, line: str) -> None:
        self._said.append(f"{self._group.now * 1000:5.0f} {name} {line}")

    def _on_group(self, size: str, *options: str) -> None:
        given = dict(option.split("=") for option in options)
        self._group = Group(
            int(size),
            stands_first=given.get("first"),
            fitness=int(given.get("fitness", "100")),
            groups=tuple(given.get("groups", "g").split(",")),
        )
        self._group._told = self._tell

    def _on_run(self, span: str) -> None:
        self._group.advance(_seconds(span))

    def _on_quiet(self, span: str) -> None:
        self._group.advance(_seconds(span))
        self._said.clear()

    def _on_wait(self, span: str) -> None:
        self._group.advance(_seconds(span), delivers=False)

    def _on_deliver(self, link: str = "") -> None:
        sender, _, to = link.partition("->")
        self._group.deliver(self._group.take(sender=sender or None, to=to or None))

    def _on_drop(self, link: str = "") -> None:
        sender, _, to = link.partition("->")
        for flying in self._group.take(sender=sender or None, to=to or None):
            self._tell(flying.sender.name, f"is not heard by {flying.to}")

    def _on_cut(self, link: str) -> None:
        if "->" in link:
            sender, _, to = link.partition("->")
            self._group.blocked.add((sender, to))
        else:
            self._group.cut_off(link)

    def _on_heal(self) -> None:
        self._group.heal()

    def _on_crash(self, name: str) -> None:
        self._group.crash(name)

    def _on_restart(self, name: str) -> None:
        self._group.restart(name)

    def _on_fitness(self, name: str, fitness: str) -> None:
        self._group.offer(name, None if fitness == "none" else int(fitness))

    def _on_leave(self, name: str) -> None:
        self._group.offer(name, is_leaving=True, request=1)

    def _on_move(self, name: str, group: str, to: str) -> None:
        refusal = self._group[name].move(group, to, self._group.now)
        self._tell(name, refusal or f"moves {group} to {to}")
        self._group.do(name, lambda node, now: node.tick(now))

    def _on_resign(self, name: str) -> None:
        self._group.do(name, lambda node, now: node.resign(now))

    def _on_keep(self, name: str) -> None:
        self._group.members[name].is_withdrawing = False

    def _on_withdraw(self, name: str) -> None:
        self._group.members[name].is_withdrawing = True
        self._group.do(name, lambda node, now: node.release_leaving(tuple(node.state.leaving), now))

    def _on_goodbye(self, name: str) -> None:
        self._group.crash(name)
        process = self._group[name].process
        for other in self._group.names:
            if other != name:
                self._group.in_flight.append(InFlight(sender=process, to=other, message=Goodbye()))

    def _on_hint(self, name: str, peer: str) -> None:
        self._group.do(name, lambda node, now: node.disconnected(peer, now))

    def _on_suspend(self, name: str) -> None:
        self._group.do(name, lambda node, now: node.suspended(now))

    def _on_status(self) -> None:
        for name, member in self._group.members.items():
            state = member.node.state
            leases = [
                f" holds {group} for {(holding.until - self._group.now) * 1000:.0f} ms"
                for group, holding in state.holdings.items()
                if holding.until > self._group.now
            ]
            up = f"{state.role.value} term={state.term} leader={state.leader}{''.join(leases)}"
            self._said.append(f"      {name} {up if member.is_up else 'down'}")


def _seconds(span: str) -> float:
    return float(span.removesuffix("ms")) / 1000


def replay(text: str) -> str:
    """Return the script with what really happens."""
    session, blocks = Session(), list[str]()
    for block in text.strip().split("\n\n"):
        lines = block.splitlines()
        comments = [line for line in lines if line.startswith("#")]
        commands = [line for line in lines[len(comments) :] if line]
        if not commands:
            blocks.append(block)
            continue
        blocks.append("\n".join([*comments, commands[0], "----", session.run(commands[0])]))
    return "\n\n".join(blocks) + "\n"


@pytest.mark.parametrize("script", SCRIPTS, ids=[script.stem for script in SCRIPTS])
def test_what_happens_is_what_the_script_says(script: Path) -> None:
    text = script.read_text()
    happened = replay(text)
    if os.environ.get("KUBEVIP_REWRITE"):
        script.write_text(happened)
    else:
        assert happened == text


def test_there_are_scripts() -> None:
    assert [script.stem for script in SCRIPTS] == [
        "campaign",
        "check_quorum",
        "fitness",
        "goodbye",
        "pre_vote",
        "replication",
        "split_vote",
        "spread",
        "succession",
        "transfer",
    ]
