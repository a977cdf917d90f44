"""Decodes a list object by object, so that its objects are never all in memory at once, and others have their turn.

Sans-IO. What the JSON library decodes in one go it decodes without a pause: 500 objects of 5 KB take 30 ms.
"""

from __future__ import annotations

import re
from json import JSONDecoder
from typing import TYPE_CHECKING

from kubevip_k8s._errors import BadAnswer

if TYPE_CHECKING:
    from collections.abc import Callable

#: Decoding so much text, and taking over the objects in it, takes about a millisecond. One object is the least.
SLICE_CHARACTERS = 2**15

_SPACE = re.compile(r"[ \t\n\r]*")


class Listing:
    """The text of a list. `rest` is what it says besides its items, when all was decoded.

    :param what: names the request in errors.
    :raises BadAnswer: from here and from `decode`: it is no JSON object.
    """

    def __init__(self, what: str, text: bytes) -> None:
        self.rest: dict[str, object] = {}
        self._what = what
        self._text = text.decode(errors="replace")
        self._raw_decode = JSONDecoder().raw_decode
        self._at = self._after("{", 0)
        self._is_among_items = self._has_begun = False

    def decode(self, each: Callable[[object], None]) -> bool:
        """Decode some more and give the items in it to `each`; return whether there is more."""
        end = self._at + SLICE_CHARACTERS
        while self._at < end:
            if self._is_at_end("]" if self._is_among_items else "}"):
                if not self._is_among_items:
                    return False
                self._is_among_items = False
            elif self._is_among_items:
                each(self._value())
            else:
                self._member()
        return True

    def _is_at_end(self, sign: str) -> bool:
        """Go past the end of an object or array, or past the comma before its next part."""
        if self._next_is(sign):
            self._has_begun = True
            if sign == "}" and self._at != len(self._text):
                raise self._broken()
            return True
        if self._has_begun and not self._next_is(","):
            raise self._broken()
        self._has_begun = True
        return False

    def _member(self) -> None:
        name = self._value()
        if not isinstance(name, str):
            raise self._broken()
        self._at = self._after(":", self._at)
        if name == "items" and self._next_is("["):
            self._is_among_items, self._has_begun = True, False
        else:
            self.rest[name] = self._value()

    def _value(self) -> object:
        try:
            value, end = self._raw_decode(self._text, self._at)
        except (ValueError, RecursionError):
            raise self._broken() from None
        self._at = self._skipped(end)
        return value

    def _next_is(self, sign: str) -> bool:
        """Say whether `sign` comes next, and go past it then."""
        if not self._text.startswith(sign, self._at):
            return False
        self._at = self._skipped(self._at + 1)
        return True

    def _after(self, sign: str, at: int) -> int:
        at = self._skipped(at)
        if not self._text.startswith(sign, at):
            raise self._broken()
        return self._skipped(at + 1)

    def _skipped(self, at: int) -> int:
        found = _SPACE.match(self._text, at)
        return found.end() if found is not None else at

    def _broken(self) -> BadAnswer:
        return BadAnswer(f"{self._what}: not a list in JSON: {self._text[:80]!r}")
