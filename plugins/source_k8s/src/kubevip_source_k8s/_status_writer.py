"""Writes into the status of Services which addresses they have."""

from __future__ import annotations

import enum
import logging
import math
from typing import TYPE_CHECKING

from anyio import Event, current_time, move_on_after, sleep

from kubevip import Snapshot
from kubevip_k8s import MERGE_PATCH, SERVICES, ApiError, Conflict, Invalid, NotFound
from kubevip_source_k8s._status import clearing_patch, knows_ip_mode, status_patch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from kubevip import IPAddress, Latest, PersistentMap
    from kubevip_k8s import Api, JsonObject
    from kubevip_source_k8s._fields import Key

log = logging.getLogger("kubevip.k8s")

REQUEST_SECONDS = 5.0
#: Changes that come together are written together.
GATHER_SECONDS = 0.2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
#: What nobody leads here is looked after so late that a leader elsewhere has been first.
UNLED_SECONDS = 10.0


class _Role(enum.Enum):
    """What this node is in the source's group. ALONE: nobody wants it to stand, and that for a while."""

    LEADS = "leads"
    FOLLOWS = "follows"
    ALONE = "alone"


class StatusWriter:
    """Keeps the status of Services as it should be.

    The holder of its first address writes a Service's status. What was written into one that is granted nothing any
    more is taken back by the leader of the source's group, whoever held the address and whatever was restarted since.
    Where nothing wants that group any more, nobody leads it, and any node takes back, each Service once: twice could be
    for ever, against a node that is configured otherwise. One request at a time. A conflict is no failure: the version
    that caused it is looked at when it arrives.

    :param service: returns a Service that is there.
    :param services: returns the names of all.
    :param sharers: returns the names of those that have an address.
    :param ip_mode: "VIP" or "Proxy", written where the server knows the field.
    :param source: what the source is called in what it writes: the same on all its nodes, unlike any other's.
    :param group: the group that holds the addresses, but for those of the policy Local.
    :param is_pending: says whether there are changes that what is granted does not know of yet.
    """

    def __init__(
        self,
        api: Api,
        service: Callable[[Key], JsonObject | None],
        services: Callable[[], Iterable[Key]],
        sharers: Callable[[IPAddress], Iterable[Key]],
        *,
        ip_mode: str,
        source: str,
        group: str,
        is_pending: Callable[[], bool],
        rng: Random,
    ) -> None:
        self._api, self._service, self._services, self._is_pending = api, service, services, is_pending
        self._sharers = sharers
        self._ip_mode, self._source, self._group, self._rng = ip_mode, source, group, rng
        self._granted: PersistentMap[Key, tuple[IPAddress, ...]] | None = None
        self._seen = Snapshot()
        self._held: dict[str, IPAddress] = {}
        self._role: _Role = _Role.FOLLOWS
        self._alone_from = math.inf
        self._taken_back: set[Key] = set()
        self._dirty: dict[Key, None] = {}
        self._news = Event()
        self.requests = 0
        """How many patches were sent."""
        self.problem = ""
        """Why the last one failed; "" if it did not."""

    def granted(self, granted: PersistentMap[Key, tuple[IPAddress, ...]]) -> None:
        """Take over which addresses Services have."""
        before, self._granted = self._granted, granted
        if before is None:
            self.touch(self._services())
            return
        self.touch(granted.changed_since(before))
        self._news.set()  # what had to wait for it is among the dirty ones

    async def follow(self, status: Latest[Snapshot]) -> None:
        """Take over what this node holds and leads, until cancelled."""
        while True:
            snapshot = status.value
            self._take(snapshot)
            await sleep(GATHER_SECONDS)
            with move_on_after(self._alone_from - current_time()):
                await status.wait_for_change(snapshot)

    def touch(self, services: Iterable[Key]) -> None:
        """Look at these again: they have changed."""
        self._dirty.update(dict.fromkeys(services))
        self._news.set()

    async def run(self) -> None:
        """Write, until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            await self._news.wait()
            await sleep(GATHER_SECONDS)
            self._news = Event()
            try:
                await self._settle_all()
            except ApiError as error:
                if not self.problem:
                    log.warning("status of Services cannot be written: %s", error)
                self.problem = str(error)
                await sleep(pause * self._rng.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                self._news.set()
            else:
                self.problem, pause = "", FIRST_PAUSE_SECONDS

    def _take(self, snapshot: Snapshot) -> None:
        for name, vip in snapshot.vips_since(self._seen).items():
            if vip is None:
                self._held.pop(name, None)
            elif vip.is_held and name not in self._held:
                self._held[name] = vip.address
                self.touch(self._sharers(vip.address))
            elif not vip.is_held:
                self._held.pop(name, None)
        role = self._role_in(snapshot)
        if role is not self._role and role is not _Role.FOLLOWS:
            self.touch(self._services())
        self._seen, self._role = snapshot, role

    def _role_in(self, snapshot: Snapshot) -> _Role:
        group = next((group for group in snapshot.groups if group.name == self._group), None)
        if group is not None:
            self._alone_from = math.inf
            return _Role.LEADS if group.is_leading else _Role.FOLLOWS
        if current_time() >= self._alone_from:
            self._alone_from = math.inf
            return _Role.ALONE
        if self._role is not _Role.ALONE and self._alone_from == math.inf:
            self._alone_from = current_time() + UNLED_SECONDS
        return self._role if self._role is _Role.ALONE else _Role.FOLLOWS

    async def _settle_all(self) -> None:
        for key in list(self._dirty):
            if (service := self._service(key)) is None:
                self._dirty.pop(key, None)
                self._taken_back.discard(key)
            elif self._granted is None or (key not in self._granted and self._is_pending()):
                continue  # what is granted will be told
            else:
                del self._dirty[key]
                try:
                    await self._settle(key, service, self._granted.get(key, ()))
                except BaseException:
                    self._dirty[key] = None
                    raise

    async def _settle(self, key: Key, service: JsonObject, addresses: tuple[IPAddress, ...]) -> None:
        if addresses:
            self._taken_back.discard(key)
            if str(addresses[0]) in self._held:
                await self._send(key, status_patch(service, addresses, self._ip_mode, self._source), addresses)
            return
        may_take_back = self._role is _Role.LEADS or (self._role is _Role.ALONE and key not in self._taken_back)
        if may_take_back and await self._send(key, clearing_patch(service, self._source), ()):
            self._taken_back.add(key)

    async def _send(self, key: Key, patch: JsonObject | None, addresses: tuple[IPAddress, ...]) -> bool:
        """Return whether anything was written."""
        if patch is None:
            return False
        self.requests += 1
        path = SERVICES.path(*key, "status")
        try:
            answer = await self._api.request(
                "PATCH", path, body=patch, content_type=MERGE_PATCH, timeout_seconds=REQUEST_SECONDS
            )
        except (Conflict, NotFound):
            return False
        except Invalid as error:
            log.warning("status of Service %s/%s is not accepted: %s", *key, error)
            return False
        log.info("status of Service %s/%s: %s", *key, ", ".join(map(str, addresses)) or "no addresses")
        if addresses and self._ip_mode and not knows_ip_mode(answer):
            self._ip_mode = ""
        return True
