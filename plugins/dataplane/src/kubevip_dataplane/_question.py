"""One question to the system's resolver, asked in a thread that nobody has to wait for.

getaddrinfo cannot be interrupted, and a resolver that is dead keeps it for a minute. The interpreter waits for the
worker threads of asyncio and anyio when it exits, so a question in one of them would delay the end of the process past
the time that it is given. It does not wait for a daemon thread.
"""

from __future__ import annotations

import errno
import socket
from threading import Thread  # noqa: TID251  anyio has no daemon threads, and these may never be waited for

from anyio import wait_readable


class Question:
    """The addresses of one name, in the resolver's order."""

    def __init__(self, name: str) -> None:
        """Ask.

        :raises OSError: when there is no descriptor or thread to be had for it.
        """
        self._name = name
        self._answer: list[str] = []
        self._error: Exception | None = None
        self._done, self._theirs = socket.socketpair()  # the thread closes its end: the one sign that needs no loop
        self._thread = Thread(target=self._ask, name=f"resolve {name}", daemon=True)
        try:
            self._thread.start()
        except RuntimeError as error:
            self._done.close()
            self._theirs.close()
            raise OSError(errno.EAGAIN, "no thread to ask in; raise the limit of tasks") from error

    @property
    def is_open(self) -> bool:
        """Whether the resolver is still at it, whoever waits for it."""
        return self._thread.is_alive()

    async def answer(self) -> list[str]:
        """Return the addresses. Called once; when it is cancelled, the thread is left to itself.

        :raises OSError: what the resolver says; also for a name that cannot be asked for.
        """
        with self._done:
            await wait_readable(self._done)
        if isinstance(self._error, UnicodeError):
            raise OSError(errno.EINVAL, "no host name") from self._error
        if self._error is not None:
            raise self._error
        return self._answer

    def _ask(self) -> None:
        with self._theirs:
            try:
                found = socket.getaddrinfo(self._name, None, type=socket.SOCK_STREAM)
            except Exception as error:  # for whoever waits
                self._error = error
            else:
                self._answer = [str(answer[4][0]) for answer in found]
