"""What passes between control process and worker: JSON objects, each after its length as four bytes, network order.

The order on a connection is kept; nothing is acknowledged but what says so. Times are durations in seconds.

====================  ==================================================================================
control -> worker
`open`                id, backends, options; one listening socket comes along (SCM_RIGHTS)
`backends`            id, backends, drain: for new connections; those to removed backends may go on for `drain`
`close`               id, drain: stop listening, end connections after `drain`; again: a new end for a drain
`ping`                nothing: to be answered
worker -> control
`health`              id, connections, down ({key: reason}), problem; on changes, at most one a second
`closed`              id: nothing listens and nothing is relayed any more
`pong`                nothing: the answer
====================  ==================================================================================

A backend is `{key, host, port, weight}`; `key` is opaque, `host` a literal address.
"""

from __future__ import annotations

import json
import struct
from typing import Any, cast

#: Longest message that is accepted; 4,000 backends take about 400 KiB.
LIMIT_BYTES = 4 << 20

_LENGTH = struct.Struct("!I")

#: Any: what JSON holds; each reader knows the shape of its messages from the table above.
Message = dict[str, Any]


class MessageError(ValueError):
    """What was received is not a message; nothing after it can be read."""


def encode(message: Message) -> bytes:
    """Return the bytes of `message`.

    :raises MessageError: when it is longer than `LIMIT_BYTES`.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > LIMIT_BYTES:
        raise MessageError(f"a message of {len(body)} bytes is longer than {LIMIT_BYTES}")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Cuts a stream of bytes into messages; holds at most one incomplete message."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that are complete with `data`.

        :raises MessageError: when the stream does not hold messages.
        """
        self._rest += data
        messages: list[Message] = []
        start = 0
        while len(self._rest) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._rest, start)
            if length > LIMIT_BYTES:
                raise MessageError(f"a message of {length} bytes is longer than {LIMIT_BYTES}")
            end = start + _LENGTH.size + length
            if len(self._rest) < end:
                break
            messages.append(_parse(bytes(self._rest[start + _LENGTH.size : end])))
            start = end
        del self._rest[:start]
        return messages


def _parse(body: bytes) -> Message:
    try:
        message: Any = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"not JSON: {error}") from error
    if not isinstance(message, dict) or not isinstance(cast("Message", message).get("do"), str):
        raise MessageError('not an object with "do"')
    return cast("Message", message)
