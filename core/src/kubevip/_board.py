"""Where every item writes what it is doing, and from which snapshots are made.

Writing is cheap and happens as often as it likes; a snapshot is made when somebody asks, and published at most every
tenth of a second for those who wait for changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import sleep
from attrs import evolve

from kubevip._latest import Latest
from kubevip._status import GroupStatus, ListenerStatus, ServiceStatus, Snapshot, VipStatus

if TYPE_CHECKING:
    from collections.abc import Callable

#: Changes that come closer together than this are published as one.
PUBLISH_SECONDS = 0.1


class Board:
    """The state of all items of this process, by name."""

    def __init__(self, *, node: str, instance: str) -> None:
        self.node, self._instance = node, instance
        self.services: dict[tuple[str, str], ServiceStatus] = {}
        self.groups: dict[str, Callable[[], GroupStatus]] = {}
        self.vips: dict[str, VipStatus] = {}
        self.listeners: dict[tuple[str, str], ListenerStatus] = {}
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
        leaders = {group.name: group.leader for group in groups}
        agents = tuple(status for (kind, _), status in self.services.items() if kind == "agent")
        return Snapshot(
            node=self.node,
            instance=self._instance,
            services=tuple(status for (kind, _), status in self.services.items() if kind != "agent"),
            groups=groups,
            vips=tuple(
                evolve(vip, holder=self.node if vip.is_held else leaders.get(vip.group)) for vip in self.vips.values()
            ),
            listeners=tuple(self.listeners.values()),
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
