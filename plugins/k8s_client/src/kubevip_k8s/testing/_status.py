"""A refusal, as the API server words it: a Status object with the HTTP status that goes with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kubevip_k8s.testing._document import Document


class Refusal(Exception):
    """The server refuses a request; `document` is the Status that it answers with."""

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        *,
        details: Document | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message
        self.details, self.retry_after_seconds = details, retry_after_seconds

    @property
    def document(self) -> Document:
        """The Status object."""
        document: Document = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.status,
        }
        return document | ({"details": self.details} if self.details else {})


def bad_request(message: str) -> Refusal:
    """Return the refusal of what cannot be understood."""
    return Refusal(400, "BadRequest", message)


def expired(message: str) -> Refusal:
    """Return the refusal of a version that is not kept any more."""
    return Refusal(410, "Expired", message)


def unprocessable() -> Refusal:
    """Return the refusal of a JSON Patch that does not apply; the server says no more than this."""
    return Refusal(422, "Invalid", "the server rejected our request due to an error in our request")
