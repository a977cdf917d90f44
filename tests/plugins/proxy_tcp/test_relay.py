"""What passes between a client and its backend; real sockets, the worker's loop turned by hand."""

from __future__ import annotations

import gc
import os
import random
import select
import socket
from collections.abc import Callable
from contextlib import suppress

import pytest

from kubevip_proxy_tcp._workshop import BUFFER_BYTES

from .bench import Bench, Server, is_readable, reset

Make = Callable[..., Bench]


def _exchange(bench: Bench, one: socket.socket, other: socket.socket, sizes: tuple[int, int], seed: int) -> None:
    """Send random bytes both ways at once, with pauses of the readers, and compare; then both half-closes."""
    rng = random.Random(seed)
    sent = [rng.randbytes(size) for size in sizes]
    ends = (one, other)
    done, heard, finished = [0, 0], [bytearray(), bytearray()], [False, False]

    def step() -> bool:
        for index in (0, 1):
            if done[index] < sizes[index]:
                with suppress(BlockingIOError):
                    piece = sent[index][done[index] : done[index] + rng.choice((1, 100, 5_000, 300_000))]
                    done[index] += ends[index].send(piece)
                if done[index] == sizes[index]:
                    ends[index].shutdown(socket.SHUT_WR)
            if rng.random() < 0.7 and not finished[index]:
                with suppress(BlockingIOError):
                    data = ends[1 - index].recv(rng.choice((10, 10_000, 1_000_000)))
                    heard[index] += data
                    finished[index] = not data
        return all(finished)

    bench.until(step)
    assert [bytes(data) for data in heard] == sent


@pytest.mark.parametrize(
    "sizes", [(1, 1), (100, 0), (BUFFER_BYTES, BUFFER_BYTES), (300_000, 10), (8 << 20, 3 << 20)], ids=str
)
def test_bytes_pass_unchanged_in_both_directions_at_once(make_bench: Make, sizes: tuple[int, int]) -> None:
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    if not all(sizes):
        taken.shutdown(socket.SHUT_WR)
        sizes = (sizes[0], 0)
        client.sendall(b"x" * sizes[0])
        client.shutdown(socket.SHUT_WR)
        assert bench.read(taken, sizes[0]) == b"x" * sizes[0]
    else:
        _exchange(bench, client, taken, sizes, seed=sum(sizes))
    bench.until(lambda: bench.connections() == 0)


