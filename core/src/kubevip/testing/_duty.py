"""How a conformance check says what is wrong: the duty that is broken, then what was seen."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kubevip._supervise import causes

if TYPE_CHECKING:
    from collections.abc import Generator

#: What a check allows on top of every limit, because the machine that runs it may be busy.
SLACK_SECONDS = 0.5


def require(kept: bool, duty: str, seen: str) -> None:
    """Raise unless `duty` is kept; `seen` is what was observed instead.

    :raises AssertionError: "duty: seen"; also under `python -O`.
    """
    if not kept:
        raise AssertionError(f"{duty}: {seen}")


@contextmanager
def plain_failures() -> Generator[None]:
    """Raise a failure by itself that task groups have wrapped into ExceptionGroups."""
    try:
        yield
    except BaseExceptionGroup as group:
        for cause in causes(group):
            if isinstance(cause, AssertionError):
                raise cause from None
        raise
