"""TLS between two members, without a network: who is believed, what others hear, and that noise harms nobody."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubevip_election_raft._tls import channel as channel_module
from kubevip_election_raft._tls.channel import Channel, ChannelError, PlainChannel, TlsChannel
from kubevip_election_raft._tls.keys import _context, load_keys

from .certificates import make_keys, make_own


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_keys(tmp_path_factory.mktemp("pki") / "keys")


def client(folder: Path) -> TlsChannel:
    return TlsChannel(_context(folder, is_server=False), is_server=False)


def server(folder: Path) -> TlsChannel:
    return TlsChannel(_context(folder, is_server=True), is_server=True)


def meet(asking: Channel, serving: Channel) -> tuple[str, str]:
    """Let two channels shake hands and say a word each; return what each complains of."""
    complaints = dict[Channel, str]()

    def run(channel: Channel, action: Callable[[], object]) -> None:
        try:
            action()
        except ChannelError as error:
            complaints[channel] = str(error)

    standing, data = set[Channel](), dict[Channel, bytes]({asking: b"", serving: b""})
    for _ in range(8):
        for channel, other in ((asking, serving), (serving, asking)):
            if channel in complaints:
                continue
            arrived, data[channel] = data[channel], b""

            def take(channel: Channel = channel, arrived: bytes = arrived) -> None:
                if channel in standing:
                    channel.open(arrived)
                elif channel.shake(arrived):
                    standing.add(channel)

            run(channel, take)
            data[other] += channel.outgoing()
    return complaints.get(asking, ""), complaints.get(serving, "")


def standing_pair(keys: Path) -> tuple[TlsChannel, TlsChannel]:
    asking, serving = client(keys / "n1"), server(keys / "n2")
    assert meet(asking, serving) == ("", "")
    return asking, serving


def test_two_members_learn_each_others_names(keys: Path) -> None:
    asking, serving = standing_pair(keys)
    assert (asking.peer_names, serving.peer_names) == (("n2",), ("n1",))
    assert asking._tls.version() == "TLSv1.3"


@given(st.lists(st.binary(min_size=1, max_size=40_000), max_size=5), st.integers(1, 5000))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_what_is_sealed_is_opened_however_it_is_cut(keys: Path, said: list[bytes], size: int) -> None:
    asking, serving = standing_pair(keys)
    sealed, opened = b"".join(map(asking.seal, said)), b""
    for start in range(0, len(sealed), size):
        opened += serving.open(sealed[start : start + size])
    assert opened == b"".join(said)


def test_what_is_sealed_does_not_show(keys: Path) -> None:
    asking, _ = standing_pair(keys)
    assert b"heartbeat" not in asking.seal(b"heartbeat")


def test_a_frame_that_is_changed_repeated_or_out_of_turn_ends_the_channel(keys: Path) -> None:
    """Scenario 147."""
    asking, serving = standing_pair(keys)
    first, second = asking.seal(b"one"), asking.seal(b"two")
    with pytest.raises(ChannelError):
        serving.open(second + first)
    asking, serving = standing_pair(keys)
    first = asking.seal(b"one")
    assert serving.open(first) == b"one"
    with pytest.raises(ChannelError):
        serving.open(first)
    asking, serving = standing_pair(keys)
    changed = bytearray(asking.seal(b"one"))
    changed[-1] ^= 1
    with pytest.raises(ChannelError):
        serving.open(bytes(changed))


def test_a_member_of_another_ca_is_not_believed_and_hears_why(keys: Path, tmp_path: Path) -> None:
    """Scenario 145."""
    stranger = make_keys(tmp_path / "keys")
    assert meet(client(stranger / "n1"), server(keys / "n2"))[0] == "wrong CA"
    trusting = tmp_path / "trusting"  # believes the group, and is not believed by it
    trusting.mkdir()
    for file in ("tls.crt", "tls.key"):
        (trusting / file).write_bytes((stranger / "n1" / file).read_bytes())
    (trusting / "ca.crt").write_bytes((keys / "n1" / "ca.crt").read_bytes())
    assert meet(client(trusting), server(keys / "n2")) == ("wrong CA", "wrong CA")
    assert meet(client(keys / "n1"), server(trusting)) == ("wrong CA", "wrong CA")


def test_who_shows_no_certificate_is_not_believed(keys: Path) -> None:
    """Scenario 145."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(keys / "n1" / "ca.crt")
    asking = TlsChannel(context, is_server=False)
    assert meet(asking, server(keys / "n2")) == ("it wants a certificate", "no certificate")


def test_older_versions_of_tls_are_refused(keys: Path) -> None:
    context = _context(keys / "n1", is_server=False)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    assert meet(TlsChannel(context, is_server=False), server(keys / "n2")) == ("no TLS 1.3", "no TLS 1.3")


