"""`kubevip raft keys`: what it makes, that nobody else can read it, and that a CA is replaced without a gap."""

from __future__ import annotations

import builtins
import stat
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from kubevip._cli import main
from kubevip_election_raft._tls.channel import ChannelError, TlsChannel
from kubevip_election_raft._tls.key_store import KeyStore, Step
from kubevip_election_raft._tls.keys import Keys, KeysError, load_keys

FILES = ["ca.crt", "tls.crt", "tls.key"]


def run(*arguments: str) -> int:
    return main(["raft", "keys", *arguments])


@pytest.fixture
def out(tmp_path: Path) -> str:
    folder = tmp_path / "keys"
    assert run("init", "--members", "n1,n2,n3", "--out", str(folder)) == 0
    return str(folder)


def test_one_folder_a_member_and_the_ca_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "keys"
    assert run("init", "--members", "n1, n2,n3", "--out", str(folder)) == 0
    assert sorted(path.name for path in folder.iterdir()) == ["_ca", "n1", "n2", "n3"]
    for name in ("n1", "n2", "n3"):
        assert sorted(path.name for path in (folder / name).iterdir()) == FILES
        assert load_keys(folder / name, name).names == (name,)
    assert sorted(path.name for path in (folder / "_ca").iterdir()) == ["ca.crt", "ca.key"]
    said = capsys.readouterr().out
    assert f"{folder}/n2: for n2; its files belong into /etc/kubevip/pki there" in said
    assert f"{folder}/_ca: signs certificates; keep it safe, and on no member" in said


def test_nobody_else_can_read_what_is_made(out: str) -> None:
    paths = [Path(out), *Path(out).rglob("*")]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in paths}
    assert modes == {path: 0o700 if path.is_dir() else 0o600 for path in paths}


