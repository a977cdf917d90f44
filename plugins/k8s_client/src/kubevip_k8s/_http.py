"""The API over HTTP: an `Api` that bounds time and size of what it accepts and translates what goes wrong."""

from __future__ import annotations

import json
import ssl
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, cast

from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint

from kubevip_k8s._api import JSON, NO_QUERY, JsonObject
from kubevip_k8s._errors import BadAnswer, TimedOut, Unauthorized, Unreachable, error_of_status
from kubevip_k8s._lines import Lines
from kubevip_k8s._listing import Listing
from kubevip_k8s._session import Sessions
from kubevip_k8s._trust import describe_distrust

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping

    import aiohttp

    from kubevip_k8s._access import Access, Credentials

#: An answer is a page of a list at most. An event is one object: etcd stores 1.5 MiB of it, JSON may be longer.
MOST_ANSWER_BYTES, MOST_EVENT_BYTES, MOST_REFUSAL_BYTES = 64 * 2**20, 8 * 2**20, 2**20
_CHUNK_BYTES = 2**16
#: A watch is accepted at once by whoever can; it may have to wait for a list that the server makes of etcd first.
ACCEPT_SECONDS = 30.0


@asynccontextmanager
async def open_api(access: Access) -> AsyncGenerator[HttpApi]:
    """Open the API as `access` says, until left; nothing is asked of the server by it. Needs asyncio.

    Credentials are read at once, and again when their files change or the server refuses them: while a kubeconfig is
    not there, requests fail with `NoAccess`. A connection is kept for the next request.
    """
    failure: Exception | None = None
    async with create_task_group() as tg:
        sessions = Sessions(access)
        tg.start_soon(sessions.follow)
        try:
            yield HttpApi(sessions)
        except Exception as error:  # raised below, as it is: callers look for ApiError, not for groups
            failure = error
        tg.cancel_scope.cancel()
    if failure is not None:
        raise failure


class HttpApi:
    """An `Api` over HTTP. Made by `open_api`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    @property
    def credentials(self) -> Credentials | None:
        """Those in use now; None before they were read."""
        return self._sessions.credentials

    async def recovered(self) -> None:
        """Return when the server answers again; see `SupportsRecovery`."""
        await self._sessions.recovered()

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: object = None,
        content_type: str = JSON,
        timeout_seconds: float,
        each: Callable[[object], None] | None = None,
    ) -> JsonObject:
        """See `Api.request`."""
        what = f"{method} {path}"
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        try:
            with fail_after(timeout_seconds):
                async with self._asked(method, path, query, data, content_type) as response:
                    text = await _read_whole(what, response, MOST_ANSWER_BYTES)
                    return _decoded(what, text) if each is None else await _taken_apart(what, text, each)
        except TimeoutError:
            self._sessions.note(is_answered=False)
            raise TimedOut(f"{what}: no whole answer within {round(timeout_seconds, 1):g} s") from None

    @asynccontextmanager
    async def watch(
        self, path: str, *, query: Mapping[str, str], idle_seconds: float
    ) -> AsyncGenerator[AsyncIterator[JsonObject]]:
        """See `Api.watch`."""
        what = f"watch {path}"
        async with AsyncExitStack() as stack:
            try:
                with fail_after(min(idle_seconds, ACCEPT_SECONDS)):
                    response = await stack.enter_async_context(
                        self._asked("GET", path, {**query, "watch": "true"}, None, JSON)
                    )
            except TimeoutError:
                self._sessions.note(is_answered=False)
                raise TimedOut(f"{what}: not accepted within {min(idle_seconds, ACCEPT_SECONDS):g} s") from None
            yield _Events(what, response, idle_seconds)

    @asynccontextmanager
    async def _asked(
        self, method: str, path: str, query: Mapping[str, str], data: bytes | None, content_type: str
    ) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a request; entered with an answer that is no refusal. Left, its connection is free or closed."""
        session = await self._sessions.current()
        credentials = session.credentials
        headers = {"Accept": JSON, "Accept-Encoding": "identity", "User-Agent": "kubevip"}
        if credentials.authorization is not None:
            headers["Authorization"] = credentials.authorization
        if data is not None:
            headers["Content-Type"] = content_type
        what = f"{method} {credentials.server}{path}"
        async with session.used():
            try:
                with _translated(what, credentials):
                    response = await session.http.request(
                        method,
                        credentials.server + path,
                        params=dict(query),
                        data=data,
                        headers=headers,
                        allow_redirects=False,  # credentials go to nobody else
                        server_hostname=credentials.tls_server_name,
                        proxy=credentials.proxy,
                    )
            except Unreachable:
                self._sessions.note(is_answered=False)
                raise
            self._sessions.note(is_answered=response.status < 500)
            try:
                if not 200 <= response.status < 300:
                    await self._refuse(what, response)
                yield response
            finally:
                # What was read to its end has given its connection back already. Any other is gone at once, and not
                # when the other side agrees to end TLS.
                if response.connection is not None and response.connection.transport is not None:
                    response.connection.transport.abort()
                response.close()

    async def _refuse(self, what: str, response: aiohttp.ClientResponse) -> None:
        """Raise what the answer's status stands for."""
        text = await _read_whole(what, response, MOST_REFUSAL_BYTES)
        try:
            answer: object = json.loads(text)
        except (ValueError, RecursionError):
            answer = text.decode(errors="replace")
        error = error_of_status(response.status, answer, _seconds(response.headers.get("Retry-After")))
        if isinstance(error, Unauthorized):
            self._sessions.doubt()
        raise error


