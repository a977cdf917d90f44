"""Which proxy leads to the API, read as Go's programs read the environment."""

from __future__ import annotations

import pytest

from kubevip_k8s._proxy import proxy_for

PROXY = {"HTTPS_PROXY": "http://proxy:3128"}


@pytest.mark.parametrize("server", ["https://127.0.0.1:6443", "https://[::1]:6443", "https://localhost:6443"])
def test_this_machine_is_never_reached_by_a_proxy(server: str) -> None:
    assert proxy_for(server, PROXY) is None


def test_a_proxy_of_the_environment_is_used() -> None:
    assert proxy_for("https://api.example:6443", PROXY) == "http://proxy:3128"
    assert proxy_for("https://api.example:6443", {"https_proxy": "proxy:3128"}) == "http://proxy:3128"
    assert proxy_for("http://api.example", PROXY) is None


@pytest.mark.parametrize(
    ("excepted", "server"),
    [
        ("*", "https://api.example"),
        ("10.0.0.0/8", "https://10.1.2.3:6443"),
        ("10.1.2.3", "https://10.1.2.3:6443"),
        ("example", "https://api.example"),
        (".example", "https://api.example"),
        ("api.example:6443", "https://api.example:6443"),
        (" other , api.example ", "https://api.example"),
    ],
)
def test_no_proxy_excepts_servers(excepted: str, server: str) -> None:
    assert proxy_for(server, {**PROXY, "NO_PROXY": excepted}) is None


@pytest.mark.parametrize(
    ("excepted", "server"),
    [
        ("api.example:443", "https://api.example:6443"),
        ("pi.example", "https://api.example"),
        ("10.0.0.0/8", "https://11.0.0.1"),
    ],
)
def test_what_no_proxy_does_not_name_goes_through_the_proxy(excepted: str, server: str) -> None:
    assert proxy_for(server, {**PROXY, "NO_PROXY": excepted}) == "http://proxy:3128"
