"""Faults: what becomes of a request instead of its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import field, frozen, mutable

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubevip_k8s.testing._requests import Request


@frozen(kw_only=True)
class Delay:
    """It is carried out and answered `seconds` later."""

    seconds: float


@frozen(kw_only=True)
class Stall:
    """It is never answered. `is_carried_out`: but done."""

    is_carried_out: bool = False


@frozen(kw_only=True)
class Drop:
    """The connection breaks. `is_carried_out`: after the deed, so that only its answer is lost."""

    is_carried_out: bool = False


@frozen(kw_only=True)
class Fail:
    """It is refused with an HTTP status (429, 500, 503), and Retry-After if `retry_after_seconds` is given."""

    status: int = 500
    reason: str = "InternalError"
    message: str = "injected"
    retry_after_seconds: int | None = None


@frozen(kw_only=True)
class Raw:
    """Bytes that are no API answer, as a proxy between might send them."""

    status: int = 502
    body: bytes = b"<html>502 Bad Gateway</html>"
    content_type: str = "text/html"


Fault = Delay | Stall | Drop | Fail | Raw


@mutable(kw_only=True, eq=False)
class Rule:
    """A fault for the requests that `when` is true of, the next `times` of them (None: all)."""

    fault: Fault
    when: Callable[[Request], bool]
    times: int | None = None
    hits: int = field(default=0, init=False)

    def strikes(self, request: Request) -> bool:
        """Return whether it strikes this request; counts it if so."""
        if (self.times is not None and self.hits >= self.times) or not self.when(request):
            return False
        self.hits += 1
        return True
