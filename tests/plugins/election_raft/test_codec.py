"""Frames: what is encoded comes back, and whatever else comes raises FrameError and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubevip_election_raft._consensus.entries import (
    Entry,
    Grant,
    GroupState,
    MemberRecord,
    NoOp,
    Place,
    Placed,
    Placement,
    Process,
    SetMembers,
    Snapshot,
)
from kubevip_election_raft._consensus.messages import (
    AppendEntries,
    AppendResponse,
    Claim,
    Goodbye,
    InstallSnapshot,
    Introduction,
    MembersRequest,
    MembersResponse,
    MoveRequest,
    MoveResponse,
    Offer,
    Offers,
    OffersResponse,
    PreVoteRequest,
    PreVoteResponse,
    PromiseRequest,
    PromiseResponse,
    Refusal,
    Release,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from kubevip_election_raft._wire.codec import (
    LARGEST_FRAME_BYTES,
    LARGEST_GREETING_BYTES,
    Decoder,
    Frame,
    FrameError,
    Hello,
    Ping,
    Welcome,
    decode,
    encode,
)

SENDER = Process(name="n1", incarnation=7)

counts = st.integers(0, 2**53)
names = st.text(max_size=40)
seconds = st.floats(0.0, 60.0)
fitness = st.integers(-1, 100)
grants = st.builds(Grant, term=counts, index=counts)
processes = st.builds(Process, name=names, incarnation=counts, birth=counts)
claims = st.lists(st.builds(Claim, group=names, grant=grants), max_size=3).map(tuple)
refusals = st.lists(st.builds(Refusal, group=names, wait_seconds=seconds), max_size=3).map(tuple)
placed = st.builds(Placed, group=names, process=st.none() | processes, why=names)
records = st.builds(
    MemberRecord, name=names, address=names, port=st.integers(0, 65535), is_witness=st.booleans(), birth=counts
)
introductions = st.builds(
    Introduction,
    has_state=st.booleans(),
    members=st.lists(records, max_size=3).map(tuple),
    members_index=counts,
)
commands = st.one_of(
    st.builds(SetMembers, members=st.lists(records, max_size=3).map(tuple)),
    st.just(NoOp()),
    st.builds(Place, placed=st.lists(placed, max_size=3).map(tuple)),
)
entries = st.lists(st.builds(Entry, term=counts, index=counts, command=commands), max_size=3).map(tuple)
placements = st.dictionaries(names, st.builds(Placement, process=processes, grant=grants, why=names), max_size=3)
members = st.builds(
    GroupState,
    placements=placements,
    members=st.lists(records, max_size=3).map(tuple),
    members_index=counts,
)
snapshots = st.builds(Snapshot, index=counts, term=counts, state=members)
name_lists = st.lists(names, max_size=3).map(tuple)
offer = st.builds(
    Offer,
    group=names,
    fitness=st.integers(0, 100),
    weight=counts,
    prefer=name_lists,
    fail_back_seconds=st.none() | seconds,
    spent=st.none() | grants,
)
offers = st.builds(
    Offers, version=counts, offers=st.lists(offer, max_size=3).map(tuple), is_leaving=st.booleans(), request=counts
)
last = {"last_index": counts, "last_term": counts}
answers = {"term": counts, "asked": counts, "is_granted": st.booleans(), "wait_seconds": seconds}
heartbeat = {"term": counts, "round": counts, "seconds": seconds, "heirs": name_lists}
payloads = st.one_of(
    st.builds(PreVoteRequest, term=counts, fitness=fitness, rank=counts, **last),
    st.builds(PreVoteResponse, **answers),
    st.builds(VoteRequest, term=counts, is_succession=st.booleans(), **last),
    st.builds(VoteResponse, **answers, offers=st.none() | offers),
    st.builds(TimeoutNow, term=counts, heir=st.none() | names, why=names),
    st.builds(
        AppendEntries,
        previous_index=counts,
        previous_term=counts,
        commit=counts,
        entries=entries,
        unknown=name_lists,
        **heartbeat,
    ),
    st.builds(InstallSnapshot, snapshot=snapshots, **heartbeat),
    st.builds(
        AppendResponse,
        term=counts,
        round=counts,
        matched=st.none() | counts,
        hint_index=counts,
        hint_term=counts,
        offers_version=counts,
    ),
    st.builds(PromiseRequest, round=counts, seconds=seconds, claims=claims),
    st.builds(PromiseResponse, round=counts, incarnation=counts, refused=refusals, members_index=counts),
    st.builds(Release, claims=claims),
    st.just(Goodbye()),
    offers,
    st.builds(OffersResponse, request=counts, kept=counts),
    st.builds(MoveRequest, request=counts, group=names, to=names),
    st.builds(MoveResponse, request=counts, refusal=names),
    st.builds(MembersRequest, request=counts, member=records, is_removal=st.booleans()),
    st.builds(MembersResponse, request=counts, refusal=names, wait_seconds=seconds),
    st.builds(Hello, to=names, software=names, introduction=st.none() | introductions),
    st.builds(Welcome, refusal=names, software=names, introduction=st.none() | introductions),
    st.just(Ping()),
)
frames = st.builds(Frame, cluster=names, sender=processes, message=payloads)
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


def append_of(command: object) -> bytes:
    """A frame that appends an entry with such a command."""
    fields = {"term": 1, "round": 1, "previous_index": 0, "previous_term": 0, "commit": 0, "seconds": 0.1}
    entry = {"term": 1, "index": 1, "command": command}
    return body_of(frame_of(Ping()), k="AppendEntries", m=fields | {"entries": [entry]})


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
    with pytest.raises(FrameError, match="at most 524288"):
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
        (body_of(frame_of(MoveResponse(request=1)), k="MoveRequest", m={"request": 1}), "group is missing"),
        (body_of(frame_of(MoveResponse(request=1)), m={"request": 1.5}), "integer"),
        (body_of(frame_of(Release(claims=())), m={"claims": {}}), "expected a list"),
        (body_of(frame_of(Release(claims=())), m={"claims": [None] * 8193}), "shorter list"),
        (body_of(frame_of(Release(claims=())), m={"claims": [{"group": "g"}]}), "grant is missing"),
        (append_of(["Format", {}]), "expected one of NoOp, Place, SetMembers"),
        (append_of("NoOp"), "expected a list"),
    ],
)
def test_a_refusal_says_what_is_wrong(body: bytes, complaint: str) -> None:
    with pytest.raises(FrameError, match=complaint):
        decode(body)


def test_a_promise_longer_than_the_limit_is_no_message() -> None:
    body = body_of(frame_of(Ping()), k="PromiseRequest", m={"round": 1, "seconds": 61.0, "claims": []})
    with pytest.raises(FrameError, match="PromiseRequest"):
        decode(body)


def test_fields_of_a_later_version_are_ignored() -> None:
    body = body_of(frame_of(MoveResponse(request=1)), m={"request": 1, "refusal": "", "urgent": True}, x=1)
    assert decode(body) == frame_of(MoveResponse(request=1))


def test_a_stranger_may_not_say_as_much_as_a_member() -> None:
    decoder = Decoder(LARGEST_GREETING_BYTES)
    with pytest.raises(FrameError, match="at most 16384"):
        decoder.feed((LARGEST_GREETING_BYTES + 1).to_bytes(4, "big"))
    decoder = Decoder(LARGEST_GREETING_BYTES)
    decoder.limit = LARGEST_FRAME_BYTES
    assert decoder.feed((LARGEST_GREETING_BYTES + 1).to_bytes(4, "big")) == []


def test_a_frame_holds_thousands_of_groups() -> None:
    many = tuple(Claim(group=f"service-{number:05}", grant=Grant(term=17, index=4711)) for number in range(5000))
    frame = frame_of(PromiseRequest(round=1, seconds=0.18, claims=many))
    assert Decoder().feed(encode(frame)) == [frame]
