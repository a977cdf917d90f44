"""Frames: how messages become bytes, and how bytes of anybody become messages or a refusal.

A frame is four bytes of length (big endian) and so many bytes of JSON: an object with `v` (protocol version), `c`
(cluster), `s`, `i` and `b` (name, incarnation and birth of the sender), `e` (its epoch; left out: 0), `k` (kind of the
message) and `m` (its fields).
A length beyond the limit is refused before anything is kept of it. Unknown fields are ignored, so that a later version
may add some; everything else that is not as it should be raises FrameError and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args

from attrs import field, frozen

from kubevip_election_raft._consensus.entries import COUNT
from kubevip_election_raft._consensus.messages import Introduction, Message, Process
from kubevip_election_raft._plain import ShapeError, parse, parse_dict, parse_name, to_plain

#: The version that this code speaks, and those it understands.
VERSION = 1
UNDERSTOOD = (1,)

#: What a member may say at once: thousands of groups, many times what a group of addresses needs.
LARGEST_FRAME_BYTES = 512 * 1024

#: What somebody may say whose greeting is not checked yet; many times what a greeting needs.
LARGEST_GREETING_BYTES = 16 * 1024


class FrameError(ValueError):
    """Bytes that are not a frame of this protocol; the message says what is wrong with them."""


@frozen(kw_only=True)
class Hello:
    """First frame of a connection, from the member that opened it: whom it means and what it is.

    `software` is its version, for people; an `introduction` is how the sender introduces itself.
    """

    to: str
    software: str = ""
    introduction: Introduction | None = None


@frozen(kw_only=True)
class Welcome:
    """Answers a Hello; `refusal` is empty when the connection stands."""

    refusal: str = ""
    software: str = ""
    introduction: Introduction | None = None


@frozen(kw_only=True)
class Ping:
    """Says that the sender is there when it has nothing to say, and first of all that it says.

    `config` names its configuration, for people. `seal`: see `seals`.
    """

    config: str = ""
    seal: str = ""


Payload = Message | Hello | Welcome | Ping


@frozen(kw_only=True)
class Frame:
    """A message with what every frame bears."""

    cluster: str
    sender: Process
    message: Payload
    epoch: int = field(default=0, validator=COUNT)


class Envelope:
    """What every frame of one sender bears. Written down once, as it is the longer part of a heartbeat."""

    def __init__(self, *, cluster: str, sender: Process, epoch: int = 0) -> None:
        fields = {"v": VERSION, "c": cluster, "s": sender.name, "i": sender.incarnation, "b": sender.birth}
        if epoch:
            fields["e"] = epoch
        self._head = _JSON_WRITER.encode(fields)[:-1]

    def enclose(self, message: Payload) -> bytes:
        """Return the bytes of a frame with `message`."""
        fields = _JSON_WRITER.encode(to_plain(message))
        body = f'{self._head},"k":"{_KIND_OF[type(message)]}","m":{fields}}}'.encode()
        return len(body).to_bytes(4, "big") + body


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    return Envelope(cluster=frame.cluster, sender=frame.sender, epoch=frame.epoch).enclose(frame.message)


class Decoder:
    """Cuts a stream of bytes into frames. After a FrameError it is of no use any more.

    `limit` is the longest frame that is taken, in bytes; it may be raised when it is known who speaks.
    """

    def __init__(self, limit: int = LARGEST_FRAME_BYTES) -> None:
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes.

        :raises FrameError: for anything that is not a frame.
        """
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > self.limit:
                raise FrameError(f"a frame of {length} bytes; at most {self.limit} are taken")
            if len(self._buffer) < 4 + length:
                break
            body = bytes(self._buffer[4 : 4 + length])
            del self._buffer[: 4 + length]
            frames.append(decode(body))
        return frames


def decode(body: bytes) -> Frame:
    """Return the frame whose JSON text is `body`.

    :raises FrameError: when it is none.
    """
    try:
        envelope: Any = _JSON_READER.decode(body.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of thousands of digits, nested deep
        raise FrameError(f"not JSON: {error}") from None
    try:
        return _parse_frame(envelope)
    except ShapeError as error:
        raise FrameError(*error.args) from None


def _parse_frame(data: Any) -> Frame:
    envelope = parse_dict(data, "frame")
    if envelope.get("v") not in UNDERSTOOD or isinstance(envelope.get("v"), bool):
        raise ShapeError(f"protocol version {str(envelope.get('v'))[:20]}; this member understands {VERSION}")
    kind = envelope.get("k")
    cls = _CLASS_OF.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise ShapeError(f"unknown kind of message {str(kind)[:40]!r}")
    return Frame(
        cluster=parse_name(envelope.get("c")),
        sender=_parse_sender(envelope.get("s"), envelope.get("i"), envelope.get("b", 0)),
        message=parse(cls, envelope.get("m")),
        epoch=_parse_epoch(envelope.get("e", 0)),
    )


def _parse_sender(name: Any, incarnation: Any, birth: Any) -> Process:
    if type(name) is str and type(incarnation) is int and type(birth) is int:
        return _process(name, incarnation, birth)
    return parse(Process, {"name": name, "incarnation": incarnation, "birth": birth})  # says what is wrong


@lru_cache(maxsize=64)
def _process(name: str, incarnation: int, birth: int) -> Process:
    """Return the same process for the same sender, of whom there are few."""
    return parse(Process, {"name": name, "incarnation": incarnation, "birth": birth})


def _parse_epoch(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 2**53:
        raise ShapeError("expected an epoch")
    return value


def _refuse_constant(text: str) -> object:
    raise FrameError(f"{text} is not a number here")


# Made once: json.dumps and json.loads would make new ones for each frame.
_JSON_WRITER = json.JSONEncoder(separators=(",", ":"))
_JSON_READER = json.JSONDecoder(parse_constant=_refuse_constant)

_CLASS_OF: Mapping[str, type[Any]] = {cls.__name__: cls for cls in get_args(Payload)}
_KIND_OF = {cls: kind for kind, cls in _CLASS_OF.items()}
