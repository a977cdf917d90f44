"""Frames: what is encoded comes back, and whatever else comes raises FrameError and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubevip_election_raft._codec import (
    LARGEST_FRAME_BYTES,
    Decoder,
    Frame,
    FrameError,
    Hello,
    Ping,
    Welcome,
    decode,
    encode,
)
from kubevip_election_raft._messages import (
    Grant,
    Heartbeat,
    HeartbeatResponse,
    PreVoteRequest,
    PreVoteResponse,
    Process,
    PromiseRequest,
    PromiseResponse,
    Release,
    TransferRequest,
    TransferResponse,
    VoteRequest,
    VoteResponse,
)

SENDER = Process(name="n1", incarnation=7)

counts = st.integers(0, 2**53)
names = st.text(max_size=40)
seconds = st.floats(0.0, 60.0)
fitness = st.integers(-1, 100)
grants = st.builds(Grant, term=counts, index=counts)
requests = st.builds(PromiseRequest, round=counts, seconds=seconds, grant=grants)
responses = st.builds(
    PromiseResponse, round=counts, incarnation=counts, grant=grants, is_given=st.booleans(), wait_seconds=seconds
)
answers = {"term": counts, "asked": counts, "is_granted": st.booleans(), "wait_seconds": seconds}
payloads = st.one_of(
    st.builds(PreVoteRequest, term=counts, fitness=fitness, rank=counts),
    st.builds(PreVoteResponse, **answers),
    st.builds(VoteRequest, term=counts, promise=requests),
    st.builds(VoteResponse, **answers, promise=st.none() | responses),
    st.builds(Heartbeat, term=counts, promise=requests, heirs=st.lists(names, max_size=9).map(tuple)),
    st.builds(HeartbeatResponse, term=counts, fitness=fitness, promise=st.none() | responses),
    st.builds(Release, grant=grants, heir=st.none() | names, why=names),
    st.builds(TransferRequest, request=counts, to=names),
    st.builds(TransferResponse, request=counts, refusal=names),
    st.builds(Hello, to=names, members=st.lists(names, max_size=9).map(tuple), software=names),
    st.builds(Welcome, refusal=names, software=names),
    st.just(Ping()),
)
frames = st.builds(Frame, cluster=names, sender=st.builds(Process, name=names, incarnation=counts), message=payloads)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


def frame_of(message: Any) -> Frame:
    return Frame(cluster="rack-7", sender=SENDER, message=message)


def body_of(frame: Frame, **changes: object) -> bytes:
    envelope = json.loads(encode(frame)[4:])
    return json.dumps(envelope | changes).encode()


@given(frames)
def test_what_is_encoded_comes_back(frame: Frame) -> None:
    assert Decoder().feed(encode(frame)) == [frame]


@given(st.lists(frames, min_size=1, max_size=4), st.integers(1, 50))
def test_frames_come_back_however_the_stream_is_cut(sent: list[Frame], size: int) -> None:
    data, decoder, received = b"".join(map(encode, sent)), Decoder(), list[Frame]()
    for start in range(0, len(data), size):
        received += decoder.feed(data[start : start + size])
    assert received == sent


@given(st.binary(max_size=300))
@settings(max_examples=500)
def test_any_bytes_are_frames_or_a_frame_error(data: bytes) -> None:
    try:
        Decoder().feed(data)
    except FrameError:
        pass


@given(st.binary(max_size=120))
@settings(max_examples=500)
def test_any_body_is_a_frame_or_a_frame_error(body: bytes) -> None:
    try:
        decode(body)
    except FrameError:
        pass


@given(frames, st.data())
@settings(max_examples=500)
def test_a_frame_with_one_field_replaced_is_a_frame_or_a_frame_error(frame: Frame, data: st.DataObject) -> None:
    envelope = json.loads(encode(frame)[4:])
    target = envelope if data.draw(st.booleans()) or not envelope["m"] else envelope["m"]
    target[data.draw(st.sampled_from(sorted(target)))] = data.draw(json_values)
    try:
        decoded = decode(json.dumps(envelope).encode())
    except FrameError:
        return
    assert Decoder().feed(encode(decoded)) == [decoded]  # what was taken is sound


@given(frames, st.data())
def test_a_frame_with_one_byte_changed_is_a_frame_or_a_frame_error(frame: Frame, data: st.DataObject) -> None:
    body = bytearray(encode(frame)[4:])
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        decode(bytes(body))
    except FrameError:
        pass


def test_a_length_beyond_the_limit_is_refused_before_its_body_arrives() -> None:
    with pytest.raises(FrameError, match="at most 16384"):
        Decoder().feed((LARGEST_FRAME_BYTES + 1).to_bytes(4, "big"))


def test_nothing_beyond_the_largest_frame_is_kept() -> None:
    decoder = Decoder()
    decoder.feed(LARGEST_FRAME_BYTES.to_bytes(4, "big") + b" " * (LARGEST_FRAME_BYTES - 1))
    with pytest.raises(FrameError):
        decoder.feed(b" ")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"[" * 5000, "not JSON"),
        (b'{"v":1e999}', "protocol version"),
        (b'{"v":NaN}', "not a number"),
        (b"\xff", "not JSON"),
        (b"[]", "frame: expected an object"),
        (b'{"v":' + b"9" * 5000 + b"}", "not JSON"),
        (body_of(frame_of(Ping()), v=2), "protocol version 2; this member understands 1"),
        (body_of(frame_of(Ping()), v=True), "protocol version"),
        (body_of(frame_of(Ping()), k="Shutdown"), "unknown kind"),
        (body_of(frame_of(Ping()), k=["Ping"]), "unknown kind"),
        (body_of(frame_of(Ping()), s="n" * 254), "short string"),
        (body_of(frame_of(Ping()), i=-1), "Process"),
        (body_of(frame_of(Ping()), i=True), "integer"),
        (body_of(frame_of(Ping()), m=None), "expected an object"),
        (body_of(frame_of(TransferRequest(request=1, to="n2")), m={"request": 1}), "to is missing"),
        (body_of(frame_of(TransferRequest(request=1, to="n2")), m={"request": 1.5, "to": "n2"}), "integer"),
    ],
)
def test_a_refusal_says_what_is_wrong(body: bytes, complaint: str) -> None:
    with pytest.raises(FrameError, match=complaint):
        decode(body)


def test_a_promise_longer_than_the_limit_is_no_message() -> None:
    promise = {"round": 1, "seconds": 61.0, "grant": {"term": 1, "index": 0}}
    body = body_of(frame_of(Ping()), k="VoteRequest", m={"term": 1, "promise": promise})
    with pytest.raises(FrameError, match="PromiseRequest"):
        decode(body)


def test_fields_of_a_later_version_are_ignored() -> None:
    body = body_of(frame_of(TransferRequest(request=1, to="n2")), m={"request": 1, "to": "n2", "urgent": True}, x=1)
    assert decode(body) == frame_of(TransferRequest(request=1, to="n2"))
