"""Tell every observer what happens; a failing observer harms nobody else."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from anyio import sleep_forever

from kubevip._contract import Event

if TYPE_CHECKING:
    from kubevip.abc import Observer

logger = logging.getLogger("kubevip.observe")


class Observers:
    """The observers that are open now, by instance name."""

    def __init__(self) -> None:
        self._observers: dict[str, Observer] = {}

    async def follow(self, name: str, observer: Observer) -> None:
        """Tell `observer` everything from now on, until cancelled."""
        self._observers[name] = observer
        try:
            await sleep_forever()
        finally:
            self._observers.pop(name, None)

    def notify(self, name: str, message: str, **fields: object) -> None:
        """Tell all observers; what one raises is logged and ignored."""
        event = Event(name=name, message=message, fields=fields)
        for observer_name, observer in tuple(self._observers.items()):
            try:
                observer.notify(event)
            except Exception:  # a failure stays with its observer
                logger.exception("observer %s failed on event %s", observer_name, name)
