"""Where the API is and who we are there."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable

from attrs import field, frozen


@frozen(kw_only=True)
class Access:
    """A way to the API.

    `kubeconfig` is a file of kubectl's format and `context` one of its contexts (None: its current one); without a file
    the credentials are those that Kubernetes gives to a Pod. `server` ("https://127.0.0.1:6443") and `tls_server_name`
    take the place of what the file says: the address in it may be the virtual IP itself. `is_optional`: it is one way
    of several, of which most are not there, and not worth a word while that is so.
    """

    kubeconfig: Path | None = None
    context: str | None = None
    server: str | None = None
    tls_server_name: str | None = None
    is_optional: bool = False

    def __str__(self) -> str:
        """Show as "/etc/kubernetes/admin.conf at https://127.0.0.1:6443" or "the Pod's service account"."""
        where = str(self.kubeconfig) if self.kubeconfig is not None else "the Pod's service account"
        return f"{where} at {self.server}" if self.server else where


@frozen(kw_only=True)
class Credentials:
    """What an `Access` amounts to at a moment. Secrets are left out of its representation.

    `trust` says in words where the `authority` is from, for who has to mend it.
    `authorization` is the header's value; where it was read from a `token_file`, that has the newest. `authority`,
    `certificate` and `key` are PEM, "" where there is none. A change of one of the `files` tells that all of it is to
    be read again.
    """

    server: str
    authorization: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    tls_server_name: str | None = None
    authority: str = field(default="", repr=False)
    trust: str = "this system"
    certificate: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    is_verified: bool = True
    proxy: str | None = field(default=None, repr=False)
    files: tuple[Path, ...] = ()


@runtime_checkable
class SupportsCredentials(Protocol):
    """An `Api` that knows who it is."""

    @property
    def credentials(self) -> Credentials | None:
        """Those in use now; None before they were read."""
        ...
