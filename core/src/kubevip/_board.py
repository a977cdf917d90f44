"""Where every item writes what it is doing, and from which snapshots are made.

Writing is cheap and happens as often as it likes; a snapshot is made when somebody asks, and published at most every
tenth of a second for those who wait for changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from anyio import sleep

from kubevip._latest import Latest
from kubevip._persistent import PersistentMap
from kubevip._status import GroupStatus, ListenerStatus, ServiceStatus, Snapshot, VipStatus

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")
V = TypeVar("V")

#: Changes that come closer together than this are published as one.
PUBLISH_SECONDS = 0.1


class Rows(Generic[K, V]):
    """What items write about themselves, by name; `now` is all of it, as it is now, in constant time."""

    def __init__(self) -> None:
        self.now: PersistentMap[K, V] = PersistentMap()

    def __getitem__(self, key: K) -> V:
        return self.now[key]

    def __setitem__(self, key: K, value: V) -> None:
        self.now = self.now.with_item(key, value)

    def __contains__(self, key: K) -> bool:
        return key in self.now

    def get(self, key: K) -> V | None:
        """Return the row, None where there is none."""
        return self.now.get(key)

    def remove(self, key: K) -> None:
        """Take a row out, if it is there."""
        self.now = self.now.without(key)


class Board:
    """The state of all items of this process, by name."""

    def __init__(self, *, node: str, instance: str) -> None:
        self.node, self._instance = node, instance
        self.services: dict[tuple[str, str], ServiceStatus] = {}
        self.groups: dict[str, Callable[[], GroupStatus]] = {}
        self.vips: Rows[str, VipStatus] = Rows()
        self.listeners: Rows[tuple[str, str], ListenerStatus] = Rows()
        self.problems: tuple[str, ...] = ()
        self.config_digest = ""
        self.published: Latest[Snapshot] = Latest(Snapshot(node=node, instance=instance))
        self._touched = Latest(0)

    def touch(self) -> None:
        """Say that something changed."""
        self._touched.set(self._touched.value + 1)

    def snapshot(self) -> Snapshot:
        """Return everything as it is now."""
        groups = tuple(status() for status in self.groups.values())
        agents = tuple(status for (kind, _), status in self.services.items() if kind == "agent")
        return Snapshot(
            node=self.node,
            instance=self._instance,
            services=tuple(status for (kind, _), status in self.services.items() if kind != "agent"),
            groups=groups,
            vips=self.vips.now,
            listeners=self.listeners.now,
            agents=agents,
            problems=self.problems,
            config_digest=self.config_digest,
        )

    async def run(self) -> None:
        """Publish snapshots as things change, until cancelled."""
        seen: int | None = None
        while True:
            seen = await self._touched.wait_for_change(seen)
            self.published.set(self.snapshot())
            await sleep(PUBLISH_SECONDS)
