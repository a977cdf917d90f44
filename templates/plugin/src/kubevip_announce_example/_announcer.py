"""Calls a program when an address comes and goes."""

from __future__ import annotations

import logging
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from anyio import CancelScope, create_task_group, fail_after, run_process, sleep

from kubevip import Health, Level
from kubevip.errors import AnnounceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from kubevip import Tenure, VirtualIP
    from kubevip_announce_example._config import ExampleConfig

logger = logging.getLogger("kubevip.example")


class ProgramAnnouncer:
    """A `kubevip.abc.Announcer`."""

    def __init__(self, config: ExampleConfig) -> None:
        self._config = config

    @asynccontextmanager
    async def announce(self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]) -> AsyncGenerator[None]:
        """Keep the address up while the body runs; `down` is called in any case, also when cancelled half-way.

        :raises AnnounceError: when the program cannot be called, fails or takes too long.
        """
        if tenure.remaining_seconds <= 0:
            raise AnnounceError(f"virtual IP {vip.name}: {vip.address} is not announced: its leadership is over")
        try:
            await self._call("up", vip)
            logger.info("up vip=%s address=%s", vip.name, vip.address)
            async with create_task_group() as tg:
                tg.start_soon(self._repeat, vip, tenure, report)
                yield
                tg.cancel_scope.cancel()
        finally:
            with CancelScope(shield=True):  # bounded by the timeout of a call
                await self._call("down", vip)
            logger.info("down vip=%s address=%s", vip.name, vip.address)

    async def _repeat(self, vip: VirtualIP, tenure: Tenure, report: Callable[[Health], None]) -> None:
        while True:
            report(Health())
            await sleep(self._config.repeat)
            if tenure.remaining_seconds <= 0:  # a process that was frozen runs on for a moment
                return
            try:
                await self._call("up", vip)
            except AnnounceError as error:
                report(Health(level=Level.DEGRADED, reason=str(error)))

    async def _call(self, verb: str, vip: VirtualIP) -> None:
        failed = f"virtual IP {vip.name}: {self._config.program} {verb} {vip.address}"
        try:
            with fail_after(self._config.timeout):
                done = await run_process(
                    [str(self._config.program), verb, str(vip.address)],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stderr=subprocess.STDOUT,
                )
        except OSError as error:
            reason = f"cannot be called: {error.strerror}; see `program` of the announcer"
            raise AnnounceError(f"{failed} {reason}") from error
        except TimeoutError as error:
            raise AnnounceError(f"{failed} took longer than {self._config.timeout:g} s") from error
        if done.returncode != 0:
            said = done.stdout.decode(errors="replace").strip().splitlines()
            raise AnnounceError(f"{failed} ended with status {done.returncode}: {said[-1] if said else 'no message'}")
