"""Framing: any cut of the stream gives the same messages, and what is not a message is refused."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_dataplane._messages import LIMIT_BYTES, Decoder, Message, MessageError, encode

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5
)
messages = st.builds(lambda do, rest: {**rest, "do": do}, st.text(), st.dictionaries(st.text(), values, max_size=3))


@given(st.lists(messages, max_size=5), st.data())
def test_messages_survive_any_cut(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(encode, sent))
    decoder, heard = Decoder(), list[Message]()
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        heard += decoder.feed(stream[:size])
        stream = stream[size:]
    assert heard == sent


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"3", b"{}", b'{"do": 1}', b"\xff\xfe", b"[" * 100_000], ids=lambda body: str(body[:9])
)
def test_what_is_not_a_message_is_refused(body: bytes) -> None:
    with pytest.raises(MessageError):
        Decoder().feed(struct.pack("!I", len(body)) + body)


def test_a_length_beyond_the_limit_is_refused_before_anything_is_kept() -> None:
    with pytest.raises(MessageError, match="longer"):
        Decoder().feed(struct.pack("!I", LIMIT_BYTES + 1))


def test_a_message_beyond_the_limit_is_not_sent() -> None:
    with pytest.raises(MessageError, match="longer"):
        encode({"do": "x" * LIMIT_BYTES})


def test_four_thousand_backends_fit() -> None:
    backends = [
        {"key": f"[2001:db8::{n:x}]:6443", "host": f"2001:db8::{n:x}", "port": 6443, "weight": 1} for n in range(4000)
    ]
    assert len(encode({"do": "backends", "id": "1", "backends": backends, "drain": 10.0})) < LIMIT_BYTES // 4
    assert json.dumps(backends)
