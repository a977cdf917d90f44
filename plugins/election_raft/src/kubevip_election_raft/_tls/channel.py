"""What is between a frame and the wire: TLS, or nothing at all. Bytes in, bytes out; no socket, no clock.

Both kinds are used alike: `shake` with what arrived until it returns true, sending what `outgoing` gives meanwhile;
then `seal` what is to be sent and `open` what arrived. Whatever goes wrong raises ChannelError, whose text is what
`kubevip status` shows of the connection; what `outgoing` gives then is an alert that tells the other side.
"""

from __future__ import annotations

import ssl
from typing import Protocol, cast

#: A handshake takes two to four thousand bytes a side; nobody is listened to for longer before it is known who it is.
LARGEST_HANDSHAKE_BYTES = 64 * 1024

_RECORD_BYTES = 16 * 1024  # RFC 8446 5.1, at most
_TLS_HANDSHAKE, _TLS_ALERT = 0x16, 0x15  # RFC 8446 5.1, first byte of a record
#: RFC 8446 6.2, fatal protocol_version: what somebody hears who speaks something else. OpenSSL says nothing then.
_NO_TLS = b"\x15\x03\x03\x00\x02\x02\x46"

_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


class ChannelError(Exception):
    """The channel cannot be used (any more); the text says why in a few words."""


class Channel(Protocol):
    """One connection's way of making bytes unreadable and unforgeable, or not."""

    @property
    def peer_names(self) -> tuple[str, ...] | None:
        """The names that the other side has proven; None where nothing is proven."""
        ...

    def shake(self, data: bytes) -> bool:
        """Take what arrived (at first nothing); return whether the channel stands.

        :raises ChannelError: when the other side cannot be trusted, or does not trust this one.
        """
        ...

    def outgoing(self) -> bytes:
        """Return what the channel itself has to send."""
        ...

    def seal(self, data: bytes) -> bytes:
        """Return what to send for `data`. What one call returns is sent whole, before what the next returns."""
        ...

    def open(self, data: bytes) -> bytes:
        """Return what `data`, and what arrived before, says.

        :raises ChannelError: when it was not sent by the other side, or ends the channel.
        """
        ...


class PlainChannel:
    """No protection: what is sent is what was given."""

    peer_names: tuple[str, ...] | None = None

    def __init__(self) -> None:
        self._has_heard = False

    def shake(self, data: bytes) -> bool:
        """Return true: there is nothing to agree on."""
        return True

    def outgoing(self) -> bytes:
        """Return nothing."""
        return b""

    def seal(self, data: bytes) -> bytes:
        """Return `data`."""
        return data

    def open(self, data: bytes) -> bytes:
        """Return `data`.

        :raises ChannelError: when the other side speaks TLS.
        """
        if data and not self._has_heard:
            self._has_heard = True
            if data[0] in (_TLS_HANDSHAKE, _TLS_ALERT):  # a frame begins with 0: its length is below 2^24
                raise ChannelError("it has keys, and this member was told to do without")
        return data


class TlsChannel:
    """TLS 1.3 in which both sides show a certificate."""

    def __init__(self, context: ssl.SSLContext, *, is_server: bool) -> None:
        """Prepare.

        :param context: of that side, from `Keys`: it wants a certificate of the other one.
        """
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=is_server)
        self._taken_bytes = 0
        self._last_word = b""
        self._peer_names: tuple[str, ...] | None = None

    @property
    def peer_names(self) -> tuple[str, ...] | None:
        """The DNS names of the other side's certificate; None before the handshake is over."""
        return self._peer_names

    @property
    def valid_until(self) -> str:
        """When the other side's certificate expires, as ssl.cert_time_to_seconds reads it."""
        certificate = self._tls.getpeercert()
        return str(certificate["notAfter"]) if certificate else ""

    def shake(self, data: bytes) -> bool:
        """Take what arrived; return whether the other side has proven its names.

        A client's channel stands before its server has judged it: a refusal arrives with the first `open`.

        :raises ChannelError: see above.
        """
        self._taken_bytes += len(data)
        if self._taken_bytes > LARGEST_HANDSHAKE_BYTES:
            raise ChannelError("an endless handshake")
        self._incoming.write(data)
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError as error:
            problem = _problem(error)
            if problem == "no TLS":
                self._last_word = _NO_TLS
            raise ChannelError(problem) from None
        certificate = self._tls.getpeercert()
        assert certificate is not None  # the context demands one
        names = cast("tuple[tuple[str, str], ...]", certificate.get("subjectAltName", ()))
        self._peer_names = tuple(value for kind, value in names if kind == "DNS")
        return True

    def outgoing(self) -> bytes:
        """Return what the channel itself has to send: its part of the handshake, alerts."""
        return self._outgoing.read() or self._last_word

    def seal(self, data: bytes) -> bytes:
        """Return the records that carry `data`."""
        self._tls.write(data)
        return self._outgoing.read()

    def open(self, data: bytes) -> bytes:
        """Return what the records say that are complete now.

        :raises ChannelError: see above; also when the other side said goodbye.
        """
        self._incoming.write(data)
        opened = b""
        try:
            while self._incoming.pending or self._tls.pending():  # or else it would raise, at each heartbeat
                if not (more := self._tls.read(_RECORD_BYTES)):
                    raise ChannelError("it ended the connection")  # nothing, for ever, is what an end reads as
                opened += more
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise ChannelError(_problem(error)) from None
        return opened


def _problem(error: ssl.SSLError) -> str:
    """Say in a few words what went wrong. Texts of OpenSSL bear no secrets, but mean nothing to most people."""
    if isinstance(error, ssl.SSLCertVerificationError):
        match error.verify_code:
            case code if code == _EXPIRED:
                return "its certificate has expired"
            case code if code == _NOT_YET_VALID:
                return "its certificate is not valid yet"
            case _:
                return "wrong CA"
    reason = error.reason or ""
    if reason in _PROBLEMS:
        return _PROBLEMS[reason]
    return reason.replace("_", " ").lower() or "no TLS"


#: What OpenSSL calls it, and what it means here. ALERT: the other side says so of this one.
_PROBLEMS = {
    "TLSV1_ALERT_UNKNOWN_CA": "wrong CA",
    "TLSV1_ALERT_DECRYPT_ERROR": "wrong CA",  # a CA of the same name with another key
    "SSLV3_ALERT_BAD_CERTIFICATE": "wrong CA",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "wrong CA",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "this member's certificate is not one for both sides of a connection",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "this member's certificate has expired",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no certificate",
    "TLSV1_ALERT_PROTOCOL_VERSION": "no TLS 1.3",
    "UNSUPPORTED_PROTOCOL": "no TLS 1.3",
    "WRONG_VERSION_NUMBER": "no TLS",
    "HTTP_REQUEST": "no TLS",
    "HTTPS_PROXY_REQUEST": "no TLS",
    "RECORD_LAYER_FAILURE": "no TLS",
    "PACKET_LENGTH_TOO_LONG": "no TLS",
    "UNEXPECTED_EOF_WHILE_READING": "it hung up",
}
