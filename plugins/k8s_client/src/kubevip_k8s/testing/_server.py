"""A fake cluster behind HTTP/1.1, with or without TLS. Each connection carries one request at a time."""

from __future__ import annotations

import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import h11
from anyio import (
    BrokenResourceError,
    ClosedResourceError,
    EndOfStream,
    create_task_group,
    create_tcp_listener,
    move_on_after,
    sleep,
    sleep_forever,
)
from anyio.abc import SocketAttribute
from anyio.streams.tls import TLSListener
from attrs import frozen

from kubevip_k8s._errors import Unreachable
from kubevip_k8s.testing._faults import Delay, Drop, Fail, Fault, Raw, Stall
from kubevip_k8s.testing._memory import Bell, Stream, thawed
from kubevip_k8s.testing._requests import Answer, Request
from kubevip_k8s.testing._status import Refusal, bad_request

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable

    from anyio.abc import ByteStream

    from kubevip_k8s.testing._cluster import FakeCluster

_log = logging.getLogger("kubevip.k8s.testing")

_LARGEST_BODY = 3 << 20  # the server's own bound of a request
_LARGEST_HEAD = 64 << 10
_GRACE_SECONDS = 1.0
_GONE = (EndOfStream, BrokenResourceError, ClosedResourceError, ConnectionError)


class _Broken(Exception):
    """The connection is to be broken: a fault says so."""


@frozen(kw_only=True)
class Served:
    """Where a cluster is served: `url` is what clients are given."""

    url: str
    host: str
    port: int


