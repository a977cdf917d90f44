"""Whom a listener accepts, which backend it finds, and how it ends; real sockets, time set by hand."""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Callable

import pytest

from kubevip_dataplane.worker import RETRY_SECONDS, Target
from kubevip_proxy_tcp._sockets import new_socket

from .bench import Bench, Server, SilentServer, is_readable

Make = Callable[..., Bench]


def _down(bench: Bench) -> dict[str, str]:
    down = bench.listener.health()["down"]
    assert isinstance(down, dict)
    return down


def _key(server: Server) -> str:
    return server.target().key


def test_each_backend_gets_its_share(make_bench: Make) -> None:
    """Scenario 83."""
    servers = [Server(), Server(), Server()]
    bench = make_bench(servers)
    bench.listener.set_backends([server.target(weight) for server, weight in zip(servers, (1, 2, 3), strict=True)], 0)
    for _ in range(24):
        bench.client()
    bench.until(lambda: bench.connections() == 24)
    counts = Counter[int]()
    for server, expected in zip(servers, (4, 8, 12), strict=True):
        for _ in range(expected):
            bench.taken(server)
            counts[server.port] += 1
        assert bench.is_quiet(server.listening)
    assert sorted(counts.values()) == [4, 8, 12]


def test_a_backend_that_refuses_is_left_out_and_the_client_does_not_notice(make_bench: Make) -> None:
    """Scenario 84."""
    refusing, server = Server(), Server()
    refusing.stop()
    bench = make_bench([refusing, server])
    for _ in range(3):
        client, taken = bench.pair(server)
        client.send(b"x")
        assert bench.read(taken, 1) == b"x"
    assert _down(bench) == {_key(refusing): "connection refused"}


def test_a_silent_backend_costs_the_connect_timeout_and_then_nothing(make_bench: Make) -> None:
    """Scenario 84."""
    silent, server = SilentServer(), Server()
    bench = make_bench([silent, server])
    first = bench.client()
    bench.settle()
    assert not is_readable(server.listening)
    bench.advance(0.9)
    assert not is_readable(server.listening)
    bench.advance(0.2)
    taken = bench.taken(server)
    taken.send(b"x")
    assert bench.read(first, 1) == b"x"
    bench.pair(server)  # without any time passing
    assert _down(bench) == {_key(silent): "no answer within 1 s"}


def test_one_client_at_a_time_finds_out_whether_a_silent_backend_is_back(make_bench: Make) -> None:
    """Scenario 84."""
    silent, server = SilentServer(), Server()
    bench = make_bench([silent, server])
    bench.client()
    bench.settle()
    bench.advance(1.1)
    bench.taken(server)
    bench.advance(RETRY_SECONDS + 0.1)
    clients = [bench.client() for _ in range(4)]
    bench.until(lambda: bench.connections() == 5)
    for _ in clients[1:]:
        bench.taken(server)
    assert bench.is_quiet(server.listening)  # the fourth is with the silent one
    bench.advance(1.1)
    bench.taken(server)


def test_a_client_is_reset_after_its_tries(make_bench: Make) -> None:
    """Scenario 84: limited retries."""
    silent = [SilentServer() for _ in range(4)]
    bench = make_bench(list(silent), tries=2)
    client = bench.client()
    bench.settle()
    bench.advance(1.1)
    assert bench.is_quiet(client)
    bench.advance(1.1)
    assert bench.end_of(client) == "RST"
    assert len(_down(bench)) == 2


def test_backends_that_are_all_down_reset_a_client_at_once_and_serve_again_by_themselves(make_bench: Make) -> None:
    """Scenario 86."""
    server, silent = Server(), SilentServer()
    server.stop()
    bench = make_bench([server, silent])
    client = bench.client()
    bench.settle()
    bench.advance(1.1)
    assert bench.end_of(client) == "RST"
    assert bench.end_of(bench.client()) == "RST"  # nobody waits for the silent one again
    back = bench.server(host=server.host, port=server.port)
    again, taken = bench.pair(back)  # a refusal costs nothing, so it is asked without waiting
    taken.send(b"x")
    assert bench.read(again, 1) == b"x"
    assert set(_down(bench)) == {_key(silent)}


