"""The control process's side of a connection, against a peer that reads when the test wants it to."""

from __future__ import annotations

import gc
import os
import socket

import pytest
from anyio import create_task_group, fail_after, sleep

from kubevip_dataplane import _link
from kubevip_dataplane._link import Link, LinkError
from kubevip_dataplane._messages import Decoder, Message, encode

pytestmark = pytest.mark.anyio


def _pair() -> tuple[Link, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return Link(ours), theirs


async def _read(theirs: socket.socket, count: int) -> tuple[list[Message], list[int]]:
    decoder, messages, fds = Decoder(), list[Message](), list[int]()
    with fail_after(10):
        while len(messages) < count:
            try:
                data, more, _flags, _address = socket.recv_fds(theirs, 1 << 16, 64)
            except BlockingIOError:
                await sleep(0.001)
                continue
            fds += more
            messages += decoder.feed(data)
    return messages, fds


async def test_what_does_not_fit_is_sent_later_in_order_and_with_its_sockets() -> None:
    link, theirs = _pair()
    sent: list[Message] = [{"do": "x", "id": str(number), "pad": "p" * 10_000} for number in range(200)]
    ports: list[int] = []
    with theirs:
        for number, message in enumerate(sent):
            if number % 10:
                link.send(message)
            else:
                with socket.create_server(("127.0.0.1", 0)) as listening:  # closed before it is sent
                    ports.append(listening.getsockname()[1])
                    link.send(message, [listening])
        assert link._unsent
        async with create_task_group() as tg:
            tg.start_soon(link.flush)
            messages, fds = await _read(theirs, len(sent))
            assert messages == sent
            arrived = [socket.socket(fileno=fd) for fd in fds]
            assert [sock.getsockname()[1] for sock in arrived] == ports
            for sock in arrived:
                sock.close()
            tg.cancel_scope.cancel()
        link.close()


async def test_a_peer_that_never_reads_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_link, "MOST_UNSENT_BYTES", 100_000)
    link, theirs = _pair()
    with theirs:
        for _ in range(100):
            link.send({"do": "x", "pad": "p" * 10_000})
        with fail_after(10):
            await link.receive(lambda message: None)  # returns: it counts as gone
        link.close()


async def test_sockets_that_were_never_sent_are_closed() -> None:
    gc.collect()  # sockets that other tests left to it
    before = len(os.listdir("/proc/self/fd"))
    link, theirs = _pair()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for _ in range(100):
            link.send({"do": "x", "pad": "p" * 10_000}, [listening])
    link.close()
    theirs.close()
    assert len(os.listdir("/proc/self/fd")) == before


async def test_nonsense_is_an_error_and_an_end_is_not() -> None:
    for sent, is_error in ((b"\xff" * 100, True), (encode({"do": "hello"}), False)):
        link, theirs = _pair()
        heard: list[Message] = []
        theirs.send(sent)
        theirs.close()
        with fail_after(10):
            if is_error:
                with pytest.raises(LinkError):
                    await link.receive(heard.append)
            else:
                await link.receive(heard.append)
                assert heard == [{"do": "hello"}]
        link.close()
        link.send({"do": "late"})  # nobody is there: nothing happens
