"""Keys for tests: those that `kubevip raft keys` makes, and those that somebody else might."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubevip_election_raft._tls.authority import Issued, new_authority
from kubevip_election_raft._tls.key_store import KeyStore

NAMES = ("n1", "n2", "n3")


def make_keys(folder: Path, names: Sequence[str] = NAMES) -> Path:
    """Make keys as a user does; return their folder, with one folder a member."""
    KeyStore(folder).create(names)
    return folder


def make_own(
    folder: Path,
    *names: str,
    authority: Issued | None = None,
    first: datetime = datetime(1970, 1, 1, tzinfo=UTC),
    last: datetime = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    alternative: Callable[[str], x509.GeneralName] = x509.DNSName,
) -> Path:
    """Make keys as another tool might; return the folder."""
    authority = authority or new_authority()
    signer = load_pem_private_key(authority.key, None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0] if names else "n1")]))
        .issuer_name(x509.load_pem_x509_certificate(authority.certificate).subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(first)
        .not_valid_after(last)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(alternative, names))), critical=False)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "ca.crt").write_bytes(authority.certificate)
    (folder / "tls.crt").write_bytes(builder.sign(signer, SHA256()).public_bytes(Encoding.PEM))
    (folder / "tls.key").touch(mode=0o600)
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return folder
