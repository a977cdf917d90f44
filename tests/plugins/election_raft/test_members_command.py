"""`kubevip raft list|add|remove|replace`: what is asked of the daemon, and what is printed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import pytest

from kubevip_election_raft._commands import raft


class FakeClient:
    """A daemon that answers whatever is asked."""

    def __init__(self, answer: object) -> None:
        self.answer, self.asked = answer, list[tuple[str, dict[str, object], object]]()

    def request(self, verb: str, args: Mapping[str, object], target: object) -> object:
        self.asked.append((verb, dict(args), target))
        return self.answer


def run(client: Any, *words: str) -> int:
    parser = argparse.ArgumentParser()
    raft.configure(parser)
    return raft.run(parser.parse_args(words), client)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        (
            ("add", "n4", "--address", "192.0.2.4"),
            ("add", {"name": "n4", "address": "192.0.2.4", "port": 10000, "witness": False}, ("election", "raft")),
        ),
        (
            ("add", "n4", "--address", "192.0.2.4", "--port", "7", "--witness", "--election", "vips"),
            ("add", {"name": "n4", "address": "192.0.2.4", "port": 7, "witness": True}, ("election", "vips")),
        ),
        (("remove", "n3"), ("remove", {"name": "n3"}, ("election", "raft"))),
        (("replace", "n3"), ("replace", {"name": "n3"}, ("election", "raft"))),
    ],
)
def test_a_change_is_asked_of_the_daemon_and_its_words_are_printed(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], asked: object
) -> None:
    client = FakeClient("done")
    assert run(client, *words) == 0
    assert client.asked == [asked]
    assert capsys.readouterr().out == "done\n"


def test_list_prints_a_line_for_each_member(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "n1", "address": "192.0.2.1:10000", "state": "leader"}
    assert run(FakeClient({"members": [row]}), "list") == 0
    assert capsys.readouterr().out == "n1\t192.0.2.1:10000\tleader\n"


def test_list_says_who_is_a_witness(capsys: pytest.CaptureFixture[str]) -> None:
    row = {"name": "n3", "address": "192.0.2.3:10000", "state": "follower", "is_witness": True}
    assert run(FakeClient({"members": [row]}), "list") == 0
    assert capsys.readouterr().out == "n3\t192.0.2.3:10000\tfollower, witness\n"


def test_the_daemon_may_be_named_before_the_verb_and_after_it() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--instance")
    parser.add_argument("--state-dir")
    raft.configure(parser)
    place = ["--instance", "blue", "--state-dir", "/d"]
    for words in ([*place, "list"], ["list", *place]):
        args = parser.parse_args(words)
        assert (args.instance, args.state_dir) == ("blue", "/d")
