"""Tells in Kubernetes Events what happens to objects."""

from __future__ import annotations

import logging
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from anyio import Event, current_time

from kubevip_k8s import EVENTS, AlreadyExists, ApiError, NotFound
from kubevip_source_k8s._events import Register, event_of
from kubevip_source_k8s._fields import key_of

if TYPE_CHECKING:
    from kubevip_k8s import Api
    from kubevip_source_k8s._events import Said

log = logging.getLogger("kubevip.k8s")

REQUEST_SECONDS = 5.0


class Teller:
    """Creates Events, one after the other; what cannot be told is logged and forgotten. Never waited for.

    :param node: the node that reports.
    """

    def __init__(self, api: Api, *, node: str, is_on: bool = True) -> None:
        self._api, self._node, self._is_on = api, node, is_on
        self._register = Register()
        self._waiting: deque[Said] = deque()  # bounded by what the register permits
        self._news = Event()
        self._is_refused = False

    @property
    def dropped(self) -> int:
        """How many were not told because there were too many."""
        return self._register.dropped

    def say(self, said: Said) -> None:
        """Tell it, unless it was told already or too much is told."""
        if self._is_on and self._register.permits(said, current_time()):
            self._waiting.append(said)
            self._news.set()

    async def run(self) -> None:
        """Create the Events, until cancelled."""
        while True:
            await self._news.wait()
            self._news = Event()
            while self._waiting:
                await self._create(self._waiting.popleft())

    async def _create(self, said: Said) -> None:
        namespace, name = key_of(said.about)
        # wall-clock time, shown to people
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        body = event_of(said, node=self._node, now=now)
        try:
            await self._api.request("POST", EVENTS.path(namespace), body=body, timeout_seconds=REQUEST_SECONDS)
        except (AlreadyExists, NotFound):  # another node was faster; or the namespace has gone
            pass
        except ApiError as error:
            level = logging.DEBUG if self._is_refused else logging.WARNING
            log.log(level, "event of %s/%s cannot be told: %s", namespace, name, error)
            self._is_refused = True
        else:
            self._is_refused = False
