"""What a request to the API can end with, translated once from HTTP and from Kubernetes' Status objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip.errors import KubevipError
from kubevip_k8s._json import as_mapping, as_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_LONGEST_MESSAGE = 500


class ApiError(KubevipError):
    """A request to the API failed."""


class NoAccess(ApiError):
    """It is not known where the API is or who we are there: a kubeconfig or a token is missing or broken."""


class Unreachable(ApiError):
    """Nobody answered: refused, reset, no such name, or a certificate that is not trusted."""


class TimedOut(Unreachable):
    """No answer, or no end of it, within the time that the request was given. It may have been carried out."""


class BadAnswer(ApiError):
    """What answered does not speak the API: an error page of a proxy, broken JSON, more than the bound."""


class Refused(ApiError):
    """The API refused, with an HTTP status.

    `status` is HTTP's number, `reason` Kubernetes' word ("AlreadyExists"; "" if it gave none).
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status, self.reason, self.message = status, reason, message
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")


class Unauthorized(Refused):
    """401: the credentials are missing, wrong or no longer valid."""


class Forbidden(Refused):
    """403: the credentials are good, and do not permit this."""


class NotFound(Refused):
    """404: there is no such object, namespace or resource."""


class Conflict(Refused):
    """409: the object was changed since it was read."""


class AlreadyExists(Refused):
    """409 with the reason AlreadyExists: an object of this name is there."""


class Gone(Refused):
    """410: the version or the page asked for is no longer kept; list again."""


class Invalid(Refused):
    """400 or 422: the object, the patch or the query is not accepted; a failed `test` of a JSON Patch, too."""


class TooManyRequests(Refused):
    """429: come back later; `retry_after_seconds` is what the server asked for, None if it did not say."""

    retry_after_seconds: float | None = None


class ServerError(Refused):
    """5xx: the server, or what stands between, failed. It may have been carried out."""


_BY_STATUS: Mapping[int, type[Refused]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}


def error_of_status(status: int, answer: object, retry_after_seconds: float | None = None) -> Refused:
    """Return the error for HTTP's `status` and the decoded answer, a Status object or anything else."""
    reason, message = "", ""
    if body := as_mapping(answer):
        reason, message = as_text(body.get("reason")), as_text(body.get("message"))
    elif answer:
        message = str(answer)
    kind = _BY_STATUS.get(status, ServerError if status >= 500 else Refused)
    if reason == "AlreadyExists":
        kind = AlreadyExists
    error = kind(status, reason, message.strip()[:_LONGEST_MESSAGE] or "no explanation")
    if isinstance(error, TooManyRequests):
        error.retry_after_seconds = retry_after_seconds
    return error


def error_of_event(found: object) -> Refused:
    """Return the error that an ERROR event of a watch carries: a Status, with HTTP's number in `code`."""
    code = as_mapping(found).get("code")
    return error_of_status(code if isinstance(code, int) else 500, found)