class _Events:
    """The events of a watch."""

    def __init__(self, what: str, response: aiohttp.ClientResponse, idle_seconds: float) -> None:
        self._what, self._response, self._idle_seconds = what, response, idle_seconds
        self._lines = Lines(MOST_EVENT_BYTES)
        self._ready: list[bytes] = []

    def __aiter__(self) -> AsyncIterator[JsonObject]:
        return self

    async def __anext__(self) -> JsonObject:
        while not self._ready:
            try:
                with fail_after(self._idle_seconds), _translated(self._what):
                    data = await self._response.content.readany()
            except TimeoutError:
                raise TimedOut(f"{self._what}: nothing for {self._idle_seconds:g} s") from None
            if not data:
                raise StopAsyncIteration
            self._ready = self._lines.feed(data)[::-1]
        return _decoded(self._what, self._ready.pop())


@contextmanager
def _translated(what: str, credentials: Credentials | None = None) -> Generator[None]:
    """Translate what aiohttp and sockets raise; `credentials` are those that a connection is opened with."""
    import aiohttp

    try:
        yield
    except aiohttp.ServerTimeoutError as error:
        raise TimedOut(f"{what}: {error}") from error
    except aiohttp.ClientPayloadError as error:
        raise Unreachable(f"{what}: the answer was cut off") from error
    except aiohttp.ClientConnectorCertificateError as error:
        cause = error.certificate_error
        if credentials is None or not isinstance(cause, ssl.SSLCertVerificationError):
            raise Unreachable(f"{what}: {error}") from error
        raise Unreachable(f"{what}: {describe_distrust(cause, credentials)}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Unreachable(f"{what}: {str(error) or type(error).__name__}") from error


async def _read_whole(what: str, response: aiohttp.ClientResponse, most_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    with _translated(what):
        async for part in response.content.iter_chunked(_CHUNK_BYTES):
            size += len(part)
            if size > most_bytes:
                raise BadAnswer(f"{what}: the answer has more than {most_bytes} bytes")
            parts.append(part)
    return b"".join(parts)


def _decoded(what: str, text: bytes) -> JsonObject:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise BadAnswer(f"{what}: not JSON: {text[:80].decode(errors='replace')!r}") from None
    if not isinstance(value, dict):
        raise BadAnswer(f"{what}: expected an object, got {text[:80].decode(errors='replace')!r}")
    return cast("JsonObject", value)


async def _taken_apart(what: str, text: bytes, each: Callable[[object], None]) -> JsonObject:
    """Decode a list and give its objects to `each`, with a pause after every few of them; return the rest of it."""
    listing = Listing(what, text)
    while listing.decode(each):
        await checkpoint()
    return listing.rest


def _seconds(text: str | None) -> float | None:
    """Return the seconds that a header Retry-After names; its other form, a date, is not used by Kubernetes."""
    return min(float(text), 3600.0) if text is not None and text.isascii() and text.isdigit() else None
