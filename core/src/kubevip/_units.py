"""All units that are to run, kept up to date as the configuration changes: a change costs what it touches.

A part of a configuration lists the instances and groups that it needs, as others do; such a unit runs while anything
needs it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from attrs import evolve

from kubevip._persistent import PersistentMap
from kubevip._plan import GroupUnit, units
from kubevip._resolved import Resolved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubevip._plan import Key, Unit
    from kubevip._resolved import PartName


class Units:
    """What is to run, by key, in `wanted`."""

    def __init__(self) -> None:
        self.wanted: dict[Key, Unit] = {}
        self._seen = Resolved()
        self._of: dict[PartName | None, dict[Key, Unit]] = {}
        """What each part needs; None: all that is in none."""
        self._needed: Counter[Key] = Counter()
        self._announcers: defaultdict[Key, Counter[str]] = defaultdict(Counter)

    def take(self, resolved: Resolved) -> Iterator[tuple[Key, ...]]:
        """Make `wanted` what `resolved` needs; yield the keys that each part of it touched, some perhaps for nothing.

        The caller takes all of it, and may let others have their turn in between.
        """
        before, self._seen = self._seen, resolved
        if _frame(resolved) != _frame(before):
            yield self._replace(None, units(resolved))
        for name in resolved.parts.changed_since(before.parts):
            part = resolved.parts.get(name)
            yield self._replace(name, units(part) if part is not None else {})

    def _replace(self, name: PartName | None, new: dict[Key, Unit]) -> tuple[Key, ...]:
        old = self._of.pop(name, {})
        if new:
            self._of[name] = new
        for key, unit in new.items():
            self._needed[key] += 1
            if isinstance(unit, GroupUnit):
                self._announcers[key].update(unit.announcers)
        for key, unit in old.items():
            self._needed[key] -= 1
            if isinstance(unit, GroupUnit):
                self._announcers[key].subtract(unit.announcers)
        touched = tuple({**old, **new})
        for key in touched:
            if not self._needed[key]:
                del self._needed[key], self.wanted[key]
                self._announcers.pop(key, None)
                continue
            unit = new[key] if key in new else self.wanted[key]
            if isinstance(unit, GroupUnit):
                announcers = frozenset(name for name, count in self._announcers[key].items() if count)
                unit = evolve(unit, announcers=announcers)
            self.wanted[key] = unit
        return touched


def _frame(resolved: Resolved) -> Resolved:
    return evolve(resolved, parts=PersistentMap())
