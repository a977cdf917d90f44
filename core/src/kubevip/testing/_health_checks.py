"""Checks of a health check: what it says of a thing that is well, ill and well again, and that it can be cut short."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import CancelScope, Event, create_task_group, current_time, fail_after

from kubevip._contract import CheckResult
from kubevip._node_check import HERE
from kubevip.testing._duty import SLACK_SECONDS, plain_failures, require

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from kubevip._contract import Target
    from kubevip.abc import Check

PROBE = "Check.probe (says whether the target is well; raises for no answer of the target's)"
CUT = "Check.probe (interval, timeout, rise and fall are the caller's, so it ends when it is cancelled)"


async def check_health_check(
    make: Callable[[], AbstractAsyncContextManager[Check]],
    *,
    spoil: Callable[[], Awaitable[None]],
    mend: Callable[[], Awaitable[None]],
    hang: Callable[[], Awaitable[None]] | None = None,
    target: Target = HERE,
    answer_within_seconds: float = 5.0,
) -> None:
    """Check a health check whose target is well now.

    :param make: opens the check.
    :param spoil: makes the target ill; it may be called again.
    :param mend: makes the target well.
    :param hang: makes the target silent without an end; None: it cannot be done.
    :param answer_within_seconds: how long a probe of a target may take that is not silent.
    :raises AssertionError: naming what is broken.
    """
    with plain_failures():
        async with make() as check:
            await _expect(check, target, True, answer_within_seconds)
            for _ in range(2):
                await spoil()
                await _expect(check, target, False, answer_within_seconds)
                await mend()
                await _expect(check, target, True, answer_within_seconds)
            if hang is not None:
                await hang()
                await _cut(check, target)
                await mend()
                await _expect(check, target, True, answer_within_seconds)


async def _expect(check: Check, target: Target, is_well: bool, seconds: float) -> None:
    try:
        with fail_after(seconds):
            result = await check.probe(target)
    except TimeoutError:
        require(False, PROBE, f"there was no answer within {seconds:g} s")
        return
    except Exception as error:  # that is what is looked for
        require(False, PROBE, f"it raised {type(error).__name__}: {error}")
        return
    require(isinstance(result, CheckResult), PROBE, f"it returned {result!r}, which is no CheckResult")
    state = "well" if is_well else "ill"
    require(result.is_good == is_well, PROBE, f"the target is {state}, and it said {result!r}")
    require(is_well or bool(result.reason), PROBE, "the target is ill, and it did not say why")
    require("\n" not in result.reason, PROBE, f"its reason is more than one line: {result.reason!r}")


async def _cut(check: Check, target: Target) -> None:
    scope, ended = CancelScope(), Event()

    async def probe() -> None:
        with scope:
            await check.probe(target)
        ended.set()

    async with create_task_group() as tg:
        tg.start_soon(probe)
        with CancelScope(deadline=current_time() + SLACK_SECONDS):
            await ended.wait()
        require(not ended.is_set(), CUT, "the target is silent, and it returned")
        asked = current_time()
        scope.cancel()
        await ended.wait()
        took = current_time() - asked
        require(took <= SLACK_SECONDS, CUT, f"it went on for {took:.2f} s when cancelled")
