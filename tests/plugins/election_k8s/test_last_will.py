"""How a last will reaches the API without any library."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubevip_election_k8s._last_will import access_of
from kubevip_k8s import Credentials


def test_everything_that_the_connection_needs_is_in_the_will() -> None:
    credentials = Credentials(
        server="https://10.0.0.1:6443/k8s/",
        authorization="Bearer x",
        tls_server_name="kubernetes",
        authority="CA",
        certificate="CERT",
        key="KEY",
    )
    assert access_of(credentials) == {
        "host": "10.0.0.1",
        "port": 6443,
        "prefix": "/k8s",
        "name": "kubernetes",
        "ca": "CA",
        "certificate": "CERT",
        "key": "KEY",
        "authorization": "Bearer x",
    }


def test_a_token_that_is_renewed_is_read_when_it_is_needed() -> None:
    credentials = Credentials(server="https://[fd00::1]", authorization="Bearer old", token_file=Path("/run/token"))
    assert access_of(credentials) == {
        "host": "fd00::1",
        "port": 443,
        "name": "fd00::1",
        "token_file": "/run/token",
    }


@pytest.mark.parametrize("credentials", [None, Credentials(server="https://10.0.0.1", proxy="http://proxy:3128")])
def test_where_a_will_cannot_go_none_is_left(credentials: Credentials | None) -> None:
    assert access_of(credentials) is None
