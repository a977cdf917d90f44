"""JSON lines between processes: how they are cut out of a stream, read and written. Bounded before they are read."""

from __future__ import annotations

import json

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Mapping


class LineError(ValueError):
    """What arrived is too long, or no JSON object; the message says which."""


class LineBuffer:
    """Cuts a stream of bytes into lines of at most `limit` bytes, the line feed not counted.

    After a `LineError` the stream is worth nothing any more: it is not known where the next line begins.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._partial = bytearray()

    @property
    def has_partial(self) -> bool:
        """Whether a line has begun that is not complete."""
        return bool(self._partial)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` completes, in order, without their line feeds.

        :raises LineError: when a line, complete or not, is longer than the limit.
        """
        *complete, rest = data.split(b"\n")
        lines: list[bytes] = []
        for end in complete:
            lines.append(self._joined(end))
            self._partial.clear()
        self._partial = bytearray(self._joined(rest))
        return lines

    def _joined(self, more: bytes) -> bytes:
        if len(self._partial) + len(more) > self._limit:
            raise LineError(f"a line is longer than {self._limit} bytes")
        return bytes(self._partial) + more


def decode(line: bytes) -> dict[str, object]:
    """Return the JSON object of one line.

    :raises LineError: when it is anything else.
    """
    try:
        value: object = json.loads(line)
    except (ValueError, RecursionError) as exc:  # ValueError: JSON, UTF-8, and integers of too many digits
        raise LineError(f"a line is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise LineError("a line is not a JSON object")
    return value  # pyright: ignore[reportUnknownVariableType]  # JSON knows string keys only


def encode(message: Mapping[str, object]) -> bytes:
    """Return `message` as one line, the line feed included."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode("ascii") + b"\n"