@asynccontextmanager
async def served(
    cluster: FakeCluster, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncGenerator[Served]:
    """Serve a cluster until the end of the block; all connections are closed then.

    :param port: 0 takes a free one.
    :param tls: speak TLS with this server context.
    :raises OSError: the address cannot be listened on.
    """
    listener = await create_tcp_listener(local_host=host, local_port=port)
    port = listener.extra(SocketAttribute.local_port)

    async def handle(stream: ByteStream) -> None:
        await _Connection(cluster, stream).run()

    async with listener, create_task_group() as group:
        if tls is not None:
            group.start_soon(TLSListener(listener, tls, standard_compatible=False).serve, handle)
        else:
            group.start_soon(listener.serve, handle)
        address = f"[{host}]" if ":" in host else host
        yield Served(url=f"{'https' if tls else 'http'}://{address}:{port}", host=host, port=port)
        group.cancel_scope.cancel()


class _Connection:
    def __init__(self, cluster: FakeCluster, stream: ByteStream) -> None:
        self._cluster, self._stream = cluster, stream
        self._wire = h11.Connection(h11.SERVER, max_incomplete_event_size=_LARGEST_HEAD)

    async def run(self) -> None:
        try:
            while (asked := await self._receive()) is not None:
                await self._while_connected(*asked)
                if self._wire.our_state is not h11.DONE or self._wire.their_state is not h11.DONE:
                    break
                self._wire.start_next_cycle()
        except (*_GONE, _Broken, h11.RemoteProtocolError) as error:
            _log.debug("connection ends: %r", error)
        finally:
            with move_on_after(_GRACE_SECONDS, shield=True):
                await self._stream.aclose()

    async def _event(self) -> object:
        while (event := self._wire.next_event()) is h11.NEED_DATA:
            try:
                self._wire.receive_data(await self._stream.receive())
            except _GONE:
                self._wire.receive_data(b"")
        return event

    async def _receive(self) -> tuple[h11.Request, bytes] | None:
        if not isinstance(head := await self._event(), h11.Request):
            return None
        body = bytearray()
        while isinstance(part := await self._event(), h11.Data):
            body += part.data
            if len(body) > _LARGEST_BODY:
                refusal = Refusal(413, "RequestEntityTooLarge", f"limit is {_LARGEST_BODY}")
                await self._answer(Answer(status=413, body=refusal.document))
                return None
        return head, bytes(body)

    async def _while_connected(self, head: h11.Request, body: bytes) -> None:
        """Serve one request, and stop as soon as the client has gone.

        :raises _Broken: the connection is of no more use.
        """
        is_broken = False
        async with create_task_group() as group:

            async def notice_the_end() -> None:
                try:
                    while data := await self._stream.receive():
                        self._wire.receive_data(data)
                except _GONE:
                    group.cancel_scope.cancel()

            try:
                request = self._request(head, body)
                if isinstance(request, Refusal):
                    await self._answer(Answer(status=request.status, body=request.document))
                else:
                    await self._serve(request, lambda: group.start_soon(notice_the_end))
            except (_Broken, *_GONE):  # raised behind the group, which would wrap it
                is_broken = True
            group.cancel_scope.cancel()
        if is_broken:
            raise _Broken

    async def _serve(self, request: Request, notice_the_end: Callable[[], object]) -> None:
        fault = self._cluster.fault_of(request)
        if request.is_watch or fault is not None or self._cluster.is_frozen:
            notice_the_end()
        if fault is not None and await self._suffer(fault, request):
            return
        await thawed(self._cluster)
        await (self._watch(request) if request.is_watch else self._answer(self._cluster.answer(request)))

    @staticmethod
    def _request(head: h11.Request, body: bytes) -> Request | Refusal:
        headers = {name.decode().lower(): value.decode("latin-1") for name, value in head.headers}
        target = urlsplit(head.target.decode())
        scheme, _, token = headers.get("authorization", "").partition(" ")
        content_type = headers.get("content-type", "application/json").partition(";")[0].strip()
        if body and not content_type.endswith(("json", "yaml")):
            return Refusal(415, "UnsupportedMediaType", f"{content_type} is not understood here, JSON is")
        try:
            decoded = json.loads(body) if body else None
        except ValueError as error:
            return bad_request(f"the body is not JSON: {error}")
        return Request(
            method=head.method.decode(),
            path=target.path,
            query={name: values[-1] for name, values in parse_qs(target.query, keep_blank_values=True).items()},
            content_type=content_type,
            body=decoded,
            token=token if scheme.lower() == "bearer" else None,
        )

    async def _suffer(self, fault: Fault, request: Request) -> bool:
        """Let a fault strike; return whether there is nothing more to do."""
        match fault:
            case Delay(seconds=seconds):
                await sleep(seconds)
                return False
            case Stall(is_carried_out=is_carried_out):
                if is_carried_out:
                    self._cluster.answer(request)
                await sleep_forever()
            case Drop(is_carried_out=is_carried_out):
                if is_carried_out:
                    self._cluster.answer(request)
                raise _Broken
            case Fail(status=status, retry_after_seconds=seconds):
                refusal = Refusal(status, fault.reason, fault.message)
                more = [] if seconds is None else [("Retry-After", str(seconds))]
                await self._answer(Answer(status=status, body=refusal.document), more)
            case Raw(status=status, body=body, content_type=content_type):
                await self._whole(status, body, content_type)
        return True

    async def _answer(self, answer: Answer, more: list[tuple[str, str]] | None = None) -> None:
        if isinstance(answer.body, str):
            await self._whole(answer.status, answer.body.encode(), "text/plain; charset=utf-8", more)
        else:
            await self._whole(answer.status, json.dumps(answer.body).encode(), "application/json", more)

    async def _whole(
        self, status: int, body: bytes, content_type: str, more: list[tuple[str, str]] | None = None
    ) -> None:
        headers = [("Content-Type", content_type), ("Content-Length", str(len(body))), *(more or ())]
        await self._send(h11.Response(status_code=status, headers=headers), h11.Data(data=body), h11.EndOfMessage())

    async def _send(self, *events: h11.Event) -> None:
        await self._stream.send(b"".join(self._wire.send(event) or b"" for event in events))

    async def _watch(self, request: Request) -> None:
        try:
            watch = self._cluster.open_watch(request)
        except Refusal as refusal:
            await self._answer(Answer(status=refusal.status, body=refusal.document))
            return
        bell = Bell(self._cluster)
        try:
            headers = [("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
            await self._send(h11.Response(status_code=200, headers=headers))
            stream = Stream(self._cluster, watch, bell)
            while (events := await stream.next(float("inf"))) is not None:
                await self._send(h11.Data(data=b"".join(json.dumps(event).encode() + b"\n" for event in events)))
            await self._send(h11.EndOfMessage())
        except Unreachable:
            raise _Broken from None
        finally:
            bell.stop()
            self._cluster.close_watch(watch)
