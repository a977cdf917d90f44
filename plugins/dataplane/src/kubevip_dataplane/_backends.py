"""The backends of one listener: whose turn it is, and which of them answered when last asked (passive health).

A backend that refused or stayed silent is left out for `RETRY_SECONDS`; after that one connection at a time finds out
whether it is back. When nobody else is left, those that refused are asked all the same, because a refusal costs a
client nothing and a backend that came back serves at once; a silent one would cost each client the whole timeout.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from kubevip_dataplane._choice import RoundRobin

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

#: How long a backend that failed is left out.
RETRY_SECONDS = 2.0


class Target:
    """One backend, with what was last seen of it. Compared by identity; `key` tells which backend it is."""

    __slots__ = ("address", "down_until", "family", "is_asked", "is_silent", "key", "reason", "weight")

    def __init__(self, key: str, host: str, port: int, weight: int = 1) -> None:
        self.key = key
        self.address = (host, port)
        self.family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.weight = weight
        self.reason = ""
        """Why it is down; empty: it is up."""
        self.down_until = 0.0
        self.is_silent = False
        self.is_asked = False
        """Whether a connection is finding out if it is back."""

    @classmethod
    def parse(cls, wire: Mapping[str, Any]) -> Target:  # Any: JSON
        """Make one of what a message holds."""
        return cls(str(wire["key"]), str(wire["host"]), int(wire["port"]), int(wire["weight"]))


class Backends:
    """The backends that new connections may use; pure: `now` is any clock that does not jump, in seconds."""

    def __init__(self, targets: Iterable[Target] = ()) -> None:
        self._targets: tuple[Target, ...] = ()
        self._turns = RoundRobin(())
        self._all: Sequence[int] = ()
        self._down = 0
        self.changes = 0
        """Grows whenever a backend goes down, comes up or says another reason."""
        self.replace(targets)

    def __len__(self) -> int:
        return len(self._targets)

    @property
    def keys(self) -> frozenset[str]:
        """The keys of those that new connections may use."""
        return frozenset(target.key for target in self._targets)

    def replace(self, targets: Iterable[Target]) -> None:
        """Use `targets` from now on; what is known of those that stay (same key and address) is kept."""
        known = {(target.key, target.address): target for target in self._targets}
        kept: list[Target] = []
        for target in targets:
            if (old := known.get((target.key, target.address))) is not None:
                old.weight = target.weight
                target = old
            kept.append(target)
        self._targets = tuple(kept)
        self._turns = RoundRobin([target.weight for target in kept])
        self._all = range(len(kept))
        self._down = sum(1 for target in kept if target.reason)
        self.changes += 1

    def choose(self, now: float, tried: Collection[Target] = ()) -> Target | None:
        """Return the backend for a connection that has tried `tried`; None when there is none to try.

        Whoever gets one says how it went: `answered` or `failed`, or `spared` when it gave up before knowing.
        """
        if not self._down and not tried:
            index = self._turns.choose(self._all)
        else:
            open_ = [index for index in self._all if self._targets[index] not in tried]
            usable = [index for index in open_ if self._is_usable(self._targets[index], now)]
            index = self._turns.choose(usable or [index for index in open_ if not self._targets[index].is_silent])
        if index is None:
            return None
        target = self._targets[index]
        if target.reason:
            target.is_asked = True
        return target

    @staticmethod
    def _is_usable(target: Target, now: float) -> bool:
        return not target.reason or (now >= target.down_until and not target.is_asked)

    def answered(self, target: Target) -> None:
        """Take note that `target` accepted a connection."""
        if target.reason:
            target.reason, target.is_silent = "", False
            self._count(target, -1)
        target.is_asked = False

    def failed(self, target: Target, reason: str, now: float, *, is_silent: bool = False) -> None:
        """Take note that `target` did not accept a connection; `is_silent`: it let the whole timeout pass."""
        if not target.reason:
            self._count(target, +1)
        elif target.reason != reason:
            self.changes += 1
        target.reason, target.is_silent, target.is_asked = reason, is_silent, False
        target.down_until = now + RETRY_SECONDS

    def spared(self, target: Target) -> None:
        """Take note that a connection to `target` was given up before anybody knew how it would go."""
        target.is_asked = False

    def _count(self, target: Target, step: int) -> None:
        if any(target is own for own in self._targets):  # one that was removed meanwhile does not count
            self._down += step
            self.changes += 1

    def down(self) -> dict[str, str]:
        """Return why each backend that is down is so, by key."""
        return {target.key: target.reason for target in self._targets if target.reason}
