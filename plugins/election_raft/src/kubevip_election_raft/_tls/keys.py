"""The keys of a member, as three files in one folder: what they must be, and what TLS makes of them.

`ca.crt` (one CA or more: whom to trust), `tls.crt` (this member's certificate, and CAs in between if there are any) and
`tls.key`: PEM, called as in a TLS Secret of Kubernetes. A member is known by a DNS name in its certificate that is
its node name. No CA but these is trusted.

They are judged before they are used: a pair of channels made of them has to understand each other.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from attrs import field, frozen

from kubevip.errors import ElectionError
from kubevip_election_raft._tls.channel import ChannelError, TlsChannel

CA_FILE, CERTIFICATE_FILE, KEY_FILE = "ca.crt", "tls.crt", "tls.key"
FILES = (CA_FILE, CERTIFICATE_FILE, KEY_FILE)

#: What signs certificates. Whoever has it can vote as any member, so it has no business here.
CA_KEY_FILE = "ca.key"

#: Hundreds of certificates.
LARGEST_FILE_BYTES = 256 * 1024

_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: A certificate that expires sooner is warned of. Those that `kubevip raft keys` makes never do.
SOON = timedelta(days=30)


class KeysError(ElectionError):
    """The files are not what a member needs; the message names the file and the remedy."""


class NoKeysError(KeysError):
    """There are no keys."""


@frozen(kw_only=True, eq=False)
class Keys:
    """Keys that were judged good. `names` are those of the certificate, `valid_until` is None for for ever.

    `certificate` and `trusted` are the contents of tls.crt and ca.crt.
    """

    folder: Path
    names: tuple[str, ...]
    valid_until: datetime | None
    certificate: str
    trusted: str
    server: ssl.SSLContext = field(repr=False)
    client: ssl.SSLContext = field(repr=False)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What ought to be put right, though it works for now."""
        warnings: list[str] = []
        if (path := self.folder / CA_KEY_FILE).exists():
            warnings.append(f"{path}: whoever reads it can vote as any member; keep it on no member")
        if self.valid_until is not None and self.valid_until - datetime.now(UTC) < SOON:
            warnings.append(
                f"{self.folder / CERTIFICATE_FILE} expires at {self.valid_until:%Y-%m-%d %H:%M} UTC, and then no "
                "member speaks to this one: renew it"
            )
        return tuple(warnings)


def load_keys(folder: Path, name: str | None) -> Keys:
    """Return the keys of the member called `name`, or of whomever they are. Reads files, so it may block.

    :raises NoKeysError: when there are none.
    :raises KeysError: when they cannot be used, or others than root and this user can read or replace them.
    """
    missing = [file for file in FILES if not (folder / file).exists()]
    if len(missing) == len(FILES):
        raise NoKeysError(f"{folder}: there are no keys ({', '.join(FILES)})")
    if missing:
        raise KeysError(f"{folder / missing[0]}: there is none; copy the whole folder that was made for this member")
    try:
        for file in FILES:
            _judge_file(folder / file)
        server, client = _context(folder, is_server=True), _context(folder, is_server=False)
        certificate, trusted = (folder / CERTIFICATE_FILE).read_text(), (folder / CA_FILE).read_text()
    except OSError as error:
        raise KeysError(f"{error.filename or folder}: {error.strerror}") from None
    own = _introduce(folder, server, client)
    if name is not None and name not in (own.peer_names or ()):
        names = ", ".join(own.peer_names or ()) or "nobody"
        raise KeysError(
            f"{folder / CERTIFICATE_FILE}: it is the certificate of {names}, and this is {name}; copy the keys that "
            f"were made for {name}"
        )
    return Keys(
        folder=folder,
        names=own.peer_names or (),
        valid_until=_moment(own.valid_until),
        certificate=certificate,
        trusted=trusted,
        server=server,
        client=client,
    )


