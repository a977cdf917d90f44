"""What asks the check's questions are put to: TLS servers on the loopback that answer as a test tells them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from anyio import BrokenResourceError, EndOfStream, create_task_group, create_tcp_listener, sleep_forever
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

WELL = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ILL = (
    b"HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    b"[+]ping ok\n[+]log ok\n[-]etcd failed: reason withheld\n[+]poststarthook/max-in-flight-filter ok\n"
    b"readyz check failed\n"
)


class Authority:
    """A CA and the files it signed, in `folder`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "kubernetes")])
        certificate = self._sign(self._name, self._key, [], is_ca=True)
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(certificate.public_bytes(Encoding.PEM))

    def issue(self, file: str, *names: str) -> tuple[Path, Path]:
        """Make FILE.crt and FILE.key for `names`, the first of which is its common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        certificate = self._sign(subject, key, list(names))
        cert_file, key_file = self.folder / f"{file}.crt", self.folder / f"{file}.key"
        cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return cert_file, key_file

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, names: list[str], *, is_ca: bool = False
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False
            )
        return builder.sign(self._key, SHA256())


class ApiServer:
    """An API server that answers `answer`; None: it accepts and says nothing."""

    def __init__(self, authority: Authority, *names: str) -> None:
        self.answer: bytes | None = WELL
        self.asked: list[bytes] = []
        self.clients: list[str] = []
        self.port = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*authority.issue("apiserver", *(names or ("kube-apiserver", "kubernetes"))))
        self._context.load_verify_locations(authority.ca)
        self._context.verify_mode = ssl.CERT_OPTIONAL

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        async with await create_tcp_listener(local_host="127.0.0.1") as listener, create_task_group() as tg:
            self.port = listener.extra(SocketAttribute.local_port)
            tg.start_soon(listener.serve, self._serve)
            yield
            tg.cancel_scope.cancel()

    async def _serve(self, plain: SocketStream) -> None:
        async with plain:
            try:
                await self._answer(plain)
            except (ssl.SSLError, BrokenResourceError, EndOfStream):
                return  # the check did not like the server, or was cut short

    async def _answer(self, plain: SocketStream) -> None:
        stream = await TLSStream.wrap(plain, ssl_context=self._context, server_side=True, standard_compatible=False)
        self.asked.append(await stream.receive())
        certificate = stream.extra(TLSAttribute.peer_certificate)
        if certificate is not None:
            subject = dict(pair for group in certificate["subject"] for pair in group)  # type: ignore[misc]
            self.clients.append(str(subject["commonName"]))
        if self.answer is None:
            await sleep_forever()
        else:
            await stream.send(self.answer)
            await stream.aclose()
