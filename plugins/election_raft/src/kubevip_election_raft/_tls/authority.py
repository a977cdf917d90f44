"""The authority of a group: makes it, and certificates in its name. Needs the library `cryptography`, and no clock.

Certificates are valid from 1970 to 9999, so that neither a board whose clock starts in 1970 nor an expiry date that
nobody remembers puts every virtual IP out at once. What ends a certificate is that its CA is trusted no more.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

from attrs import field, frozen
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kubevip_election_raft._tls.keys import KeysError

_FIRST_MOMENT = datetime(1970, 1, 1, tzinfo=UTC)
_FOR_EVER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280 4.1.2.5: no well-defined expiration date


@frozen(kw_only=True)
class Issued:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


def new_authority() -> Issued:
    """Return a new CA, whose name no other has."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"kubevip CA {os.urandom(4).hex()}")
    builder = _builder(name, name, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(signs_certificates=True), critical=True)
    return _pem(builder.sign(key, SHA256()), key)


def issue(authority: Issued, name: str) -> Issued:
    """Return a certificate for the member called `name`, for both sides of a connection.

    :raises KeysError: when the authority's files are not what `new_authority` made.
    """
    signer, ca = _private_key(authority), _certificate(authority.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(_name(name), ca.subject, key.public_key())
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    for extension, is_critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_usage(signs_certificates=False), True),
        (x509.ExtendedKeyUsage(usages), False),
        (x509.SubjectAlternativeName([x509.DNSName(name)]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=is_critical)
    return _pem(builder.sign(signer, SHA256()), key)


def is_issued_by(certificate: bytes, authority: bytes) -> bool:
    """Return whether the one PEM certificate was signed by the other.

    :raises KeysError: when one of them is no certificate.
    """
    try:
        _certificate(certificate).verify_directly_issued_by(_certificate(authority))
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FIRST_MOMENT)
        .not_valid_after(_FOR_EVER)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    return Issued(
        certificate=certificate.public_bytes(Encoding.PEM),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    )


def _certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise KeysError("there is no certificate where one should be") from None


def _private_key(authority: Issued) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(authority.key, None)
    except (ValueError, TypeError):
        raise KeysError("the key of the CA cannot be read") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise KeysError("the key of the CA is of another kind than this program makes")
    return key
