"""What a holder leaves to be done, should its process die: the release of its Leases."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from itertools import count
from urllib.parse import urlsplit

from anyio import Event, move_on_after, sleep

from kubevip import Will
from kubevip_election_k8s import _goodbye
from kubevip_election_k8s._lease_name import LeaseName
from kubevip_k8s import LEASES, Credentials

#: Changes are collected for so long: a thousand Leases that are acquired at once are one will, or a few.
COLLECT_SECONDS = 0.02

#: What commands and clouds give as credentials is renewed, so the will is as well.
RENEW_SECONDS = 60.0

#: Each instance of the election in this process leaves a will of its own, under an order of its own.
_orders: set[int] = set()


class LastWill:
    """Keeps the will of one instance up to date."""

    def __init__(self, leave: Will, identity: str, access: Callable[[], Mapping[str, object] | None]) -> None:
        """Prepare; nothing is left yet.

        :param access: how the API is reached now (see `_goodbye.make`), None if a will cannot reach it.
        """
        self._leave, self._identity, self._access = leave, identity, access
        self._held: dict[LeaseName, bytes] = {}
        self._changed = Event()
        self._order = 0

    @contextmanager
    def left(self) -> Generator[None]:
        """Have the Leases released while the body runs; whoever leaves it alive has released what was held."""
        self._order = next(order for order in count(_goodbye.ORDER) if order not in _orders)
        _orders.add(self._order)
        try:
            yield
        finally:
            _orders.discard(self._order)
            self._leave(self._order, _goodbye.FUNCTION, None)

    def set(self, lease: LeaseName, transitions: int | None) -> None:
        """Have `lease` released if it is ours and has changed hands so often; None: have it not released."""
        patch = _goodbye.patch(self._identity, transitions) if transitions is not None else None
        if patch == self._held.get(lease):
            return
        if patch is not None:
            self._held[lease] = patch
        else:
            del self._held[lease]
        self._changed.set()

    async def run(self) -> None:
        """Leave the will whenever it has changed, and now and then with the newest credentials, until cancelled."""
        while True:
            with move_on_after(RENEW_SECONDS if self._held else None):
                await self._changed.wait()
            self._changed = Event()
            self.leave()
            await sleep(COLLECT_SECONDS)

    def leave(self) -> None:
        """Leave the will as it is now."""
        access = self._access() if self._held else None
        will = None
        if access is not None:
            patches = [(LEASES.path(lease.namespace, lease.name), patch) for lease, patch in self._held.items()]
            will = _goodbye.make(access, patches)
        self._leave(self._order, _goodbye.FUNCTION, will)


def access_of(credentials: Credentials | None) -> Mapping[str, object] | None:
    """Return how a will reaches the API (see `_goodbye.make`); None where it cannot: through a proxy, or not yet."""
    if credentials is None or credentials.proxy is not None:
        return None
    place = urlsplit(credentials.server)
    is_secure = place.scheme == "https"
    access: dict[str, object] = {
        "host": place.hostname,
        "port": place.port or (443 if is_secure else 80),
        "prefix": place.path.rstrip("/"),
        "name": (credentials.tls_server_name or place.hostname) if is_secure else None,
        "ca": credentials.authority,
        "is_unverified": not credentials.is_verified,
        "certificate": credentials.certificate,
        "key": credentials.key,
    }
    if credentials.token_file is not None:  # renewed every hour, and read when it is needed
        access["token_file"] = str(credentials.token_file)
    else:
        access["authorization"] = credentials.authorization
    return {name: value for name, value in access.items() if value}
