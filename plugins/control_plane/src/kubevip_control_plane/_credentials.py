"""Whom to believe that it is the API server of this node, and whom to be: files that come late and are renewed."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from kubevip_control_plane._config import ApiServerConfig

_KUBEADM = Path("/etc/kubernetes/pki")
_RANCHER = (Path("/var/lib/rancher/k3s/server/tls"), Path("/var/lib/rancher/rke2/server/tls"))


class CredentialsError(Exception):
    """The files are not there yet, or are not what they should be; one line."""


@frozen(kw_only=True)
class TlsFiles:
    """The files of one installer, or those that are configured."""

    ca: Path
    cert: Path | None = None
    key: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for path in (self.ca, self.cert, self.key) if path is not None)


#: Where installers put them. k3s and rke2 refuse anonymous requests.
INSTALLERS: tuple[TlsFiles, ...] = (
    TlsFiles(ca=_KUBEADM / "ca.crt"),
    *(
        TlsFiles(ca=tls / "server-ca.crt", cert=tls / "client-admin.crt", key=tls / "client-admin.key")
        for tls in _RANCHER
    ),
)


def candidates(config: ApiServerConfig) -> tuple[TlsFiles, ...]:
    """Return what may be used, best first."""
    if config.ca_file is not None:
        return (TlsFiles(ca=config.ca_file, cert=config.cert_file, key=config.key_file),)
    return INSTALLERS


class Credentials:
    """A TLS context from the first candidate that is there; made again when one of its files changed.

    Not for use by two threads at once.
    """

    def __init__(self, files: Sequence[TlsFiles]) -> None:
        self._files = tuple(files)
        self._made_of: object = None
        self._context: ssl.SSLContext | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context for one connection. Reads the disk, which may stall: call it from a thread.

        :raises CredentialsError: naming the file and what is wrong with it.
        """
        files: TlsFiles | None = None
        try:
            files = next((it for it in self._files if it.ca.exists()), None)
            if files is None:
                raise CredentialsError(f"{', '.join(str(it.ca) for it in self._files)}: not there yet")
            stats = [path.stat() for path in files.paths]
            made_of = [(path, it.st_ino, it.st_mtime_ns) for path, it in zip(files.paths, stats, strict=True)]
            if self._context is None or made_of != self._made_of:
                self._context, self._made_of = _make(files), made_of
        except OSError as error:  # ssl.SSLError is one, and names no file
            self._context = None
            named = error.filename or ", ".join(map(str, files.paths if files is not None else ()))
            raise CredentialsError(f"{named}: {error.strerror or error}") from error
        return self._context


def _make(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_verify_locations(files.ca)
    if files.cert is not None:
        context.load_cert_chain(files.cert, files.key, password=_no_password)
    return context


def _no_password() -> str:
    """Refuse a key that is encrypted, for which OpenSSL would ask on the terminal."""
    return ""
