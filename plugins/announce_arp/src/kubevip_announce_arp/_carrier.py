"""When a link's trouble counts: flaps shorter than a delay are not told. Pure."""

from __future__ import annotations

import math

DOWN_DELAY_SECONDS = 0.1
UP_DELAY_SECONDS = 1.0


class CarrierFilter:
    """Follows the trouble of one link ("" = it works) and says what of it counts.

    Trouble counts when it has lasted `down_seconds`, its end when that has lasted `up_seconds`.
    """

    def __init__(
        self, trouble: str, *, down_seconds: float = DOWN_DELAY_SECONDS, up_seconds: float = UP_DELAY_SECONDS
    ) -> None:
        self._down_seconds, self._up_seconds = down_seconds, up_seconds
        self.told = self._seen = trouble
        self.due_at = math.inf
        """When `step` is to be called again although nothing was seen."""

    def step(self, now: float, trouble: str) -> str:
        """Take note of the trouble of now, and return what counts."""
        if trouble != self._seen:
            was_bad, self._seen = bool(self._seen), trouble
            if bool(trouble) == bool(self.told):
                self.due_at = math.inf  # back where it was
                if trouble:
                    self.told = trouble
            elif bool(trouble) != was_bad:
                self.due_at = now + (self._down_seconds if trouble else self._up_seconds)
        if now >= self.due_at:
            self.told, self.due_at = self._seen, math.inf
        return self.told
