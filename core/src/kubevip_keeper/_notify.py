"""Telling the service manager how the daemon does: sd_notify(3), without its library."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Notify:
    """Sends to the socket that the service manager named; does nothing where there is none."""

    def __init__(self, address: str | None) -> None:
        self._address = address

    @classmethod
    def taken_from(cls, environment: MutableMapping[str, str]) -> Notify:
        """Take NOTIFY_SOCKET out of the environment: only the keeper speaks to the service manager."""
        address = environment.pop("NOTIFY_SOCKET", None)
        environment.pop("WATCHDOG_PID", None)
        environment.pop("WATCHDOG_USEC", None)
        return cls(address if address and address[0] in "/@" else None)

    def send(self, **fields: str) -> None:
        """Send the assignments, `READY="1"` and so on; a value is one line. Never blocks, never raises."""
        if self._address is None:
            return
        import socket  # a megabyte that only a supervised keeper pays

        name = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        text = "\n".join(f"{key}={' '.join(value.split())}" for key, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto(text.encode(), os.fsencode(name))
        except OSError:  # a service manager that does not listen changes nothing for the addresses
            pass