def test_no_backends_reset_a_client_at_once_and_new_ones_serve(make_bench: Make) -> None:
    """Scenario 91."""
    server = Server()
    bench = make_bench([server])
    old, at_server = bench.pair(server)
    bench.listener.set_backends([], 10.0)
    assert bench.end_of(bench.client()) == "RST"
    bench.listener.set_backends([server.target()], 10.0)
    bench.pair(server)
    bench.advance(20.0)
    old.send(b"x")
    assert bench.read(at_server, 1) == b"x"  # it came back before the drain was over


def test_connections_to_a_removed_backend_drain(make_bench: Make) -> None:
    """Scenario 90."""
    removed, kept = Server(), Server()
    bench = make_bench([removed, kept])
    old, at_removed = bench.pair(removed)
    other, at_kept = bench.pair(kept)
    bench.listener.set_backends([kept.target()], 10.0)
    bench.pair(kept)
    bench.advance(9.0)
    old.send(b"x")
    assert bench.read(at_removed, 1) == b"x"
    bench.advance(1.5)
    assert bench.end_of(old) == "RST"
    assert bench.end_of(at_removed) == "RST"
    other.send(b"y")
    assert bench.read(at_kept, 1) == b"y"


def test_a_removal_counts_from_when_it_was_last_said(make_bench: Make) -> None:
    """Scenario 90: removed, back, removed again."""
    server = Server()
    bench = make_bench([server])
    client, _taken = bench.pair(server)
    for wanted in ([], [server.target()], []):
        bench.listener.set_backends(wanted, 10.0)
        bench.advance(4.0)
    assert bench.is_quiet(client)
    bench.advance(3.0)  # 15 s after the first removal, 7 after the second
    assert bench.is_quiet(client)
    bench.advance(4.0)
    assert bench.end_of(client) == "RST"


def test_a_client_of_a_backend_that_is_removed_before_it_answers_gets_another(make_bench: Make) -> None:
    silent, server = SilentServer(), Server()
    bench = make_bench([silent, server])
    bench.client()
    bench.settle()
    bench.listener.set_backends([server.target()], 0.0)
    bench.taken(server)


def test_a_client_that_gives_up_before_its_backend_answered_is_let_go(make_bench: Make) -> None:
    """Scenario 96."""
    from .bench import reset

    silent = SilentServer()
    bench = make_bench([silent])
    client = bench.client()
    bench.settle()
    bench.advance(0.3)
    assert bench.connections() == 1
    reset(client)
    bench.until(lambda: bench.connections() == 0)
    assert not bench.listener.connecting


def test_the_connection_limit_holds_new_clients_in_the_queue(make_bench: Make) -> None:
    """Scenario 95."""
    server = Server()
    bench = make_bench([server], mostConnections=3)
    pairs = [bench.pair(server) for _ in range(3)]
    assert bench.listener.health()["problem"] == ""  # full is not a problem yet: nobody waits
    waiting = bench.client()
    bench.settle()
    assert bench.connections() == 3
    assert "limit of 3 connections" in str(bench.listener.health()["problem"])
    assert not is_readable(server.listening)
    for sock in pairs[0]:
        sock.close()
    taken = bench.taken(server)
    taken.send(b"x")
    assert bench.read(waiting, 1) == b"x"