def test_no_key_is_printed(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Scenario 155."""
    run("renew", "--out", out)
    run("show", out)
    said = capsys.readouterr()
    for path in Path(out).rglob("*.key"):
        assert path.read_text().splitlines()[1] not in said.out + said.err


def test_one_more_member_is_believed_by_the_others(out: str) -> None:
    assert run("add", "n4", "--out", out) == 0
    assert meets(load_keys(Path(out, "n4"), "n4"), load_keys(Path(out, "n1"), "n1")) == ""


def test_renewed_keys_are_new_and_of_the_same_ca(out: str) -> None:
    before = {name: load_keys(Path(out, name), name) for name in ("n1", "n2")}
    assert run("renew", "n1", "--out", out) == 0
    after = {name: load_keys(Path(out, name), name) for name in ("n1", "n2")}
    assert after["n1"].certificate != before["n1"].certificate
    assert after["n2"].certificate == before["n2"].certificate
    assert meets(after["n1"], before["n2"]) == ""


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("init", "--members", "n1,n2,n3"), "there are keys already; `add` makes some for one more member"),
        (("add", "n2"), "n2 has keys already; `renew n2` replaces them"),
        (("add", "../n9"), "'../n9' is no name of a node"),
        (("add", "_ca"), "'_ca' is no name of a node"),
        (("renew", "n9"), "n9 has no keys; `add n9` makes some"),
        (("renew", "--ca", "n1"), "--ca is about all members: name none"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    out: str, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    before = {path: path.read_bytes() for path in Path(out).rglob("*.*")}
    assert run(*arguments, "--out", out) == 1
    assert complaint in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path(out).rglob("*.*")} == before


@pytest.mark.parametrize("members", ["", "n1,n1", "n1,,n 2", "n1,ü"])
def test_members_without_proper_names_are_refused_before_anything_is_made(tmp_path: Path, members: str) -> None:
    assert run("init", "--members", members, "--out", str(tmp_path / "keys")) == 1
    assert not (tmp_path / "keys").exists()


def test_a_folder_without_a_ca_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (("add", "n4"), ("renew", "--ca")):
        assert run(*arguments, "--out", str(tmp_path)) == 1
        assert "_ca/ca.key: there is none; `init` makes keys, or name their folder: --out" in capsys.readouterr().err


def test_making_keys_without_the_library_names_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import_module = builtins.__import__

    def refuse(name: str, *arguments: Any, **options: Any) -> Any:
        if name.startswith(("cryptography", "kubevip_election_raft._tls.key_store")):
            raise ImportError("No module named 'cryptography'")
        return import_module(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert run("init", "--members", "n1", "--out", str(tmp_path / "keys")) == 1
    assert "pip install 'kubevip[keys]'" in capsys.readouterr().err


def test_show_tells_whose_keys_they_are_and_needs_no_name(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run("show", out) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(", SHA-256")[0] for line in lines[::2]] == [
        f"{out}/{name}: {name}, valid for ever" for name in ("n1", "n2", "n3")
    ]
    assert len(set(lines[1::2])) == 1
    assert run("show", f"{out}/n1") == 0
    assert capsys.readouterr().out.splitlines() == lines[:2]


def test_show_tells_what_is_wrong(out: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    Path(out, "n2", "tls.key").chmod(0o644)
    assert run("show", out) == 1
    assert f"{out}/n2: refused: {out}/n2/tls.key: others can read it" in capsys.readouterr().out
    assert run("show", f"{out}/nowhere") == 1


# A new CA


def meets(one: Keys, other: Keys) -> str:
    """Let two members meet; return what goes wrong, or ""."""
    asking, serving = TlsChannel(one.client, is_server=False), TlsChannel(other.server, is_server=True)
    try:
        data, has_met = b"", False
        while not has_met:
            has_met = asking.shake(data)
            serving.shake(asking.outgoing())
            data = serving.outgoing()
    except ChannelError as error:
        return str(error)
    return ""


def test_a_new_ca_in_three_steps_and_members_of_two_steps_always_meet(tmp_path: Path) -> None:
    """Scenario 146: in whatever order the copies of a step arrive."""
    store = KeyStore(tmp_path / "keys")
    store.create(("n1", "n2"))

    def all_keys() -> dict[str, Keys]:
        return {name: load_keys(store.folder / name, name) for name in store.members}

    stages = [all_keys()]
    for step in Step:
        assert store.replace_authority() is step
        stages.append(all_keys())
    for before, after in pairwise(stages):
        for one, other in ((before, after), (after, before), (after, after)):
            assert meets(one["n1"], other["n2"]) == ""
            assert meets(other["n2"], one["n1"]) == ""
    assert meets(stages[0]["n1"], stages[-1]["n2"]) == "wrong CA"
    assert store.replace_authority() is Step.TRUSTED  # and so on


def test_a_member_that_is_added_during_the_change_is_believed_by_all(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.create(("n1",))
    for number, _ in enumerate(Step):
        store.replace_authority()
        before = load_keys(store.folder / "n1", "n1")
        store.add(f"m{number}")
        assert meets(load_keys(store.folder / f"m{number}", f"m{number}"), before) == ""


def test_a_step_that_was_interrupted_is_completed(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.create(("n1",))
    store.replace_authority()
    store.replace_authority()
    (store.ca_folder / "next.crt").replace(store.ca_folder / "ca.crt")  # and no further
    store.add("n2")
    assert not (store.ca_folder / "next.key").exists()
    one, two = load_keys(store.folder / "n1", "n1"), load_keys(store.folder / "n2", "n2")
    assert meets(one, two) == ""
    assert one.trusted == two.trusted


def test_a_ca_that_was_tampered_with_is_refused(tmp_path: Path) -> None:
    store = KeyStore(tmp_path / "keys")
    store.create(("n1",))
    (store.ca_folder / "ca.key").write_text("rubbish")
    with pytest.raises(KeysError, match="the key of the CA cannot be read"):
        store.add("n2")
    (store.ca_folder / "ca.crt").write_text("rubbish")
    with pytest.raises(KeysError):
        store.add("n2")
