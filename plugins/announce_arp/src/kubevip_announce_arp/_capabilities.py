"""What the machine permits this process to do on the network: its capabilities (capabilities(7))."""

from __future__ import annotations

from pathlib import Path

from kubevip.errors import NotPermittedError

CAP_NET_ADMIN, CAP_NET_RAW = 12, 13  # linux/capability.h
_NAMES = {CAP_NET_ADMIN: "CAP_NET_ADMIN", CAP_NET_RAW: "CAP_NET_RAW"}
_STATUS = Path("/proc/thread-self/status")


def require(announcer: str, *needed: int, status: Path = _STATUS) -> None:
    """See to it that this process has the capabilities that an announcer cannot do without.

    Where that cannot be read, what they are needed for is refused later, by the kernel.

    :raises NotPermittedError: naming those that are missing.
    """
    try:
        text = status.read_text()
    except OSError:
        return
    effective = next((int(line.split()[1], 16) for line in text.splitlines() if line.startswith("CapEff:")), -1)
    missing = [_NAMES[number] for number in needed if not effective >> number & 1]
    if missing:
        names = " and ".join(missing)
        raise NotPermittedError(
            f"announcer {announcer} needs {names}, which this process lacks: run as root, or grant it "
            f"(systemd: AmbientCapabilities={' '.join(missing)})"
        )