def fingerprints(pem: str) -> list[str]:
    """Return the SHA-256 fingerprints of the certificates in a text, in order, in hexadecimal digits.

    :raises KeysError: when one of them is damaged.
    """
    try:
        return [sha256(ssl.PEM_cert_to_DER_cert(text)).hexdigest() for text in _CERTIFICATE.findall(pem)]
    except ValueError:
        raise KeysError("a certificate is damaged") from None


def stamp_of(folder: Path) -> tuple[object, ...]:
    """Return something that differs when the files do; cheap, and never raises."""
    stamps: list[object] = []
    for file in FILES:
        try:
            found = (folder / file).stat()
        except OSError as error:
            stamps.append(error.errno)
        else:
            stamps.append((found.st_ino, found.st_size, found.st_mtime_ns, found.st_mode, found.st_uid))
    return tuple(stamps)


def _judge_file(path: Path) -> None:
    found = path.stat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > LARGEST_FILE_BYTES:
        raise KeysError(f"{path}: it is no file of a plausible size")
    if found.st_uid not in (0, os.geteuid()):
        raise KeysError(f"{path}: user {found.st_uid} owns it and can replace it: chown {os.geteuid()} {path}")
    mode = stat.S_IMODE(found.st_mode)
    if path.name == KEY_FILE and mode & 0o077:
        raise KeysError(f"{path}: others can read it (mode {mode:04o}): chmod 600 {path}, and renew it if they did")
    if mode & 0o022:
        raise KeysError(f"{path}: others can replace it (mode {mode:04o}): chmod 644 {path}")


def _context(folder: Path, *, is_server: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # names are those of nodes, and are compared where it is known who is meant
    context.verify_mode = ssl.CERT_REQUIRED
    if is_server:
        context.num_tickets = 0  # connections last; there is nothing to resume
    try:
        context.load_verify_locations(cadata=(folder / CA_FILE).read_text("ascii"))
    except (ssl.SSLError, ValueError):  # ValueError: not ASCII, or empty
        raise KeysError(f"{folder / CA_FILE}: there is no certificate of a CA in it that can be read") from None
    try:
        context.load_cert_chain(folder / CERTIFICATE_FILE, folder / KEY_FILE, password=_refuse_to_ask)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise KeysError(
                f"{folder}: {KEY_FILE} does not belong to {CERTIFICATE_FILE}; copy the whole folder again "
                "that was made for this member"
            ) from None
        raise KeysError(f"{folder}: {CERTIFICATE_FILE} or {KEY_FILE} cannot be read as PEM") from None
    return context


def _refuse_to_ask() -> NoReturn:
    raise KeysError("the key is encrypted, and nobody is there to type a password when a member starts: decrypt it")


def _introduce(folder: Path, server: ssl.SSLContext, client: ssl.SSLContext) -> TlsChannel:
    """Let the two sides of one member meet; return the client's, which has then seen what the peers will see."""
    serving, asking = TlsChannel(server, is_server=True), TlsChannel(client, is_server=False)
    try:
        has_met, data = False, b""
        while not has_met:
            has_met = asking.shake(data)
            serving.shake(asking.outgoing())
            data = serving.outgoing()
    except ChannelError as error:
        raise KeysError(
            f"{folder / CERTIFICATE_FILE}: no peer would accept it: {_SAID_OF_ONESELF.get(str(error), str(error))}"
        ) from None
    return asking


_SAID_OF_ONESELF = {
    "wrong CA": f"no CA in {CA_FILE} has signed it for both sides of a connection; copy the whole folder again that "
    "was made for this member",
    "its certificate has expired": "it has expired; renew it, `kubevip raft keys renew` does for keys that it made",
}


def _moment(text: str) -> datetime | None:
    """Return a point in time that a certificate names; None for the one that means never (RFC 5280 4.1.2.5)."""
    moment = _EPOCH + timedelta(seconds=ssl.cert_time_to_seconds(text))  # beyond the clock of a 32-bit machine
    return None if moment.year == datetime.max.year else moment
