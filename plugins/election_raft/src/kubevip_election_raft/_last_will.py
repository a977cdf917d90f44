"""What a member leaves to be said, should its process die: its goodbye, to each of its peers."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager

from kubevip import Will
from kubevip_election_raft._wire import goodbye
from kubevip_election_raft._wire.seals import seal_of
from kubevip_election_raft._wire.sockets import Endpoint


class LastWill:
    """Keeps the will of a member up to date. `seal` is what its peers are to know of it."""

    def __init__(self, leave: Will, own: Endpoint) -> None:
        """Prepare; nothing is left yet."""
        self._leave, self._own = leave, own
        self._secret = secrets.token_bytes(goodbye.SECRET_BYTES)
        self.seal = seal_of(self._secret)

    @contextmanager
    def left(self, peers: Mapping[str, Endpoint]) -> Generator[None]:
        """Have these peers told, while the body runs; whoever leaves it alive has released what was held."""
        self.address_to(peers)
        try:
            yield
        finally:
            self._leave(goodbye.ORDER, goodbye.FUNCTION, None)

    def address_to(self, peers: Mapping[str, Endpoint]) -> None:
        """Have these peers told from now on, and no others."""
        listed = [(name, str(endpoint.address), int(endpoint.port)) for name, endpoint in peers.items()]
        will = goodbye.make(str(self._own.address), self._secret, listed)
        self._leave(goodbye.ORDER, goodbye.FUNCTION, will)
