from __future__ import annotations

import errno
import struct

from hypothesis import given
from hypothesis import strategies as st

from kubevip_announce_arp import _netlink as netlink


@given(st.lists(st.tuples(st.integers(3, 0xFFFF), st.integers(0, 0xFFFFFFFF), st.binary(max_size=40))), st.data())
def test_a_message_that_is_cut_short_is_left_out_with_all_that_follow(
    sent: list[tuple[int, int, bytes]], data: st.DataObject
) -> None:
    padded = [(kind, number, body + bytes(-len(body) % 4)) for kind, number, body in sent]
    parts = [netlink.message(kind, 0, number, body) for kind, number, body in padded]
    length = data.draw(st.integers(0, sum(map(len, parts))))
    whole = 0
    while whole < len(parts) and sum(map(len, parts[: whole + 1])) <= length:
        whole += 1
    assert [message[:3] for message in netlink.messages(b"".join(parts)[:length])] == padded[:whole]


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=20)))
def test_attributes_are_read_back_whatever_their_padding(sent: dict[int, bytes]) -> None:
    body = b"head" + b"".join(netlink.attribute(kind, data) for kind, data in sent.items())
    assert netlink.attributes_of(body, 4) == sent


def test_only_an_acknowledgement_bears_an_error() -> None:
    refusal = struct.pack("=i", -errno.EPERM)
    assert netlink.Message(netlink.ERROR, 1, refusal).error == errno.EPERM
    assert netlink.Message(netlink.ERROR, 1, bytes(4)).error == 0
    assert netlink.Message(netlink.ERROR, 1, b"").error == 0
    assert netlink.Message(16, 1, refusal).error == 0
