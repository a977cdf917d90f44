"""What a member leaves to be said, should its process die: its goodbye, to each of its peers."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from kubevip import Will
from kubevip_election_raft import _goodbye
from kubevip_election_raft._codec import Hello
from kubevip_election_raft._identity import Identity
from kubevip_election_raft._messages import Goodbye
from kubevip_election_raft._sockets import Endpoint


class LastWill:
    """Keeps the will of a member up to date."""

    def __init__(self, leave: Will, identity: Identity, keys: Sequence[Path]) -> None:
        """Prepare; nothing is left yet.

        :param keys: the files of the CA, of the certificate and of its key; none for plain TCP.
        """
        self._leave, self._identity, self._keys = leave, identity, tuple(map(str, keys))

    @contextmanager
    def left(self, peers: Mapping[str, Endpoint]) -> Generator[None]:
        """Have these peers told, while the body runs; whoever leaves it alive has released what was held."""
        self.address_to(peers)
        try:
            yield
        finally:
            self._leave(_goodbye.ORDER, _goodbye.FUNCTION, None)

    def address_to(self, peers: Mapping[str, Endpoint]) -> None:
        """Have these peers told from now on, and no others."""
        listed = [
            (
                name,
                str(endpoint.address),
                endpoint.port,
                self._identity.encode(Hello(to=name)) + self._identity.encode(Goodbye()),
            )
            for name, endpoint in peers.items()
        ]
        will = _goodbye.make(str(self._identity.own.address), self._keys, listed)
        self._leave(_goodbye.ORDER, _goodbye.FUNCTION, will)
