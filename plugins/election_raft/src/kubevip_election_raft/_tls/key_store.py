"""The folder that `kubevip raft keys` keeps: one folder a member, ready to be copied there, and the CA apart.

    keys/_ca/ca.crt, ca.key       signs certificates; no member ever needs it
    keys/_ca/next.crt, next.key   the CA that takes its place, while that goes on
    keys/n1/ca.crt, tls.crt, tls.key
    ...

A CA takes the place of another in three steps, and after each the folders are copied to all members: the members trust
both; their certificates are signed by the new one; they trust the new one alone. So at no moment does a member meet
another that it does not believe, in whatever order the copies arrive. Which step is due is read off the files.
"""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Sequence
from pathlib import Path

from kubevip_election_raft._tls.authority import Issued, is_issued_by, issue, new_authority
from kubevip_election_raft._tls.keys import CA_FILE, CA_KEY_FILE, CERTIFICATE_FILE, KEY_FILE, KeysError

#: Begins with what no node name begins with.
CA_FOLDER = "_ca"

_NEXT_CERTIFICATE, _NEXT_KEY = "next.crt", "next.key"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")


class Step(enum.Enum):
    """What was done towards a new CA."""

    TRUSTED = 1
    """Both are trusted."""
    SIGNED = 2
    """All certificates are signed by the new one."""
    ALONE = 3
    """The new one alone is trusted; the old one is gone."""


class KeyStore:
    """The keys of a group on the machine where they are made."""

    def __init__(self, folder: Path) -> None:
        """Prepare; nothing is read.

        :param folder: `keys` above.
        """
        self.folder = folder
        self._ca = folder / CA_FOLDER

    @property
    def ca_folder(self) -> Path:
        """Where the CA is, which no member needs."""
        return self._ca

    def create(self, names: Sequence[str]) -> None:
        """Make a CA, and the keys of these members.

        :raises KeysError: when there is a CA, or a name is none or there twice.
        """
        if not names or len(set(names)) < len(names):
            raise KeysError(f"expected names of nodes, each once, got {','.join(names)!r}")
        for name in names:
            _check_name(name)
        if self._ca.exists():
            raise KeysError(f"{self.folder}: there are keys already; `add` makes some for one more member")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._ca.mkdir(mode=0o700)
        self._write_ca(new_authority(), CA_FILE, CA_KEY_FILE)
        for name in names:
            self.add(name)

    @property
    def members(self) -> tuple[str, ...]:
        """The members that have keys, by name."""
        found = (path.parent.name for path in self.folder.glob(f"*/{CERTIFICATE_FILE}"))
        return tuple(sorted(name for name in found if _NAME.fullmatch(name)))

    def add(self, name: str) -> Path:
        """Make the keys of one more member; return its folder.

        :raises KeysError: when it has some, or the name is none.
        """
        _check_name(name)
        if name in self.members:
            raise KeysError(f"{self.folder / name}: {name} has keys already; `renew {name}` replaces them")
        return self._issue(name, self._signer())

    def renew(self, name: str) -> Path:
        """Replace the keys of a member; return its folder. The old ones are good as long as their CA is trusted.

        :raises KeysError: when it has none.
        """
        if name not in self.members:
            raise KeysError(f"{self.folder / name}: {name} has no keys; `add {name}` makes some")
        return self._issue(name, self._signer())

    def replace_authority(self) -> Step:
        """Do the next step towards a new CA; return which it was.

        :raises KeysError: when there is no CA.
        """
        self._current()
        if self._next() is None:
            self._write_ca(new_authority(), _NEXT_CERTIFICATE, _NEXT_KEY)
            self._write_trusted()
            return Step.TRUSTED
        if not self._is_signed_by_next():
            following = self._next()
            assert following is not None
            for name in self.members:
                self._issue(name, following)
            return Step.SIGNED
        (self._ca / _NEXT_CERTIFICATE).replace(self._ca / CA_FILE)
        (self._ca / _NEXT_KEY).replace(self._ca / CA_KEY_FILE)
        self._write_trusted()
        return Step.ALONE

    # The CA, and the one after it

    def _current(self) -> Issued:
        if not (self._ca / CA_KEY_FILE).exists():
            raise KeysError(f"{self._ca / CA_KEY_FILE}: there is none; `init` makes keys, or name their folder: --out")
        if (self._ca / _NEXT_KEY).exists() and not (self._ca / _NEXT_CERTIFICATE).exists():
            (self._ca / _NEXT_KEY).replace(self._ca / CA_KEY_FILE)  # the last step was interrupted
            self._write_trusted()
        return self._read_ca(CA_FILE, CA_KEY_FILE)

    def _next(self) -> Issued | None:
        if (self._ca / _NEXT_CERTIFICATE).exists() and (self._ca / _NEXT_KEY).exists():
            return self._read_ca(_NEXT_CERTIFICATE, _NEXT_KEY)
        return None

    def _signer(self) -> Issued:
        """Return the CA that signs: the new one from when all certificates are signed by it."""
        current, following = self._current(), self._next()
        return following if following is not None and self._is_signed_by_next() else current

    def _is_signed_by_next(self) -> bool:
        following = self._next()
        return following is not None and all(
            is_issued_by((self.folder / name / CERTIFICATE_FILE).read_bytes(), following.certificate)
            for name in self.members
        )

    def _trusted(self) -> bytes:
        following = self._next()
        return self._current().certificate + (b"" if following is None else following.certificate)

    def _read_ca(self, certificate: str, key: str) -> Issued:
        return Issued(certificate=(self._ca / certificate).read_bytes(), key=(self._ca / key).read_bytes())

    def _write_ca(self, authority: Issued, certificate: str, key: str) -> None:
        _write_private(self._ca / certificate, authority.certificate)
        _write_private(self._ca / key, authority.key)

    # The members

    def _issue(self, name: str, authority: Issued) -> Path:
        folder = self.folder / name
        folder.mkdir(mode=0o700, exist_ok=True)
        issued = issue(authority, name)
        _write_private(folder / CA_FILE, self._trusted())
        _write_private(folder / KEY_FILE, issued.key)
        _write_private(folder / CERTIFICATE_FILE, issued.certificate)
        return folder

    def _write_trusted(self) -> None:
        trusted = self._trusted()
        for name in self.members:
            _write_private(self.folder / name / CA_FILE, trusted)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise KeysError(f"{name[:80]!r} is no name of a node: 1 to 63 of A-Z, a-z, 0-9, '.', '_' and '-'")


def _write_private(path: Path, data: bytes) -> None:
    """Write a file that its owner alone can read; whoever reads it meanwhile sees the old one or the new one whole."""
    fresh = path.with_name(f".{path.name}.new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        os.fchmod(fd, 0o600)  # whatever the umask is, and was
        file.write(data)
        file.flush()
        os.fsync(fd)
    fresh.replace(path)
