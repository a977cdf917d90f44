"""A virtual IP that is held here, and the tenure that it hangs on."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

from anyio import Event
from attrs import define, evolve, field

from kubevip import Health, Level

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubevip import Tenure, VirtualIP
    from kubevip_announce_arp._kernel import Place

_logger = logging.getLogger("kubevip.address")


@define(eq=False)
class Held:
    """A virtual IP that is, or is to be, on a device."""

    vip: VirtualIP
    tenure: Tenure
    report: Callable[[Health], None]
    place: Place
    is_entered: bool = False
    problem: str = "not up yet"
    """Why it is not on its device; "" when it is."""
    advice: str = ""
    """What to change although all is well; "" for nothing."""
    health: Health | None = None
    put: Event = field(factory=Event)
    """Set when putting it up has been tried."""
    lowered: Event = field(factory=Event)
    """Set when taking it off has been tried. An event of its own: putting up may still be under way by then."""

    def rename(self, device: str) -> None:
        """Stay on the device, which is called `device` now; say so if the next takeover would not find it."""
        vip, before = self.vip, self.place.device
        self.place, self.advice = evolve(self.place, device=device), ""
        if vip.interface in ("auto", device):
            _logger.info("renamed vip=%s device=%s: it is called %s now", vip.name, before, device)
            return
        self.advice = (
            f"{vip.address} stays on {device}, as {before} is called now, but cannot be put there again: "
            f"write {device} at {vip.places.at('interface')}, or call it {vip.interface} again"
        )
        _logger.warning("renamed vip=%s device=%s: %s", vip.name, before, self.advice)

    def tell(self, link_trouble: str, unfenced: str, *, is_shut: bool) -> None:
        """Report how it does, if that changed; nothing before it is entered.

        :param is_shut: whether the fence keeps it silent.
        """
        if not self.is_entered:
            return
        if self.problem:
            health = Health(level=Level.FAILED, reason=f"{self.vip.address}: {self.problem}")
        elif link_trouble:
            health = Health(level=Level.FAILED, reason=link_trouble)
        elif is_shut:
            why = "its fence could not be opened in time; is this machine overloaded?"
            health = Health(level=Level.DEGRADED, reason=f"{self.vip.address} is silent: {why}")
        elif unfenced:
            health = Health(level=Level.DEGRADED, reason=f"unfenced: {unfenced}")
        else:
            health = Health(reason=self.advice)
        if health != self.health:
            self.health = health
            self.report(health)


@define(eq=False)
class Leader:
    """A tenure that virtual IPs hang on: how many, how to stop following it, and until when the fence is open.

    `is_shut` says that the last try to open it came to nothing.
    """

    tenure: Tenure
    stop: Callable[[], None]
    users: int = 0
    open_until: float = -math.inf
    is_shut: bool = False
