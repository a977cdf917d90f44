"""What the connections of a worker share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kubevip_proxy_tcp._pipes import Pipes

if TYPE_CHECKING:
    from kubevip_dataplane.worker import Loop

#: Size of the one buffer; a direction that fills it again and again is spliced.
BUFFER_BYTES = 64 << 10


class Workshop:
    """The loop, one buffer, the pipes, and a descriptor in reserve.

    With the reserve a client that was accepted as the last one that fits still gets its backend; after that nobody is
    accepted until the reserve is there again.
    """

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.buffer = memoryview(bytearray(BUFFER_BYTES))
        self.pipes = Pipes()
        self._reserve: int | None = None
        self.restock()

    def spend_reserve(self) -> bool:
        """Free the descriptor in reserve; return whether there was one."""
        self.pipes.shrink()
        if self._reserve is None:
            return False
        os.close(self._reserve)
        self._reserve = None
        return True

    def restock(self) -> bool:
        """Take a descriptor in reserve again; return whether there is one now."""
        if self._reserve is None:
            try:
                self._reserve = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                return False
        return True
