"""Writes into the status of Services which addresses they have."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anyio import Event, sleep

from kubevip_k8s import MERGE_PATCH, SERVICES, ApiError, Conflict, Invalid, NotFound
from kubevip_source_k8s._status import has_lost_its_addresses, knows_ip_mode, status_patch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

    from kubevip import IPAddress, Latest, Snapshot
    from kubevip_k8s import Api, JsonObject
    from kubevip_source_k8s._fields import Key

log = logging.getLogger("kubevip.k8s")

REQUEST_SECONDS = 5.0
#: Changes that come together are written together.
GATHER_SECONDS = 0.2
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


class StatusWriter:
    """Keeps the status of the Services whose first address this node holds as it should be.

    One request at a time. A conflict is no failure: the version that caused it is looked at when it arrives.

    :param ip_mode: "VIP" or "Proxy", written where the server knows the field.
    """

    def __init__(self, api: Api, services: Callable[[Key], JsonObject | None], *, ip_mode: str, rng: Random) -> None:
        self._api, self._services, self._ip_mode, self._rng = api, services, ip_mode, rng
        self._granted: Mapping[Key, tuple[IPAddress, ...]] = {}
        self._status: Latest[Snapshot] | None = None
        self._held: frozenset[str] = frozenset()
        self._written: dict[Key, tuple[IPAddress, ...]] = {}
        self._news = Event()
        self.requests = 0
        """How many patches were sent."""
        self.problem = ""
        """Why the last one failed; "" if it did not."""

    def granted(self, granted: Mapping[Key, tuple[IPAddress, ...]]) -> None:
        """Take over which addresses Services have; call it before anybody may have given up what is granted no more."""
        held = _held_in(self._status.value) if self._status is not None else frozenset[str]()
        for key, addresses in self._granted.items():
            if key not in granted and str(addresses[0]) in held:  # perhaps written by the holder before this one
                self._written.setdefault(key, addresses)
        self._granted = granted
        self._news.set()

    async def follow(self, status: Latest[Snapshot]) -> None:
        """Take over which addresses are held here, until cancelled."""
        self._status = status
        while True:
            snapshot = status.value
            held = _held_in(snapshot)
            if held != self._held:
                self._held = held
                self._news.set()
            await sleep(GATHER_SECONDS)
            await status.wait_for_change(snapshot)

    def touch(self) -> None:
        """Look again: a Service has changed."""
        self._news.set()

    async def run(self) -> None:
        """Write, until cancelled."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            await self._news.wait()
            await sleep(GATHER_SECONDS)
            self._news = Event()
            try:
                await self._write_all()
            except ApiError as error:
                if not self.problem:
                    log.warning("status of Services cannot be written: %s", error)
                self.problem = str(error)
                await sleep(pause * self._rng.uniform(0.5, 1.0))
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
                self._news.set()
            else:
                self.problem, pause = "", FIRST_PAUSE_SECONDS

    async def _write_all(self) -> None:
        for key, addresses in list(self._granted.items()):
            if str(addresses[0]) in self._held:
                await self._write(key, addresses)
        for key in [key for key in self._written if key not in self._granted]:
            service = self._services(key)
            is_ours = service is not None and has_lost_its_addresses(service, self._written[key])
            if not is_ours or await self._write(key, ()):
                self._written.pop(key, None)

    async def _write(self, key: Key, addresses: tuple[IPAddress, ...]) -> bool:
        """Return whether that is done; it is not when there is a newer version of the Service, yet to arrive."""
        if (service := self._services(key)) is None:
            return True
        if addresses:
            self._written[key] = addresses
        if (patch := status_patch(service, addresses, self._ip_mode)) is None:
            return True
        self.requests += 1
        try:
            answer = await self._api.request(
                "PATCH",
                SERVICES.path(*key, "status"),
                body=patch,
                content_type=MERGE_PATCH,
                timeout_seconds=REQUEST_SECONDS,
            )
        except Conflict:
            return False
        except NotFound:
            return True
        except Invalid as error:
            log.warning("status of Service %s/%s is not accepted: %s", *key, error)
            return True
        log.info("status of Service %s/%s: %s", *key, ", ".join(map(str, addresses)) or "no addresses")
        if addresses and self._ip_mode and not knows_ip_mode(answer):
            self._ip_mode = ""
        return True


def _held_in(snapshot: Snapshot) -> frozenset[str]:
    return frozenset(vip.name for vip in snapshot.vips if vip.is_held)
