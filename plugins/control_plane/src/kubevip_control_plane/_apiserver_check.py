"""Asks the API server of this node whether it is ready: one TLS connection a question."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from anyio import BrokenResourceError, CapacityLimiter, EndOfStream, connect_tcp, to_thread
from anyio.streams.tls import TLSStream

from kubevip import CheckResult
from kubevip_control_plane._answer import LIMIT_BYTES, Answer, NotHttpError, read_answer, request
from kubevip_control_plane._credentials import Credentials, CredentialsError, candidates

if TYPE_CHECKING:
    from anyio.abc import ByteStream

    from kubevip import Target
    from kubevip_control_plane._config import ApiServerConfig


class ApiServerCheck:
    """Good: `path` answers 200, by the server that the CA knows under its name."""

    def __init__(self, config: ApiServerConfig) -> None:
        self._config = config
        self._url = url_of(config)
        self._credentials = Credentials(candidates(config))
        self._disk = CapacityLimiter(1)  # a disk that stalls costs one thread, however often it is asked

    async def probe(self, target: Target) -> CheckResult:
        """Ask once. `target` says nothing: the configuration says what is this node's."""
        try:
            answer = await self._ask()
        except CredentialsError as error:
            return CheckResult(is_good=False, reason=str(error))
        except NotHttpError as error:
            return self._bad(str(error))
        except ssl.SSLCertVerificationError as error:
            return self._bad(f"its certificate is refused: {error.verify_message}")
        except (OSError, BrokenResourceError, EndOfStream) as error:
            return self._bad(_why(error))
        if answer.is_ready:
            return CheckResult(is_good=True)
        return self._bad(f"{answer.status}{f': {answer.reason}' if answer.reason else ''}")

    async def _ask(self) -> Answer:
        context = await to_thread.run_sync(self._credentials.context, abandon_on_cancel=True, limiter=self._disk)
        async with await connect_tcp(str(self._config.address), self._config.port) as plain:
            stream = await TLSStream.wrap(
                plain, hostname=self._config.server_name, ssl_context=context, standard_compatible=False
            )
            await stream.send(request(self._config.path, self._config.server_name))
            return await _receive(stream)

    def _bad(self, reason: str) -> CheckResult:
        return CheckResult(is_good=False, reason=f"{self._url}: {reason}")


def url_of(config: ApiServerConfig) -> str:
    """Return what is asked for, for people."""
    host = f"[{config.address}]" if config.address.version == 6 else str(config.address)
    return f"https://{host}:{config.port}{config.path}"


async def _receive(stream: ByteStream) -> Answer:
    received, is_all = b"", False
    while True:
        if (answer := read_answer(received, is_all=is_all)) is not None:
            return answer
        try:
            received += await stream.receive(LIMIT_BYTES - len(received))
        except EndOfStream:
            is_all = True


def _why(error: Exception) -> str:
    cause: BaseException | None = error
    while cause is not None:  # what the kernel or OpenSSL said, below what the library made of it
        if isinstance(cause, ssl.SSLEOFError):
            return "it hung up"
        if isinstance(cause, ssl.SSLError):
            return f"it speaks no TLS that is understood: {cause.reason or cause}"
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno).lower()  # what libraries make of it repeats the address
        cause = cause.__cause__ or cause.__context__
    return "it hung up"
