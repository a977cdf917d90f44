"""Cuts the stream of a watch into its lines. Sans-IO."""

from __future__ import annotations

from kubevip_k8s._errors import BadAnswer


class Lines:
    """Bytes in, whole lines out; a line may not be longer than `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Return the lines that `data` ends, without their ends, and without empty ones.

        :raises BadAnswer: a line is longer than the bound.
        """
        *ended, rest = data.split(b"\n")
        lines: list[bytes] = []
        for piece in ended:
            self._take(piece)
            if line := b"".join(self._parts).strip():
                lines.append(line)
            self._parts, self._size = [], 0
        self._take(rest)
        return lines

    def _take(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > self._most_bytes:
            raise BadAnswer(f"a watch sent a line of more than {self._most_bytes} bytes")
        if piece:
            self._parts.append(piece)
