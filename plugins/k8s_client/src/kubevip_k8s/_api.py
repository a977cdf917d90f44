"""What the plugins ask of the Kubernetes API, whoever answers: a real server, or one in memory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

#: An object of the API as JSON decodes it. Nothing of it is trusted to have the type that it should.
JsonObject = Mapping[str, object]

NO_QUERY: Mapping[str, str] = MappingProxyType({})

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"


class Api(Protocol):
    """A connection to the API with credentials. Any number of requests at a time."""

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
        """Send one request, whole within `timeout_seconds`, and return the decoded answer.

        Never repeated by itself. Cancelling it closes its connection; it may have been carried out then.

        :param each: takes the objects of a list, one after the other and with pauses, in which others have their turn;
            the answer has no `items` then. What it raises is raised. Objects may have been taken when this fails.
        :raises ApiError: see there.
        """
        ...

    def watch(
        self, path: str, *, query: Mapping[str, str], idle_seconds: float
    ) -> AbstractAsyncContextManager[AsyncIterator[JsonObject]]:
        """Open a watch; what is iterated are its events (`type`, `object`), ERROR events included.

        Entered when the server has accepted it. The iteration ends when the server ends the watch, and raises
        `TimedOut` when nothing, not even a bookmark, has come for `idle_seconds`.

        :raises ApiError: on entering and in the iteration.
        """
        ...
