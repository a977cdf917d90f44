"""What the announcers would do, for `kubevip check` and `kubevip plan`. One fragment of a line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip import Description, Severity
from kubevip_announce_arp._config import (
    UNFENCED_LIFETIME_SECONDS,
    UNFENCED_TAKEOVER_SECONDS,
    AddressConfig,
    ArpConfig,
    FencePolicy,
)

if TYPE_CHECKING:
    from kubevip import Outlook, Problem


def describe_address(config: AddressConfig, outlook: Outlook) -> Description:
    """Say which addresses go on which device: "ens18 += 192.168.0.75/32 2001:db8::75/128 (lifetime 10 s, fenced)"."""
    by_device: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for vip in outlook.vips:
        device = outlook.devices.get(vip.name, "")
        if device:
            by_device.setdefault(device, []).append(f"{vip.address}/{vip.address.max_prefixlen}")
            if (own := outlook.machine.device_of(vip.address)) and not outlook.machine.is_own(vip.address):
                problems.append(
                    vip.places.problem(
                        f"{vip.address} is already on {own}; unless that is a running kubevip, {outlook.node_name} "
                        f"cannot hold {vip.name}",
                        "address",
                        severity=Severity.WARNING,
                    )
                )
            continue
        if vip.interface == "auto":
            message = f"no device of this machine has a subnet that holds {vip.address}, nor a default route"
        else:
            message = f"{vip.interface} does not exist on this machine"
        message += f"; {outlook.node_name} will not stand for {vip.group}"
        problems.append(vip.places.problem(message, "interface", severity=Severity.WARNING))
    lifetime, fence = int(config.lifetime), "fenced"
    if config.fence is FencePolicy.OFF:
        lifetime = UNFENCED_LIFETIME_SECONDS
        fence = f"not fenced: no takeover within {UNFENCED_TAKEOVER_SECONDS * 1000:.0f} ms"
    parts = [f"{device} += {' '.join(addresses)}" for device, addresses in by_device.items()]
    lines = (f"{', '.join(parts)} (lifetime {lifetime} s, {fence})",) if parts else ()
    return Description(lines=lines, problems=tuple(problems))


def describe_arp(config: ArpConfig, outlook: Outlook) -> Description:
    """Say how the addresses are announced: "GARP+NA at once, +1.1 s, +2.2 s, every 60 s"."""
    versions = {vip.address.version for vip in outlook.vips}
    if not versions:
        return Description()
    what = "+".join(name for version, name in ((4, "GARP"), (6, "NA")) if version in versions)
    times = ["at once", *(f"+{number * config.interval:.4g} s" for number in range(1, config.count))]
    if config.refresh:
        times.append(f"every {config.refresh:g} s")
    return Description(lines=(f"{what} {', '.join(times)}",))
