"""What users meet before anything runs: settings, `plan`, imports."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address

import pytest

from kubevip import Backend, Duration, LoadBalancer, Machine, Outlook, VirtualIP
from kubevip_proxy_tcp._config import TcpConfig, TcpOptions
from kubevip_proxy_tcp._describe import show_backends
from kubevip_proxy_tcp._proxy import wire_options
from kubevip_proxy_tcp.plugin import TCP, kubevip_proxies


def test_the_plugin_provides_the_tcp_proxy() -> None:
    assert [(one.name, one.protocols, one.options) for one in kubevip_proxies()] == [("tcp", ("tcp",), TcpOptions)]


def test_the_defaults_are_the_documented_ones() -> None:
    assert TcpConfig().workers == 1
    assert TcpOptions() == TcpOptions(
        connect_timeout=Duration(1.0),
        tries=3,
        idle_timeout=Duration(3600.0),
        keepalive=Duration(30.0),
        max_connections=10_000,
    )


@pytest.mark.parametrize("workers", [0, -1, 257])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers: int) -> None:
    with pytest.raises(ValueError, match=f"expected auto or an integer 1-256, got {workers}"):
        TcpConfig(workers=workers)


def test_all_options_that_make_no_sense_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"connectTimeout.*keepalive.*tries.*maxConnections"):
        TcpOptions(connect_timeout=Duration(0.0), keepalive=Duration(0.0), tries=0, max_connections=0)


@pytest.mark.parametrize(("workers", "each"), [(1, 10), (3, 4), (10, 1), (16, 1)])
def test_workers_share_the_connection_limit(workers: int, each: int) -> None:
    assert wire_options(TcpOptions(max_connections=10), workers)["mostConnections"] == each


def _backends(*addresses: str) -> tuple[Backend, ...]:
    return tuple(Backend(address=address, port=6443) for address in addresses)


@pytest.mark.parametrize(
    ("backends", "shown"),
    [
        ((), "no backends"),
        (_backends("192.168.0.70", "192.168.0.71", "192.168.1.70"), "192.168.0.70:6443 .71:6443 192.168.1.70:6443"),
        (_backends("2001:db8::1", "2001:db8::2"), "[2001:db8::1]:6443 [2001:db8::2]:6443"),
        (_backends("a.example.org", "b.example.org"), "a.example.org:6443 b.example.org:6443"),
        ((Backend(address="192.168.0.70", port=80, weight=2),), "192.168.0.70:80 (weight 2)"),
    ],
)
def test_backends_are_shown_shortly(backends: tuple[Backend, ...], shown: str) -> None:
    assert show_backends(backends) == shown


def _outlook(*balancers: LoadBalancer) -> Outlook:
    vips = tuple(
        VirtualIP(name=name, address=ip_address(address), group="api")
        for name, address in (("api4", "192.168.0.75"), ("api6", "2001:db8::75"))
    )
    return Outlook(node_name="n1", instance="default", machine=Machine(), vips=vips, load_balancers=balancers)


def test_a_plan_says_what_is_served_where() -> None:
    assert TCP.describe is not None
    bound = LoadBalancer(
        name="api",
        protocol="tcp",
        proxy="tcp",
        port=6443,
        bind_to=("api4", "api6"),
        backends=_backends("192.168.0.70", "192.168.0.71", "192.168.0.72"),
    )
    everywhere = LoadBalancer(name="web", protocol="tcp", proxy="tcp", port=80, backends=_backends("192.168.0.70"))
    described = TCP.describe(TcpConfig(), _outlook(bound, everywhere))
    assert described.lines == (
        "6443/tcp on api4, api6 -> 192.168.0.70:6443 .71:6443 .72:6443 (worker)",
        "80/tcp on every address -> 192.168.0.70:6443 (worker)",
    )
    assert described.firewall == ("in 6443/tcp to 192.168.0.75 2001:db8::75", "in 80/tcp to every address")
    assert described.problems == ()


def test_a_balancer_that_balances_itself_is_refused() -> None:
    assert TCP.describe is not None
    loop = LoadBalancer(
        name="api",
        protocol="tcp",
        proxy="tcp",
        port=6443,
        bind_to=("api4",),
        backends=_backends("192.168.0.70", "192.168.0.75"),
    )
    (problem,) = TCP.describe(TcpConfig(), _outlook(loop)).problems
    assert problem.place.path == ("backends", 1)
    assert problem.message == "192.168.0.75:6443 is this load balancer itself: name what it balances"


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("kubevip_proxy_tcp.plugin", "kubevip_dataplane"),
        ("kubevip_proxy_tcp._worker", "anyio attrs attr kubevip asyncio cattrs pluggy"),
    ],
)
def test_modules_import_no_more_than_they_may(module: str, unwanted: str) -> None:
    """A worker is small and starts at once; `plugin.py` is imported on every start of every command."""
    code = (
        f"import sys; from importlib.util import find_spec; before = set(sys.modules); import {module};"
        f"print(sorted(set({unwanted.split()!r}) & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert found.stdout.strip() == "[]"
