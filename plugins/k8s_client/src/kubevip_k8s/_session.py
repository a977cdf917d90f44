"""HTTP sessions with credentials that are followed: read again when their files change or a server refuses them."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope, Event, current_time, move_on_after, sleep_forever
from anyio.lowlevel import checkpoint
from attrs import define

from kubevip_k8s._credentials import read_credentials
from kubevip_k8s._errors import NoAccess
from kubevip_k8s._reachability import reachability_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    import aiohttp

    from kubevip_k8s._access import Access, Credentials
    from kubevip_k8s._reachability import Reachability

logger = logging.getLogger("kubevip.k8s")

CONNECT_SECONDS = 5.0
#: Files are looked at so often; so soon after a failed reading it is tried again.
LOOK_SECONDS, RETRY_SECONDS = 5.0, 1.0
#: Without a change of files credentials are read again after this time: what a command gives has an end of its own,
#: 14 minutes at the shortest among the big clouds.
STALE_SECONDS = 300.0

_FileState = tuple[tuple[int, int] | None, ...]


@define(eq=False)
class Session:
    """A session of aiohttp and the credentials that it was made with."""

    credentials: Credentials
    http: aiohttp.ClientSession
    reachability: Reachability
    _users: int = 0
    _is_replaced: bool = False

    @asynccontextmanager
    async def used(self) -> AsyncGenerator[None]:
        """Keep it open for as long as this is entered, even when it is replaced meanwhile."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            await self._close_if_idle()

    async def replace(self) -> None:
        """Close it as soon as nobody uses it."""
        self._is_replaced = True
        await self._close_if_idle()

    async def _close_if_idle(self) -> None:
        if self._is_replaced and not self._users:
            with move_on_after(1.0, shield=True):
                await self.http.close()
                for _ in range(3):  # asyncio closes the sockets of aborted connections in the turns that follow
                    await checkpoint()


class Sessions:
    """Gives the session for now, while `follow` runs."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: Session | None = None
        self._error: NoAccess | None = None
        self._has_looked, self._is_doubted = Event(), Event()
        self._read_at = -STALE_SECONDS

    async def current(self) -> Session:
        """Return the session for one request; waits while the credentials are read for the first time.

        :raises NoAccess: they could not be read. That is tried again by itself.
        """
        await self._has_looked.wait()
        if self._session is None:
            assert self._error is not None
            raise NoAccess(*self._error.args)
        return self._session

    async def recovered(self) -> None:
        """Return when the server answers again; see `SupportsRecovery`. Without credentials it is not known which."""
        if self._session is None:
            await sleep_forever()
        else:
            await self._session.reachability.recovered()

    @property
    def credentials(self) -> Credentials | None:
        """Those in use now; None before they were read."""
        return self._session.credentials if self._session is not None else None

    def note(self, *, is_answered: bool) -> None:
        """Take note whether the server answered a request."""
        if self._session is not None:
            self._session.reachability.note(is_answered=is_answered)

    def doubt(self) -> None:
        """Have the credentials read again now: a server has refused them."""
        self._is_doubted.set()

    async def follow(self) -> None:
        """Read the credentials whenever that is due, until cancelled; then close."""
        try:
            while True:
                await self._read()
                self._has_looked.set()
                await self._wait_until_due()
        finally:
            if self._session is not None:
                with CancelScope(shield=True):
                    await self._session.replace()

    async def _read(self) -> None:
        self._is_doubted = Event()
        try:
            credentials, context = await read_credentials(self._access)
        except NoAccess as error:
            if self._error is None or error.args != self._error.args:
                kept = "" if self._session is None else "; what was read before is kept"
                is_quiet = self._access.is_optional and self._session is None
                logger.log(logging.DEBUG if is_quiet else logging.WARNING, "no access to Kubernetes: %s%s", error, kept)
            self._error = error
            return
        self._error, self._read_at = None, current_time()
        before = self._session
        if before is not None and before.credentials == credentials:
            return
        self._session = Session(credentials, _open(context), reachability_of(credentials.server))
        if before is not None:
            logger.info("credentials were replaced: %s", self._access)
            await before.replace()

    async def _wait_until_due(self) -> None:
        """Wait until files have changed, a server has doubted, or the time has come."""
        seen = _look_at(self._session.credentials.files) if self._session is not None else ()
        await self._pause(RETRY_SECONDS)  # also when every request is refused
        if self._session is None:
            return
        while (
            not self._is_doubted.is_set()
            and current_time() - self._read_at < STALE_SECONDS
            and _look_at(self._session.credentials.files) == seen
        ):
            with move_on_after(LOOK_SECONDS):
                await self._is_doubted.wait()

    async def _pause(self, seconds: float) -> None:
        with move_on_after(seconds):
            await Event().wait()


def _open(context: ssl.SSLContext) -> aiohttp.ClientSession:
    import aiohttp

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context, limit=0, keepalive_timeout=30.0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # nothing is asked to be compressed, and so every answer is as large as it says
        skip_auto_headers=("Accept-Encoding", "User-Agent"),
    )


def _look_at(files: Sequence[Path]) -> _FileState:
    """Return what tells whether a file changed; the links that Kubernetes swaps are followed."""
    found: list[tuple[int, int] | None] = []
    for file in files:
        try:
            status = os.stat(file)
            found.append((status.st_ino, status.st_mtime_ns))
        except OSError:
            found.append(None)
    return tuple(found)
