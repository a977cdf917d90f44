"""Frames: how messages become bytes, and how bytes of anybody become messages or a refusal.

A frame is four bytes of length (big endian) and so many bytes of JSON: an object with `v` (protocol version), `c`
(cluster), `s` and `i` (name and incarnation of the sender), `k` (kind of the message) and `m` (its fields). A length
beyond `LARGEST_FRAME_BYTES` is refused before anything is kept of it. Unknown fields are ignored, so that a later
version may add some; everything else that is not as it should be raises FrameError and nothing else.
"""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import attrs
from attrs import frozen

from kubevip_election_raft import _messages
from kubevip_election_raft._messages import Message, Process

#: The version that this code speaks, and those it understands.
VERSION = 1
UNDERSTOOD = (1,)

#: Hundreds of times what a message needs; a limit for strangers.
LARGEST_FRAME_BYTES = 16 * 1024

_LONGEST_NAME = 253
_LONGEST_LIST = 64


class FrameError(ValueError):
    """Bytes that are not a frame of this protocol; the message says what is wrong with them."""


@frozen(kw_only=True)
class Hello:
    """First frame of a connection, from the member that opened it: whom it means and what it is.

    `members` are the names that its configuration lists; `software` is its version, for people.
    """

    to: str
    members: tuple[str, ...] = ()
    software: str = ""


@frozen(kw_only=True)
class Welcome:
    """Answers a Hello; `refusal` is empty when the connection stands."""

    refusal: str = ""
    software: str = ""


@frozen(kw_only=True)
class Ping:
    """Says that the sender is there when it has nothing to say."""


Payload = Message | Hello | Welcome | Ping


@frozen(kw_only=True)
class Frame:
    """A message with what every frame bears."""

    cluster: str
    sender: Process
    message: Payload


def encode(frame: Frame) -> bytes:
    """Return the bytes of a frame."""
    body = json.dumps(
        {
            "v": VERSION,
            "c": frame.cluster,
            "s": frame.sender.name,
            "i": frame.sender.incarnation,
            "k": _KIND_OF[type(frame.message)],
            "m": _plain(frame.message),
        },
        separators=(",", ":"),
    ).encode()
    return len(body).to_bytes(4, "big") + body


class Decoder:
    """Cuts a stream of bytes into frames. After a FrameError it is of no use any more."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes.

        :raises FrameError: for anything that is not a frame.
        """
        self._buffer += data
        frames: list[Frame] = []
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > LARGEST_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes; at most {LARGEST_FRAME_BYTES} are taken")
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
        envelope: Any = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number of thousands of digits, nested deep
        raise FrameError(f"not JSON: {error}") from None
    envelope = _parse_dict(envelope, "frame")
    if envelope.get("v") not in UNDERSTOOD or isinstance(envelope.get("v"), bool):
        raise FrameError(f"protocol version {str(envelope.get('v'))[:20]}; this member understands {VERSION}")
    kind = envelope.get("k")
    cls = _CLASS_OF.get(kind) if isinstance(kind, str) else None
    if cls is None:
        raise FrameError(f"unknown kind of message {str(kind)[:40]!r}")
    sender = {"name": envelope.get("s"), "incarnation": envelope.get("i")}
    return Frame(
        cluster=_parse_string(envelope.get("c")),
        sender=_parse_object(sender, Process),
        message=_parse_object(envelope.get("m"), cls),
    )


def _plain(value: object) -> object:
    if (names := _FIELDS_OF.get(type(value))) is not None:
        return {name: _plain(getattr(value, name)) for name in names}
    return value


def _refuse_constant(text: str) -> object:
    raise FrameError(f"{text} is not a number here")


# Parsers take what JSON gave, which can be anything; hence Any.


def _parse_string(value: Any) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST_NAME:
        raise FrameError("expected a short string")
    return value


def _parse_int(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise FrameError("expected an integer")
    return value


def _parse_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 < value < 1e15:
        raise FrameError("expected a number")
    return float(value)


def _parse_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise FrameError("expected true or false")
    return value


def _parse_names(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise FrameError("expected a list")
    items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
    if len(items) > _LONGEST_LIST:
        raise FrameError("expected a shorter list")
    return tuple(map(_parse_string, items))


def _parse_dict(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FrameError(f"{what}: expected an object")
    fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  -- JSON has no other keys
    return fields


def _parse_object(value: Any, cls: type[Any]) -> Any:
    value = _parse_dict(value, cls.__name__)
    arguments: dict[str, Any] = {}
    for name, (parse, is_required) in _PARSERS_OF[cls].items():
        if name in value:
            arguments[name] = parse(value[name])
        elif is_required:
            raise FrameError(f"{cls.__name__}: {name} is missing")
    try:
        return cls(**arguments)
    except ValueError as error:  # a validator: out of range
        raise FrameError(f"{cls.__name__}: {error.args[0] if error.args else error}") from None


def _parser(wanted: Any) -> Callable[[Any], Any]:
    if isinstance(wanted, types.UnionType):  # X | None is the only one that messages use
        inner = _parser(next(member for member in get_args(wanted) if member is not type(None)))
        return lambda value: None if value is None else inner(value)
    if get_origin(wanted) is tuple:
        return _parse_names
    if attrs.has(wanted):
        return lambda value: _parse_object(value, wanted)
    return _PLAIN_PARSERS[wanted]


_PLAIN_PARSERS: Mapping[type, Callable[[Any], Any]] = {
    str: _parse_string,
    int: _parse_int,
    float: _parse_float,
    bool: _parse_bool,
}

_CLASS_OF: Mapping[str, type[Any]] = {cls.__name__: cls for cls in get_args(Payload)}
_KIND_OF = {cls: kind for kind, cls in _CLASS_OF.items()}
_VALUES = (*_CLASS_OF.values(), Process, _messages.Grant, _messages.PromiseRequest, _messages.PromiseResponse)
_FIELDS_OF = {cls: tuple(field.name for field in attrs.fields(cls)) for cls in _VALUES}
_PARSERS_OF = {
    cls: {
        field.name: (_parser(get_type_hints(cls)[field.name]), field.default is attrs.NOTHING)
        for field in attrs.fields(cls)
    }
    for cls in _VALUES
}
