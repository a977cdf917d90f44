"""A mapping that never changes: what differs is a new one that shares everything else with the old.

So a snapshot of thousands of things is handed on in constant time, and whoever has seen the one before finds what
differs without looking at the rest. This is what keeps the cost of one change independent of how much there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar, cast, final

from attrs import field, frozen

K = TypeVar("K")
V = TypeVar("V")

#: Keys are spread over so many leaves, in as many branches as each has leaves. A change copies one branch and one leaf;
#: a comparison looks at the branches. Up to some ten thousand keys a leaf has a handful.
_BRANCHES = _LEAVES = 64


@frozen(kw_only=True)
class _Held(Generic[V]):
    """A value; `order` is the place of its key among the others."""

    value: V
    order: int


_Leaf = dict[Any, _Held[Any]]  # Any: of the keys and values of the map
_Branch = tuple[_Leaf, ...]

_NO_LEAF: _Leaf = {}
_NO_BRANCH: _Branch = (_NO_LEAF,) * _LEAVES


@final
@frozen(eq=False, repr=False)
class PersistentMap(Mapping[K, V]):
    """An immutable mapping with cheap successors. Iterated in the order in which its keys came, as a dict is."""

    _branches: tuple[_Branch, ...] = field(default=(_NO_BRANCH,) * _BRANCHES, alias="branches")
    _size: int = field(default=0, alias="size")
    _next: int = field(default=0, alias="next")

    def __getitem__(self, key: K) -> V:
        branch, leaf = _way(key)
        held: V = self._branches[branch][leaf][key].value
        return held

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[K]:
        held = [pair for branch in self._branches for leaf in branch for pair in leaf.items()]
        return iter([key for key, _ in sorted(held, key=lambda pair: pair[1].order)])

    def __eq__(self, other: object) -> bool:
        """Compare with another mapping; with a relative, only what differs is compared."""
        if not isinstance(other, PersistentMap):
            return dict(self) == other
        theirs = cast("PersistentMap[K, V]", other)
        if self._size != len(theirs):
            return False
        return all(key in self and key in theirs and self[key] == theirs[key] for key in self.changed_since(theirs))

    __hash__ = None  # type: ignore[assignment] # as of a dict

    def __repr__(self) -> str:
        return f"PersistentMap({dict(self)!r})"

    def with_item(self, key: K, value: V) -> PersistentMap[K, V]:
        """Return a map in which `key` has `value`; this one where it has it already, as the same object."""
        branch, leaf = _way(key)
        old = self._branches[branch][leaf]
        held = old.get(key)
        if held is not None and held.value is value:
            return self
        order = held.order if held is not None else self._next
        new = {**old, key: _Held(value=value, order=order)}
        size = self._size + (held is None)
        return PersistentMap(self._grown(branch, leaf, new), size, self._next + (held is None))

    def without(self, key: K) -> PersistentMap[K, V]:
        """Return a map without `key`; this one where it is not in it."""
        branch, leaf = _way(key)
        old = self._branches[branch][leaf]
        if key not in old:
            return self
        new = {other: held for other, held in old.items() if other != key} or _NO_LEAF
        return PersistentMap(self._grown(branch, leaf, new), self._size - 1, self._next)

    def changed_since(self, before: PersistentMap[K, V]) -> Iterator[K]:
        """Yield the keys that have another value than in `before`, as an object, or are in one of the two only."""
        for mine, others in zip(self._branches, before._branches, strict=True):
            if mine is not others:
                for leaf, other in zip(mine, others, strict=True):
                    if leaf is not other:
                        yield from (key for key in {**other, **leaf} if _value(leaf, key) is not _value(other, key))

    def _grown(self, branch: int, leaf: int, new: _Leaf) -> tuple[_Branch, ...]:
        old = self._branches[branch]
        grown = (*old[:leaf], new, *old[leaf + 1 :])
        return (*self._branches[:branch], grown, *self._branches[branch + 1 :])


_ABSENT = object()


def _value(leaf: _Leaf, key: object) -> object:
    held = leaf.get(key)
    return held.value if held is not None else _ABSENT


def _way(key: object) -> tuple[int, int]:
    """Return the branch and the leaf of a key."""
    leaf, branch = divmod(hash(key), _BRANCHES)
    return branch, leaf % _LEAVES
