"""Hears that a peer's process is dead, from its parent process, on a connection of nobody who has proven anything."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Sequence

from anyio import wait_readable

from kubevip_election_raft._consensus.entries import Process
from kubevip_election_raft._consensus.messages import Goodbye, Message
from kubevip_election_raft._wire.codec import Ping
from kubevip_election_raft._wire.goodbye import HEARD, MAGIC
from kubevip_election_raft._wire.seals import GOODBYE_BYTES, Seals

logger = logging.getLogger("kubevip.raft.transport")


class Mourner:
    """Tells peers how to believe that this process is dead, and believes it of theirs."""

    def __init__(
        self, seal: str, *, receive: Callable[[Process, Sequence[Message]], None], refuse: Callable[[str, str], None]
    ) -> None:
        """Prepare.

        :param seal: of this process.
        :param receive: called with the process that is dead, and its Goodbye.
        :param refuse: called with the address of whoever said something that is not believed, and what is wrong.
        """
        self._seal, self._receive, self._refuse = seal, receive, refuse
        self._seals = Seals()

    def ping(self, config: str) -> Ping:
        """Return the ping by which a peer learns the seal of this process."""
        return Ping(config=config, seal=self._seal)

    def learn(self, sender: Process, ping: Ping) -> None:
        """Learn the seal of a peer that has proven who it is."""
        self._seals.learn(sender, ping.seal)

    async def hear(self, accepted: socket.socket, source: str) -> bool:
        """Take a goodbye, if that is what comes on a connection; return whether it was. The caller limits the time.

        :raises OSError: when the connection breaks.
        """
        await wait_readable(accepted)
        if accepted.recv(1, socket.MSG_PEEK) != MAGIC[:1]:
            return False
        said = b""
        while len(said) < GOODBYE_BYTES:
            await wait_readable(accepted)
            if not (data := accepted.recv(GOODBYE_BYTES - len(said))):
                break
            said += data
        process = self._seals.dead(said)
        if process is None:
            self._refuse(source, "a goodbye that nobody has to believe")
            return True
        logger.info("dead peer=%s incarnation=%d: its keeper says so", process.name, process.incarnation)
        self._receive(process, (Goodbye(),))
        accepted.send(HEARD)
        return True
