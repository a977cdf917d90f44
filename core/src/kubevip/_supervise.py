"""Run one thing for ever: log what fails once, wait a growing while, start it again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from anyio import current_time, sleep, sleep_forever

from kubevip.errors import KubevipError, Permanent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

logger = logging.getLogger("kubevip.supervise")

#: Seconds of the first and of the longest pause; each is jittered by a quarter so that nodes do not retry in step.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0


def causes(error: BaseException) -> list[BaseException]:
    """Return the errors inside nested ExceptionGroups, or the error itself."""
    if isinstance(error, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", error)  # isinstance tells nothing of what is inside
        return [cause for one in inner.exceptions for cause in causes(one)]
    return [error]


def describe_error(error: BaseException) -> str:
    """Write an error as one line for people: the message of our own errors, type and message of others."""
    return "; ".join(
        str(cause) if isinstance(cause, KubevipError) else f"{type(cause).__name__}: {cause}" for cause in causes(error)
    )


def is_permanent(error: BaseException) -> bool:
    """Say whether trying again cannot help."""
    return all(isinstance(cause, Permanent) for cause in causes(error))


class Backoff:
    """The pauses between restarts: doubling from 1 s to 60 s, back to 1 s after a run that outlasted its pause."""

    def __init__(self, rng: Random) -> None:
        self._rng, self._next = rng, FIRST_PAUSE_SECONDS

    def outlasts(self, ran_seconds: float) -> bool:
        """Say whether a run of `ran_seconds` was a good one, so that its end is a failure of its own."""
        return ran_seconds > self._next

    def after(self, ran_seconds: float) -> float:
        """Return the seconds to wait after a run of `ran_seconds`."""
        if self.outlasts(ran_seconds):
            self._next = FIRST_PAUSE_SECONDS
        pause, self._next = self._next, min(self._next * 2, LONGEST_PAUSE_SECONDS)
        return pause * self._rng.uniform(0.75, 1.25)


async def supervise(
    what: str, body: Callable[[], Awaitable[None]], *, failed: Callable[[BaseException], None], rng: Random
) -> None:
    """Run `body` until it returns or this is cancelled; start it again when it raises.

    A permanent error is final: it is reported and then nothing happens until cancelled. The same error in a row is
    logged once; after a good run it is logged again. An error while being cancelled is told and goes no further.

    :param what: the thing, as logs name it: "vip api4".
    :param failed: told each failure, before the pause; the thing is down from then on.
    """
    backoff, last = Backoff(rng), ""
    while True:
        started = current_time()
        try:
            await body()
        except Exception as error:  # the one place where an item's failure is handled
            failed(error)
            text = describe_error(error)
            unexpected = not all(isinstance(cause, KubevipError) for cause in causes(error))
            if is_permanent(error):
                logger.error("%s stopped for good: %s", what, text)
                await sleep_forever()
            ran_seconds = current_time() - started
            if backoff.outlasts(ran_seconds):
                last = ""
            pause = backoff.after(ran_seconds)
            if text == last:
                logger.debug("%s failed again, next try in %.1f s: %s", what, pause, text)
            else:
                logger.error(
                    "%s failed, next try in %.1f s: %s", what, pause, text, exc_info=error if unexpected else None
                )
            last = text
            await sleep(pause)
        except BaseExceptionGroup as group:  # cancelled, and something failed while it unwound
            errors, cancellation = group.split(Exception)
            if errors is not None:
                failed(errors)
                logger.error("%s failed while it was stopped: %s", what, describe_error(errors))
            raise cancellation or group from None
        else:
            return
