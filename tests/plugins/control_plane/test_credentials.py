"""Files that prove who is who: those of the installers, awaited when they are late, read again when renewed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from tests.plugins.control_plane.api_servers import Authority

from kubevip_control_plane._config import ApiServerConfig
from kubevip_control_plane._credentials import Credentials, CredentialsError, TlsFiles, candidates


def test_kubeadm_comes_first_and_k3s_and_rke2_show_who_asks() -> None:
    kubeadm, k3s, rke2 = candidates(ApiServerConfig())
    assert kubeadm == TlsFiles(ca=Path("/etc/kubernetes/pki/ca.crt"))
    assert k3s.cert == Path("/var/lib/rancher/k3s/server/tls/client-admin.crt")
    assert rke2.ca == Path("/var/lib/rancher/rke2/server/tls/server-ca.crt")


def test_what_is_configured_is_the_only_candidate(tmp_path: Path) -> None:
    config = ApiServerConfig(ca_file=tmp_path / "a", cert_file=tmp_path / "b", key_file=tmp_path / "c")
    assert candidates(config) == (TlsFiles(ca=tmp_path / "a", cert=tmp_path / "b", key=tmp_path / "c"),)


def test_files_that_are_late_are_awaited_and_the_first_there_is_wins(tmp_path: Path) -> None:
    first, second = tmp_path / "1" / "ca.crt", tmp_path / "2" / "ca.crt"
    credentials = Credentials([TlsFiles(ca=first), TlsFiles(ca=second)])
    with pytest.raises(CredentialsError, match=f"{first}, {second}: not there yet"):
        credentials.context()
    Authority(second.parent)
    late = credentials.context()
    Authority(first.parent)
    assert credentials.context() is not late


def test_what_was_renewed_is_read_again_and_nothing_else_is(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("client", "admin")
    credentials = Credentials([TlsFiles(ca=authority.ca, cert=cert, key=key)])
    before = credentials.context()
    assert credentials.context() is before
    authority.issue("client", "admin")
    os.utime(key, ns=(0, 1))
    assert credentials.context() is not before


def test_a_renewal_half_done_is_told_and_over_when_it_is_whole(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("client", "admin")
    kept = shutil.copy(key, tmp_path / "kept.key")
    credentials = Credentials([TlsFiles(ca=authority.ca, cert=cert, key=key)])
    key.unlink()
    with pytest.raises(CredentialsError, match=r"client\.key: No such file"):
        credentials.context()
    key.write_bytes(authority.issue("other", "other")[1].read_bytes())
    with pytest.raises(CredentialsError, match=r"client\.key: .*mismatch"):
        credentials.context()
    shutil.copy(kept, key)
    credentials.context()


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_a_ca_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca.crt").write_bytes(content)
    with pytest.raises(CredentialsError, match=r"ca\.crt: "):
        Credentials([TlsFiles(ca=tmp_path / "ca.crt")]).context()
