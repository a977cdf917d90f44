"""A source that says one thing once: for programs that embed kubevip, and for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen

from kubevip._model import Desired

if TYPE_CHECKING:
    from kubevip._contract import Feed
    from kubevip._model import Problem


@frozen(kw_only=True)
class StaticConfig:
    """A source that publishes one value."""

    desired: Desired = field(factory=Desired)
    """What is wanted, for ever; given by a program, not written in a file."""


class StaticSource:
    """Publishes one snapshot."""

    def __init__(self, desired: Desired) -> None:
        self._desired = desired

    async def run(self, feed: Feed) -> None:
        """Publish, and return: nothing will change again."""
        feed.publish(self._desired)

    def load(self) -> tuple[Desired, tuple[Problem, ...]]:
        """Return the snapshot; there is nothing that could be wrong with it."""
        return self._desired, ()
