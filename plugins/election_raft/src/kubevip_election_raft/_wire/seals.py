"""How a process is believed that it is dead, although it cannot speak any more, and at once.

Each process of a member draws a secret and tells its peers, to whom it has proven who it is, the SHA-256 of it: its
seal. The secret itself is only with its parent process, which says it when nothing of the process is up any more. So
whoever hears it knows who speaks, whatever way it came, without a handshake, which would take longer than all the rest.
Somebody who overhears it can only say the same again, of the same process, and it is as true then.

What is said is of a fixed length, so nothing of it is interpreted before it is believed.
"""

from __future__ import annotations

import hashlib

from kubevip_election_raft._consensus.entries import Process
from kubevip_election_raft._wire.goodbye import MAGIC, SECRET_BYTES

#: How long a goodbye is. No record of TLS begins like it, nor a frame, whose length has a zero there.
GOODBYE_BYTES = len(MAGIC) + SECRET_BYTES


def seal_of(secret: bytes) -> str:
    """Return what peers are told of a secret."""
    return hashlib.sha256(secret).hexdigest()


class Seals:
    """The seals of the peers, of the newest process of each."""

    def __init__(self) -> None:
        self._sealed: dict[str, tuple[Process, str]] = {}

    def learn(self, process: Process, seal: str) -> None:
        """Note the seal that a process told, over a connection on which it has proven who it is."""
        known = self._sealed.get(process.name)
        if seal and (known is None or process.incarnation >= known[0].incarnation):
            self._sealed[process.name] = process, seal

    def dead(self, said: bytes) -> Process | None:
        """Return the process of which a goodbye says that it is dead; None when nobody has to believe it."""
        if len(said) != GOODBYE_BYTES or not said.startswith(MAGIC):
            return None
        seal = seal_of(said[len(MAGIC) :])
        return next((process for process, known in self._sealed.values() if known == seal), None)