@pytest.mark.parametrize(
    ("first", "last", "complaints"),
    [
        (datetime(1970, 1, 1, tzinfo=UTC), datetime(1971, 1, 1, tzinfo=UTC), "its certificate has expired"),
        (datetime(9998, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC), "its certificate is not valid yet"),
    ],
)
def test_another_tools_certificate_is_good_in_its_time_only(
    tmp_path: Path, first: datetime, last: datetime, complaints: str
) -> None:
    folder = make_own(tmp_path / "own", "n1", first=first, last=last)
    assert meet(client(folder), server(folder))[0] == complaints


def test_the_keys_that_kubevip_makes_are_good_at_every_time_of_a_clock(
    keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scenario 148: a board without a battery for its clock starts in 1970."""
    for folder in ("n1", "n2", "n3"):
        loaded = load_keys(keys / folder, folder)
        assert loaded.valid_until is None
        assert loaded.warnings == ()
    first = ssl._ssl._test_decode_cert(str(keys / "n1" / "tls.crt"))["notBefore"]  # type: ignore[attr-defined]
    assert first == "Jan  1 00:00:00 1970 GMT"


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\x00\x00\x00\x02{}", b"SSH-2.0-OpenSSH_9.2p1\r\n"])
def test_who_speaks_something_else_hears_no_more(keys: Path, noise: bytes) -> None:
    serving = server(keys / "n2")
    with pytest.raises(ChannelError, match="no TLS"):
        serving.shake(noise)
    with pytest.raises(ChannelError, match="it has keys"):
        PlainChannel().open(serving.outgoing())


def test_a_member_without_keys_is_told_that_the_other_has_some(keys: Path) -> None:
    plain = PlainChannel()
    with pytest.raises(ChannelError, match="it has keys, and this member was told to do without"):
        plain.open(b"\x15\x03\x01\x00\x02\x02\x46")
    assert PlainChannel().open(b"\x00\x00\x00\x02{}") == b"\x00\x00\x00\x02{}"


@given(st.binary(max_size=600))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_any_first_bytes_are_a_handshake_or_a_channel_error(keys: Path, data: bytes) -> None:
    channel = server(keys / "n2")
    try:
        assert channel.shake(data) is False
    except ChannelError:
        pass


@given(st.integers(0, 2**32), st.integers(0, 255), st.integers(0, 3))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=300)
def test_a_handshake_with_one_byte_changed_proves_nothing(keys: Path, at: int, value: int, flight: int) -> None:
    """Whatever is changed in what a client sends: the server knows the client's name, or ends with a ChannelError."""
    asking, serving = client(keys / "n1"), server(keys / "n2")
    data = b""
    try:
        for turn in range(3):
            asking.shake(data)
            sent = bytearray(asking.outgoing())
            if turn == flight and sent:
                sent[at % len(sent)] = value
            has_met = serving.shake(bytes(sent))
            data = serving.outgoing()
            if has_met:
                break
    except ChannelError:
        return
    assert serving.peer_names in (None, ("n1",))


def test_an_endless_handshake_is_ended(keys: Path) -> None:
    """Scenario 149: what is taken of a stranger has a limit."""
    serving = server(keys / "n2")
    hello = client(keys / "n1")
    hello.shake(b"")
    record = hello.outgoing()
    body = record[5:]
    taken, complaint = 0, ""
    try:
        for byte in body[:-1] * 400:  # one byte a record, and the message never ends
            taken += 6
            serving.shake(b"\x16\x03\x01\x00\x01" + bytes([byte]))
    except ChannelError as error:
        complaint = str(error)
    assert complaint
    assert taken <= channel_module.LARGEST_HANDSHAKE_BYTES + 6


def test_the_limit_of_a_handshake_is_of_all_its_bytes(keys: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_module, "LARGEST_HANDSHAKE_BYTES", 100)
    asking = client(keys / "n1")
    asking.shake(b"")
    with pytest.raises(ChannelError, match="an endless handshake"):
        server(keys / "n2").shake(asking.outgoing())


def test_the_end_of_the_other_side_is_an_error_and_not_silence(keys: Path) -> None:
    asking, serving = standing_pair(keys)
    with pytest.raises(ssl.SSLWantReadError):
        asking._tls.unwrap()
    with pytest.raises(ChannelError, match="it ended the connection"):
        serving.open(asking.outgoing())


def test_a_handshake_fits_into_a_sockets_buffer(keys: Path) -> None:
    """What a refusal sends is sent without waiting."""
    asking, serving = client(keys / "n1"), server(keys / "n2")
    asking.shake(b"")
    serving.shake(asking.outgoing())
    with socket.socket() as fresh:
        assert len(serving.outgoing()) < fresh.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
