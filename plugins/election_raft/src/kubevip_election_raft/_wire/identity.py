"""What a member says of itself."""

from __future__ import annotations

from functools import cached_property

from attrs import frozen

from kubevip_election_raft._consensus.entries import Process
from kubevip_election_raft._wire.codec import Envelope, Payload
from kubevip_election_raft._wire.sockets import Endpoint


@frozen(kw_only=True)
class Identity:
    """Who a member is, of which cluster and epoch, and where it listens."""

    process: Process
    cluster: str
    own: Endpoint
    software: str
    epoch: int = 0

    def encode(self, message: Payload) -> bytes:
        """Return the bytes of a frame of this member."""
        return self._envelope.enclose(message)

    @cached_property
    def _envelope(self) -> Envelope:
        return Envelope(cluster=self.cluster, sender=self.process, epoch=self.epoch)
