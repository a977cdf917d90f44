"""What an API server answers to one question: the status line, and which of its own checks fail. Sans-IO.

Only as much of HTTP/1.1 (RFC 9112) is read as that takes, and never more than `LIMIT_BYTES`.
"""

from __future__ import annotations

import re

from attrs import frozen

#: An answer to `/readyz` that lists every check of the server is 2 KB.
LIMIT_BYTES = 16_384

_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: [^\r\n]*)?\r?\n")
_FAILED = re.compile(r"^\[-\]([\w./-]{1,64}) ", re.MULTILINE)

#: So many failed checks are named; the rest is counted.
_NAMED = 4


class NotHttpError(Exception):
    """What was received is no answer of an API server."""


@frozen(kw_only=True)
class Answer:
    """One answer: its status, and why it is what it is, for people; "" where it says nothing of use."""

    status: int
    reason: str = ""

    @property
    def is_ready(self) -> bool:
        """Whether the server can be sent clients."""
        return self.status == 200


def request(path: str, server_name: str) -> bytes:
    """Return the question. The connection ends with the answer, so that nothing is kept open on a server that dies."""
    lines = (f"GET {path} HTTP/1.1", f"Host: {server_name}", "User-Agent: kubevip", "Accept: */*", "Connection: close")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("ascii")


def read_answer(received: bytes, *, is_all: bool) -> Answer | None:
    """Return the answer in what was received so far; None: more is needed. `is_all`: nothing more will come.

    :raises NotHttpError: when it is none, or is cut off.
    """
    line = _STATUS_LINE.match(received)
    if line is None:
        if is_all or len(received) > 256 or not b"HTTP/1.".startswith(received[:7]):
            raise NotHttpError(f"{received[:32]!r} is no answer of an API server" if received else "it hung up")
        return None
    status = int(line[1])
    if status == 200:
        return Answer(status=status)
    if not is_all and len(received) < LIMIT_BYTES:
        return None
    return Answer(status=status, reason=_reason(status, received))


def _reason(status: int, received: bytes) -> str:
    failed = _FAILED.findall(received.decode("utf-8", "replace"))
    if failed:
        more = f" and {len(failed) - _NAMED} more" if len(failed) > _NAMED else ""
        return f"{', '.join(failed[:_NAMED])}{more} failed"
    return "it wants to know who asks: set certFile and keyFile" if status in (401, 403) else ""
