"""What users set of the announcers "address" and "arp"."""

from __future__ import annotations

import enum

from attrs import field, frozen

from kubevip import Duration

#: What takes the place of a fence: how long an address lives by itself, and how often that is renewed.
UNFENCED_LIFETIME_SECONDS, UNFENCED_RENEW_SECONDS = 2, 0.5
#: So much time has a process that is only late to take its addresses off before anybody else may put them up. One that
#: hangs keeps them for their lifetime all the same, which nothing bounds but the kernel's diligence.
UNFENCED_TAKEOVER_SECONDS = 0.5


class FencePolicy(enum.Enum):
    """What to do about the kernel fence: use it where there is one, refuse to start without it, or leave it out."""

    AUTO = "auto"
    REQUIRED = "required"
    OFF = "off"


class OnConflict(enum.Enum):
    """What to do when somebody else claims a held address: claim it back (at most once in 10 s), or only say so."""

    DEFEND = "defend"
    IGNORE = "ignore"


@frozen(kw_only=True)
class AddressConfig:
    """The announcer "address": the address on the device, behind a fence."""

    fence: FencePolicy = FencePolicy.AUTO
    """With `required` a node without nf_tables does not hold addresses; with `off` only the address lifetime protects
    against a process that hangs, which has no hard bound."""
    lifetime: Duration = field(default=Duration(10.0))
    """How long an address stays when nobody renews it, whole seconds; 2 s when there is no fence."""
    renew: Duration = field(default=Duration(3.0))
    """How often it is renewed; 0.5 s when there is no fence."""
    probes: int = 3
    """How often to ask, before an address is claimed that no member of its group has announced yet, whether somebody
    else has it; 0 = do not ask."""
    probe_interval: Duration = field(default=Duration(0.2))
    """How long to wait for an answer to each probe. RFC 5227 1.1 waits 1-2 s, on networks of any size."""

    def __attrs_post_init__(self) -> None:
        """Check how the settings relate.

        :raises ValueError: naming the field.
        """
        if self.lifetime < 2 or self.lifetime % 1 > 0:
            raise ValueError(f"lifetime: {self.lifetime:g} s is not a whole number of seconds, 2 or more")
        if not 0.1 <= self.renew <= self.lifetime / 2:
            raise ValueError(f"renew: {self.renew:g} s is not between 0.1 s and half the lifetime")
        if not 0 <= self.probes <= 10:
            raise ValueError(f"probes: {self.probes} is not between 0 and 10")
        if not 0.02 <= self.probe_interval <= 2:
            raise ValueError(f"probeInterval: {self.probe_interval:g} s is not between 20 ms and 2 s")


@frozen(kw_only=True)
class ArpConfig:
    """The announcer "arp": gratuitous ARP and unsolicited neighbour advertisements."""

    count: int = 3
    """How many announcements follow a takeover. Neighbours that run Linux ignore a second one within 1 s."""
    interval: Duration = field(default=Duration(1.1))
    """How far they are apart."""
    refresh: Duration = field(default=Duration(60.0))
    """How often to announce after that, so that no switch forgets where the address is (300 s); 0 = never."""
    on_conflict: OnConflict = OnConflict.DEFEND
    """What to do when another machine claims the address."""
    rate: int = 2000
    """How many frames may leave per second and device, when many addresses are taken at once."""

    def __attrs_post_init__(self) -> None:
        """Check how the settings relate.

        :raises ValueError: naming the field.
        """
        if not 1 <= self.count <= 20:
            raise ValueError(f"count: {self.count} is not between 1 and 20")
        if not 0.05 <= self.interval <= 60:
            raise ValueError(f"interval: {self.interval:g} s is not between 50 ms and 60 s")
        if 0 < self.refresh < 1 or self.refresh < 0:
            raise ValueError(f"refresh: {self.refresh:g} s is neither 0 (never) nor at least 1 s")
        if not 10 <= self.rate <= 100_000:
            raise ValueError(f"rate: {self.rate} is not between 10 and 100000 frames a second")