def test_a_full_listener_does_not_spin(make_bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario 95."""
    server = Server()
    bench = make_bench([server], mostConnections=1)
    bench.pair(server)
    bench.client()
    bench.settle()
    calls: list[int] = []
    monkeypatch.setattr(bench.listener, "on_events", calls.append)
    bench.settle()
    assert not calls


def test_descriptors_that_run_out_lose_no_client(make_bench: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scenario 95: accepting stops, and goes on when there are descriptors again."""
    server = Server()
    bench = make_bench([server])
    is_out = [True]

    def scarce(family: int) -> object:
        if is_out[0] and bench.shop._reserve is not None:
            raise OSError(errno.EMFILE, "Too many open files")
        return new_socket(family)

    def no_more(*arguments: object) -> int:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr("kubevip_proxy_tcp._listener.new_socket", scarce)
    monkeypatch.setattr("kubevip_proxy_tcp._workshop.os.open", no_more)
    first = bench.client()
    second = bench.client()
    at_first = bench.taken(server)  # the reserve went into it
    bench.settle()
    assert bench.is_quiet(server.listening)
    assert "too many open files" in str(bench.listener.health()["problem"])
    for _ in range(8):
        bench.advance(0.3)
    assert bench.connections() == 1
    assert not is_readable(second)
    is_out[0] = False
    monkeypatch.undo()
    bench.advance(0.3)
    at_second = bench.taken(server)
    for client, taken in ((first, at_first), (second, at_second)):
        taken.send(b"x")
        assert bench.read(client, 1) == b"x"
    assert bench.listener.health()["problem"] == ""


def test_an_error_of_this_machine_is_not_held_against_a_backend(
    make_bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    bench = make_bench([server])

    class Exhausted:
        def __init__(self, real: socket.socket) -> None:
            self.close = real.close

        def connect_ex(self, address: object) -> int:
            return errno.EADDRNOTAVAIL  # no local port is free

    make = bench.listener.new_socket
    monkeypatch.setattr(bench.listener, "new_socket", lambda family: Exhausted(make(family)))  # type: ignore[arg-type]
    assert bench.end_of(bench.client()) == "RST"
    assert _down(bench) == {}
    assert "assign" in str(bench.listener.health()["problem"])


def test_closing_resets_everybody_before_it_says_so(make_bench: Make) -> None:
    """Scenario 104: the address is still there when clients are told."""
    server = Server()
    bench = make_bench([server])
    pairs = [bench.pair(server) for _ in range(100)]
    bench.listener.close(0.0)
    assert bench.is_closed
    for pair in pairs:  # no turn of the loop was needed
        for sock in pair:
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_a_drain_lets_connections_end_and_then_ends_them(make_bench: Make) -> None:
    """Scenario 120."""
    server = Server()
    bench = make_bench([server])
    ending, at_ending = bench.pair(server)
    lingering, at_lingering = bench.pair(server)
    bench.listener.close(10.0)
    assert not bench.is_closed
    ending.close()
    at_ending.close()
    bench.until(lambda: bench.connections() == 1)
    lingering.send(b"x")
    assert bench.read(at_lingering, 1) == b"x"
    bench.advance(9.0)
    assert bench.is_quiet(lingering)
    bench.advance(1.5)
    assert bench.end_of(lingering) == "RST"
    assert bench.is_closed


def test_a_drain_is_over_when_the_last_connection_is(make_bench: Make) -> None:
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    bench.listener.close(10.0)
    client.close()
    taken.close()
    bench.until(lambda: bench.is_closed)


def test_there_is_nothing_to_drain_without_connections(make_bench: Make) -> None:
    bench = make_bench()
    bench.listener.close(10.0)
    assert bench.is_closed


def test_a_drain_can_be_cut_short_and_made_longer(make_bench: Make) -> None:
    server = Server()
    bench = make_bench([server])
    client, _taken = bench.pair(server)
    bench.listener.close(10.0)
    bench.advance(5.0)
    bench.listener.close(10.0)
    bench.advance(7.0)
    assert bench.is_quiet(client)
    bench.listener.close(0.0)
    assert bench.is_closed
    assert bench.end_of(client) == "RST"


def test_a_socket_that_was_shut_down_elsewhere_is_let_go_without_spinning(
    make_bench: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control process ends the listening itself, whatever the worker does."""
    server = Server()
    bench = make_bench([server])
    client, taken = bench.pair(server)
    bench._listening.shutdown(socket.SHUT_RDWR)
    bench.settle()
    with pytest.raises(ConnectionRefusedError):
        bench.client()
    client.send(b"x")
    assert bench.read(taken, 1) == b"x"
    calls: list[int] = []
    monkeypatch.setattr(bench.listener, "on_events", calls.append)
    bench.settle()
    assert not calls


def test_ipv6_backends_are_reached_from_ipv4_clients(make_bench: Make) -> None:
    if not os.path.exists("/proc/net/if_inet6") or not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    server = Server(host="::1")
    bench = make_bench([server])
    client, taken = bench.pair(server)
    client.send(b"x")
    assert bench.read(taken, 1) == b"x"


def test_a_backend_that_cannot_be_reached_from_here_is_left_out(make_bench: Make) -> None:
    """Scenario 84: connect fails at once, before any packet."""
    server = Server()
    bench = make_bench([server])
    bench.listener.set_backends([Target("bad", "255.255.255.255", 1), server.target()], 0)
    bench.pair(server)
    assert set(_down(bench)) <= {"bad"}
    bench.pair(server)
    assert set(_down(bench)) == {"bad"}
