"""A thing that comes and goes, and work that must unwind before it goes.

A service instance and a leadership have the same shape: others use them while they are there, and whoever takes them
away waits until every user has let go. The cell survives the thing, so users need not be restarted with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from anyio import CancelScope, create_task_group
from anyio.lowlevel import checkpoint

from kubevip._latest import Latest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


def _always(_: object) -> bool:
    return True


class Slot(Generic[T]):
    """Holds a thing or nothing. `content` changes when a thing comes or goes."""

    def __init__(self) -> None:
        self.content: Latest[T | None] = Latest(None)
        self._working = Latest(0)  # guarded bodies that have not unwound yet

    async def while_filled(self, guarded: Callable[[T], Awaitable[None]], test: Callable[[T], bool] = _always) -> None:
        """Run `guarded(thing)` for each thing that comes and passes `test`; cancel it when the thing goes.

        Returns only by cancellation or an error of `guarded`, which comes in an ExceptionGroup.

        :raises RuntimeError: when `guarded` returns although the thing is still there.
        """
        while True:
            thing = await self.content.wait_until(lambda thing: thing is not None and test(thing))
            assert thing is not None  # the test above, which the type checker cannot see
            self._working.set(self._working.value + 1)
            try:
                await self._guard(thing, guarded)
            finally:
                self._working.set(self._working.value - 1)

    async def _guard(self, thing: T, guarded: Callable[[T], Awaitable[None]]) -> None:
        async with create_task_group() as tg:

            async def follow() -> None:
                await self.content.wait_until(lambda content: content is not thing)
                tg.cancel_scope.cancel()

            tg.start_soon(follow)
            await guarded(thing)
            await checkpoint()  # cancelled meanwhile = unwound
            raise RuntimeError("guarded work ended although what it depends on is still there")

    async def unwound(self) -> None:
        """Wait, also under cancellation, until no guarded body is left; bounded by the grace of each."""
        with CancelScope(shield=True):
            await self._working.wait_until(lambda bodies: bodies == 0)

    async def empty(self) -> None:
        """Take the thing away and wait, also under cancellation, until its users have let go."""
        self.content.set(None)
        await self.unwound()
