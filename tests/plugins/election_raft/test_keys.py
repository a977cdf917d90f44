"""The files of a member: which are good, what is said of the others, and how new ones are taken over."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID

from kubevip_election_raft._tls.authority import new_authority
from kubevip_election_raft._tls.channel import PlainChannel, TlsChannel
from kubevip_election_raft._tls.keyring import Keyring
from kubevip_election_raft._tls.keys import KeysError, NoKeysError, load_keys

from .certificates import make_keys, make_own


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("pki") / "keys")


@pytest.fixture
def keys(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made, tmp_path / "keys")
    return tmp_path / "keys"


def test_keys_of_another_tool_are_as_good(tmp_path: Path) -> None:
    loaded = load_keys(make_own(tmp_path / "own", "n1", "n1.example"), "n1")
    assert loaded.names == ("n1", "n1.example")


def test_no_keys_at_all_are_told_from_some_that_are_missing(tmp_path: Path, keys: Path) -> None:
    with pytest.raises(NoKeysError, match=r"there are no keys \(ca\.crt, tls\.crt, tls\.key\)"):
        load_keys(tmp_path / "nowhere", "n1")
    (keys / "n1" / "tls.key").unlink()
    with pytest.raises(KeysError, match=r"n1/tls\.key: there is none; copy the whole folder") as caught:
        load_keys(keys / "n1", "n1")
    assert not isinstance(caught.value, NoKeysError)


@pytest.mark.parametrize(
    ("file", "mode", "complaint"),
    [
        ("tls.key", 0o640, r"n1/tls\.key: others can read it \(mode 0640\): chmod 600 "),
        ("tls.key", 0o604, "others can read it"),
        ("tls.crt", 0o620, r"tls\.crt: others can replace it \(mode 0620\): chmod 644 "),
        ("ca.crt", 0o666, r"ca\.crt: others can replace it"),
    ],
)
def test_a_key_that_others_read_and_files_that_others_write_are_refused(
    keys: Path, file: str, mode: int, complaint: str
) -> None:
    (keys / "n1" / file).chmod(mode)
    with pytest.raises(KeysError, match=complaint):
        load_keys(keys / "n1", "n1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_files_of_another_user_are_refused(keys: Path) -> None:
    os.chown(keys / "n1" / "ca.crt", 12345, -1)
    with pytest.raises(KeysError, match=r"ca\.crt: user 12345 owns it and can replace it: chown 0 "):
        load_keys(keys / "n1", "n1")


def test_the_keys_of_another_member_are_refused_by_name(keys: Path) -> None:
    with pytest.raises(KeysError, match=r"tls\.crt: it is the certificate of n2, and this is n1; copy the keys"):
        load_keys(keys / "n2", "n1")


def test_a_key_of_another_certificate_is_refused(keys: Path) -> None:
    shutil.copy(keys / "n2" / "tls.key", keys / "n1" / "tls.key")
    with pytest.raises(KeysError, match=r"tls\.key does not belong to tls\.crt"):
        load_keys(keys / "n1", "n1")


@pytest.mark.parametrize("text", ["", "rubbish", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ü"])
def test_files_that_hold_something_else_are_refused(keys: Path, text: str) -> None:
    for file, complaint in (
        ("tls.crt", "cannot be read as PEM"),
        ("tls.key", "cannot be read as PEM"),
        ("ca.crt", "no certificate of a CA in it that can be read"),
    ):
        before = (keys / "n1" / file).read_bytes()
        (keys / "n1" / file).write_text(text)
        with pytest.raises(KeysError, match=complaint):
            load_keys(keys / "n1", "n1")
        (keys / "n1" / file).write_bytes(before)


def test_what_is_no_file_or_too_large_is_refused(keys: Path) -> None:
    (keys / "n1" / "ca.crt").write_bytes(b"#" * (256 * 1024 + 1))
    with pytest.raises(KeysError, match=r"ca\.crt: it is no file of a plausible size"):
        load_keys(keys / "n1", "n1")
    (keys / "n1" / "ca.crt").unlink()
    (keys / "n1" / "ca.crt").mkdir()
    with pytest.raises(KeysError, match="no file"):
        load_keys(keys / "n1", "n1")


def test_an_encrypted_key_is_refused_and_asks_nobody(keys: Path) -> None:
    path = keys / "n1" / "tls.key"
    key = load_pem_private_key(path.read_bytes(), None)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")))
    with pytest.raises(KeysError, match="the key is encrypted, and nobody is there to type a password"):
        load_keys(keys / "n1", "n1")


def test_a_certificate_that_no_peer_would_accept_is_refused_before_one_does(tmp_path: Path) -> None:
    other = make_own(tmp_path / "other", "n1")
    (other / "ca.crt").write_bytes(new_authority().certificate)
    with pytest.raises(KeysError, match=r"no peer would accept it: no CA in ca\.crt has signed it"):
        load_keys(other, "n1")
    for_one_side = make_own(tmp_path / "server", "n1", usages=[ExtendedKeyUsageOID.SERVER_AUTH])
    with pytest.raises(KeysError, match="for both sides of a connection"):
        load_keys(for_one_side, "n1")
    expired = make_own(tmp_path / "expired", "n1", last=datetime(2001, 1, 1, tzinfo=UTC))
    with pytest.raises(KeysError, match="it has expired; renew it"):
        load_keys(expired, "n1")


def test_a_name_counts_as_a_dns_name_only(tmp_path: Path) -> None:
    with pytest.raises(KeysError, match="it is the certificate of nobody, and this is n1"):
        load_keys(make_own(tmp_path / "common-name"), "n1")
    with pytest.raises(KeysError, match="of nobody"):
        load_keys(make_own(tmp_path / "mail", "n1", alternative=x509.RFC822Name), "n1")
    with pytest.raises(KeysError, match=r"of \*"):
        load_keys(make_own(tmp_path / "star", "*"), "n1")


def test_what_expires_soon_and_a_cas_key_on_a_member_are_warned_of(tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(days=7)
    folder = make_own(tmp_path / "own", "n1", last=soon)
    (folder / "ca.key").touch()
    key, expiry = load_keys(folder, "n1").warnings
    assert "ca.key: whoever reads it can vote as any member; keep it on no member" in key
    assert f"expires at {soon:%Y-%m-%d %H:%M} UTC" in expiry


def test_secrets_do_not_show(keys: Path) -> None:
    """Scenario 155."""
    secret = (keys / "n1" / "tls.key").read_text().splitlines()[1]
    assert secret not in repr(load_keys(keys / "n1", "n1"))
    assert secret not in repr(new_authority())


# The keyring


def copy(source: Path, target: Path) -> None:
    """Replace the files of a member as one who copies them does: one after the other."""
    for path in sorted(source.iterdir()):
        shutil.copy(path, target / path.name)


def test_new_keys_are_taken_over_once_they_have_come_to_rest(keys: Path, tmp_path: Path) -> None:
    keyring = Keyring.load(keys / "n1", "n1")
    assert not keyring.refresh()
    other = make_keys(tmp_path / "other")
    copy(other / "n1", keys / "n1")
    assert [keyring.refresh() for _ in range(4)] == [False, True, False, False]
    assert keyring.problem == ""
    keys_in_use = keyring._keys
    assert keys_in_use is not None
    assert keys_in_use.trusted == (other / "n1" / "ca.crt").read_text()


def test_bad_keys_are_not_taken_over_and_said_to_be(keys: Path, caplog: pytest.LogCaptureFixture) -> None:
    keyring = Keyring.load(keys / "n1", "n1")
    before = keyring._keys
    shutil.copy(keys / "n2" / "tls.crt", keys / "n1" / "tls.crt")
    assert [keyring.refresh() for _ in range(4)] == [False] * 4
    assert keyring._keys is before
    assert "new keys are not used: " in keyring.warnings[0]
    assert caplog.text.count("new keys are not used") == 1
    shutil.copy(keys / "n2" / "tls.key", keys / "n1" / "tls.key")  # good ones, of another
    assert [keyring.refresh() for _ in range(2)] == [False, False]
    assert "it is the certificate of n2" in keyring.problem


def test_keys_that_vanish_stay_in_use(keys: Path) -> None:
    keyring = Keyring.load(keys / "n1", "n1")
    shutil.rmtree(keys / "n1")
    assert [keyring.refresh() for _ in range(3)] == [False] * 3
    assert "there are no keys" in keyring.problem
    assert isinstance(keyring.channel(is_server=False), TlsChannel)


def test_without_keys_channels_are_plain() -> None:
    keyring = Keyring("n1", None)
    assert keyring.is_plain
    assert not keyring.refresh()
    assert keyring.warnings == ()
    assert isinstance(keyring.channel(is_server=True), PlainChannel)