def test_bulk_is_spliced_and_small_messages_are_copied_again_afterwards(
    make_bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    splice = os.splice

    def counting(*args: int, **kwargs: int) -> int:
        calls.append(1)
        return splice(*args, **kwargs)

    monkeypatch.setattr(os, "splice", counting)
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    data = random.Random(1).randbytes(4 << 20)
    heard = bytearray()
    rest = memoryview(data)

    def step() -> bool:
        nonlocal rest
        with suppress(BlockingIOError):
            rest = rest[client.send(rest) :]
        with suppress(BlockingIOError):
            heard.extend(taken.recv(1 << 20))
        return len(heard) == len(data)

    bench.until(step)
    assert bytes(heard) == data
    assert calls
    bench.settle()
    for word in (b"one", b"two"):  # the first of them may still be spliced
        calls.clear()
        client.send(word)
        assert bench.read(taken, 3) == word
    assert not calls


def test_pipes_are_not_needed_for_bulk(make_bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """No descriptors are left for a pipe: bytes are copied."""
    server = Server()
    bench = make_bench([server])
    monkeypatch.setattr(bench.shop.pipes, "take", lambda: None)
    client, taken = bench.pair(server)
    _exchange(bench, client, taken, (2 << 20, 2 << 20), seed=3)


def test_a_server_that_speaks_first_is_heard(make_bench: Make) -> None:
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    taken.send(b"220 ready")
    assert bench.read(client, 9) == b"220 ready"


def test_a_server_that_leaves_at_once_is_passed_on_as_an_end(make_bench: Make) -> None:
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    taken.close()
    assert bench.end_of(client) == "FIN"


def test_half_close_by_the_client_leaves_the_answer_open(make_bench: Make) -> None:
    """Scenario 92."""
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    client.send(b"question")
    client.shutdown(socket.SHUT_WR)
    assert bench.read(taken, 8) == b"question"
    assert bench.end_of(taken) == "FIN"
    assert bench.is_quiet(client)
    taken.send(b"answer")
    assert bench.read(client, 6) == b"answer"
    taken.close()
    assert bench.end_of(client) == "FIN"
    bench.until(lambda: bench.connections() == 0)


def test_half_close_by_the_server_leaves_the_other_direction_open(make_bench: Make) -> None:
    """Scenario 92."""
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    taken.shutdown(socket.SHUT_WR)
    assert bench.end_of(client) == "FIN"
    client.send(b"more")
    assert bench.read(taken, 4) == b"more"
    client.close()
    assert bench.end_of(taken) == "FIN"
    bench.until(lambda: bench.connections() == 0)


def test_a_request_that_ended_before_its_backend_was_found_is_passed_on(make_bench: Make) -> None:
    """Scenario 92: bytes and FIN lie in the queue before the relay accepts."""
    server = Server()
    bench = make_bench([server])
    client = bench.client()
    client.send(b"early")
    client.shutdown(socket.SHUT_WR)
    taken = bench.taken(server)
    assert bench.read(taken, 5) == b"early"
    assert bench.end_of(taken) == "FIN"


def test_a_request_that_ended_while_backends_were_tried_is_passed_on(make_bench: Make) -> None:
    """Scenario 92: its FIN was reported while nobody could take it; the report is not repeated by the kernel."""
    from .bench import SilentServer

    silent, server = SilentServer(), Server()
    bench = make_bench([silent, server])
    client = bench.client()
    bench.settle()
    bench.advance(0.3)  # it is watched now
    client.send(b"early")
    client.shutdown(socket.SHUT_WR)
    bench.settle()
    bench.advance(1.0)
    taken = bench.taken(server)
    assert bench.read(taken, 5) == b"early"
    assert bench.end_of(taken) == "FIN"


def test_a_reset_by_the_client_reaches_the_server(make_bench: Make) -> None:
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    client.send(b"x")
    assert bench.read(taken, 1) == b"x"
    reset(client)
    assert bench.end_of(taken) == "RST"
    assert bench.connections() == 0


def test_a_reset_by_the_server_reaches_the_client_after_its_data(make_bench: Make) -> None:
    """Scenario 85."""
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    taken.send(b"part")
    reset(taken)
    assert bench.read(client, 4) == b"part"
    assert bench.end_of(client) == "RST"


def test_a_backend_that_dies_takes_no_other_connection_with_it(make_bench: Make) -> None:
    """Scenario 85."""
    dying, healthy = Server(), Server()
    bench = make_bench([dying, healthy])
    first, at_dying = bench.pair(dying)
    second, at_healthy = bench.pair(healthy)
    reset(at_dying)
    assert bench.end_of(first) == "RST"
    second.send(b"still")
    assert bench.read(at_healthy, 5) == b"still"


@pytest.mark.parametrize("who_reads_slowly", ["server", "client"])
def test_a_slow_reader_stops_its_sender_and_loses_nothing(make_bench: Make, who_reads_slowly: str) -> None:
    """Scenario 93: what the relay holds is one buffer or one pipe, whatever the sender has."""
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    writer, reader = (client, taken) if who_reads_slowly == "server" else (taken, client)
    rng = random.Random(5)
    sent = bytearray()
    waits = 0
    while waits < 50:  # turns in a row in which the writer could send nothing
        piece = rng.randbytes(1 << 16)
        try:
            sent += piece[: writer.send(piece)]
            waits = 0
        except BlockingIOError:
            waits += 1
        bench.loop.turn(0.001)
    limit = 64 << 20  # what kernels buffer per socket at the very most is far below, and depends on their settings
    assert len(sent) < limit
    writer.setblocking(False)
    writer.shutdown(socket.SHUT_WR)
    heard = bytearray()

    def step() -> bool:
        try:
            data = reader.recv(1 << 20)
        except BlockingIOError:
            return False
        heard.extend(data)
        return not data

    bench.until(step)
    assert heard == sent


def test_a_reset_by_a_sender_that_is_held_back_frees_both_ends(make_bench: Make) -> None:
    server = Server()
    bench = make_bench([server])
    client, _taken = bench.pair(server)
    waits = 0
    while waits < 50:
        try:
            client.send(bytes(1 << 16))
            waits = 0
        except BlockingIOError:
            waits += 1
        bench.loop.turn(0.001)
    reset(client)
    bench.until(lambda: bench.connections() == 0)


def test_urgent_bytes_do_not_stop_a_direction(make_bench: Make) -> None:
    """A read stops before an urgent byte, so a short one does not mean that the socket is empty."""
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    client.send(b"before")
    client.send(b"!", socket.MSG_OOB)
    client.send(b"after")
    assert bench.read(taken, 11) == b"beforeafter"


def test_an_idle_connection_is_reset_and_a_busy_one_is_not(make_bench: Make) -> None:
    """Scenario 94: a reset, because an end would look as if all had been said."""
    server = Server()
    bench = make_bench([server], idleSeconds=60.0)
    idle, at_idle = bench.pair(server)
    busy, at_busy = bench.pair(server)
    for _ in range(3):
        bench.advance(25.0)
        at_busy.send(b"x")
        assert bench.read(busy, 1) == b"x"
    assert bench.end_of(idle) == "RST"
    assert bench.end_of(at_idle) == "RST"
    busy.send(b"y")
    assert bench.read(at_busy, 1) == b"y"


def test_a_quiet_connection_lives_as_long_as_it_may(make_bench: Make) -> None:
    """Scenario 94."""
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    for _ in range(110):
        bench.advance(30.0)  # 55 minutes
    assert bench.is_quiet(client)
    taken.send(b"x")
    assert bench.read(client, 1) == b"x"


def test_peers_are_asked_whether_they_are_there_and_bytes_leave_at_once(make_bench: Make) -> None:
    server = Server()
    bench = make_bench([server], keepaliveSeconds=20.0)
    bench.pair(server)
    (connection,) = bench.listener._connections
    assert connection._server is not None
    for end in (connection._client, connection._server):
        sock = end.sock
        options = [
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT),
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
        ]
        assert options == [1, 20, 3, 1]


def test_nothing_is_left_open_after_many_connections(make_bench: Make) -> None:
    server = Server()
    bench = make_bench([server])
    gc.collect()  # sockets that other tests left to it
    before = len(os.listdir("/proc/self/fd"))
    for number in range(50):
        client, taken = bench.pair(server)
        client.send(b"x")
        assert bench.read(taken, 1) == b"x"
        (reset if number % 2 else socket.socket.close)(client)
        taken.close()
        bench.until(lambda: bench.connections() == 0)
    assert len(os.listdir("/proc/self/fd")) == before
    assert not bench.loop._sources.keys() - {bench.listener._listening.fileno()}  # type: ignore[union-attr]


def test_events_of_a_closed_descriptor_do_not_reach_its_successor(make_bench: Make) -> None:
    """Within one turn the end of one connection must not free a number that a new client then gets."""
    server = Server()
    bench = make_bench([server])
    pairs = [bench.pair(server) for _ in range(20)]
    for client, taken in pairs:  # ends of both sides are reported in the same turn as the new clients
        reset(client)
        reset(taken)
    fresh = [bench.client() for _ in range(20)]
    taken_fresh = [bench.taken(server) for _ in fresh]
    for number, sock in enumerate(fresh):
        sock.send(bytes([number]))
    assert sorted(bench.read(sock, 1) for sock in taken_fresh) == [bytes([number]) for number in range(20)]
    assert not any(is_readable(sock) for sock in fresh)
    assert select.EPOLLET  # Linux
