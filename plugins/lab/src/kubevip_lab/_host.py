"""A host of the lab: a network namespace that this process holds open, and the processes started in it."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip_lab import _kernel

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from ipaddress import IPv4Address
    from typing import IO

DEVICE = "e0"
"""The one network device of every host, beside `lo`."""


@frozen(kw_only=True)
class Host:
    """One host. `namespace` is an open descriptor of its network namespace, `mac` as "02:00:0a:4d:00:0b"."""

    name: str
    address: IPv4Address
    mac: str
    namespace: int

    @contextmanager
    def entered(self) -> Generator[None]:
        """Be in the host's network namespace inside the block: sockets made there stay there."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _kernel.setns(self.namespace, _kernel.CLONE_NEWNET)
            try:
                yield
            finally:
                _kernel.setns(home, _kernel.CLONE_NEWNET)
        finally:
            os.close(home)

    def start(
        self,
        arguments: Sequence[str],
        *,
        output: int | IO[bytes] = subprocess.DEVNULL,
        errors: int | IO[bytes] = subprocess.STDOUT,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program on this host, in a session of its own (a terminal's Ctrl-C does not reach it)."""
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env=environment,
            preexec_fn=self._enter,
            start_new_session=True,
        )

    def run_interactively(self, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """Run a program in the foreground of the terminal and return its exit status."""
        return subprocess.call(arguments, env=environment, preexec_fn=self._enter)

    def _enter(self) -> None:
        """Become a process of this host; runs between fork and exec."""
        _kernel.setns(self.namespace, _kernel.CLONE_NEWNET)
        _kernel.unshare(_kernel.CLONE_NEWNS | _kernel.CLONE_NEWUTS)
        socket.sethostname(self.name)
        # /sys shows the devices of the namespace in which it was mounted. Where that is refused, it shows those of
        # another host, which only matters to programs that look there.
        with suppress(OSError):
            _kernel.mount("sysfs", "/sys")
