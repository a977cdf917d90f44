"""The worker processes of one proxy instance: started when it opens, replaced when they end, gone when it closes."""

from __future__ import annotations

import logging
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from anyio import CancelScope, create_task_group, current_time, move_on_after, sleep

from kubevip_dataplane._link import Link, LinkError
from kubevip_dataplane._liveness import ASK_SECONDS, Liveness
from kubevip_dataplane._names import Names
from kubevip_dataplane._spawn import WorkerProcess, show_status

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncGenerator, Sequence
    from random import Random

    from anyio.abc import TaskStatus

    from kubevip_dataplane._messages import Message

logger = logging.getLogger("kubevip.dataplane")

#: How long a worker may take to end after its connection was closed, before it is killed.
END_SECONDS = 1.0

#: Pause before a worker that ended is replaced: none at first, then from the first of these, doubling up to the last.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0

#: A worker that lived this long did not end because of how it began: the next pause starts anew.
GOOD_LIFE_SECONDS = 60.0


class Tenant(Protocol):
    """A listener that lives in the workers."""

    @property
    def name(self) -> str:
        """Its id in messages."""
        raise NotImplementedError

    def opening(self, index: int) -> tuple[Message, socket.socket] | None:
        """Return the message that opens it in worker `index`, and its socket; None when it is to be left closed."""
        raise NotImplementedError

    def take(self, index: int, message: Message) -> None:
        """Deal with `message` from worker `index`."""

    def lost(self, index: int, reason: str) -> None:
        """Take note that worker `index` ended, and every connection in it."""


class Worker:
    """One place of the pool: a process at a time."""

    def __init__(self, pool: WorkerPool, index: int) -> None:
        self._pool, self._index = pool, index
        self._scope = CancelScope(shield=True)  # outlives a cancellation, until listeners have left: `stop` ends it
        self._process: WorkerProcess | None = None
        self._link: Link | None = None
        self._liveness = Liveness()
        self._why_killed = ""

    @property
    def pid(self) -> int | None:
        """The process id, while there is one."""
        return self._process.pid if self._process is not None else None

    def send(self, message: Message, sockets: Sequence[socket.socket] = ()) -> None:
        """Send `message`, if there is a process that can take it; one that cannot is about to be `lost`."""
        if self._link is not None:
            self._link.send(message, sockets)

    def kill(self, why: str = "it did not obey") -> None:
        """End the process at once, and with it all connections in it; another one takes its place."""
        if self._process is not None:
            self._why_killed = f"killed: {why}"
            self._process.kill()

    def stop(self) -> None:
        """End the process, and let no other take its place."""
        self._scope.cancel()

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Keep a process running until told to stop; started = there is one, or there cannot be one now."""
        pause = 0.0
        reason = self._begin()
        task_status.started()
        with self._scope:
            while True:
                began = current_time()
                if self._process is not None and self._link is not None:
                    reason = await self._live(self._process, self._link)
                if current_time() - began >= GOOD_LIFE_SECONDS:
                    pause = 0.0
                logger.warning("worker ended index=%d reason=%r next_in=%.1fs", self._index, reason, pause)
                await sleep(pause * self._pool.rng.uniform(0.5, 1.0))
                pause = min(max(FIRST_PAUSE_SECONDS, 2 * pause), LONGEST_PAUSE_SECONDS)
                reason = self._begin()

    def _begin(self) -> str:
        """Start a process; return why that failed, if it did."""
        try:
            self._process = WorkerProcess(self._pool.command)
        except OSError as error:
            return f"cannot be started: {error.strerror or error}"
        self._link = Link(self._process.channel)
        self._liveness, self._why_killed = Liveness(), ""
        logger.info("worker started index=%d pid=%d", self._index, self._process.pid)
        for tenant in self._pool.tenants():
            if (opening := tenant.opening(self._index)) is not None:
                self._link.send(opening[0], opening[1:])
        return ""

    async def _live(self, process: WorkerProcess, link: Link) -> str:
        """Stay with a process until it ended; return why it did."""
        reason = ""
        try:
            async with create_task_group() as tg:
                tg.start_soon(link.flush)
                tg.start_soon(self._watch, link)
                try:
                    await link.receive(self._take)
                except LinkError as error:
                    reason = str(error)
                tg.cancel_scope.cancel()
        finally:
            link.close()
            self._link = None
            with CancelScope(shield=True):
                with move_on_after(END_SECONDS):
                    await process.wait()
                process.kill()
                reason = reason or self._why_killed or show_status(await process.wait())
            self._process = None
            for tenant in self._pool.tenants():
                tenant.lost(self._index, reason)
        return reason

    async def _watch(self, link: Link) -> None:
        """Ask the process whether it is well, until it gives no answer: it hangs, or somebody stopped it."""
        while self._liveness.ask():
            link.send({"do": "ping"})
            await sleep(ASK_SECONDS)
        self.kill("it answered nothing for seconds")

    def _take(self, message: Message) -> None:
        if message["do"] == "pong":
            self._liveness.hear()
        elif (tenant := self._pool.tenant(str(message.get("id")))) is not None:
            tenant.take(self._index, message)


class WorkerPool:
    """The workers of one proxy instance and the listeners in them. Made by `open_pool`.

    :param command: arguments of the interpreter that start a worker.
    """

    def __init__(self, command: Sequence[str], count: int, rng: Random) -> None:
        self.command, self.rng = tuple(command), rng
        self.names = Names(current_time)
        self.workers = tuple(Worker(self, index) for index in range(count))
        self._tenants: dict[str, Tenant] = {}
        self._last_name = 0

    def new_name(self) -> str:
        """Return an id that no listener of this pool had before."""
        self._last_name += 1
        return str(self._last_name)

    def tenants(self) -> tuple[Tenant, ...]:
        """Return the listeners that are served, in the order they came."""
        return tuple(self._tenants.values())

    def tenant(self, name: str) -> Tenant | None:
        """Return the listener of that id."""
        return self._tenants.get(name)

    def admit(self, tenant: Tenant) -> None:
        """Open `tenant` in all workers, those included that are still to be started."""
        self._tenants[tenant.name] = tenant
        for index, worker in enumerate(self.workers):
            if (opening := tenant.opening(index)) is not None:
                worker.send(opening[0], opening[1:])

    def forget(self, tenant: Tenant) -> None:
        """Forget `tenant`, which was closed."""
        self._tenants.pop(tenant.name, None)

    def status(self) -> dict[str, object]:
        """Return what `kubevip status` shows of the workers."""
        return {"workers": [worker.pid for worker in self.workers]}


def usable_cpus() -> int:
    """Return how many CPUs this process may run on."""
    return len(os.sched_getaffinity(0))


@asynccontextmanager
async def open_pool(module: str, count: int, rng: Random) -> AsyncGenerator[WorkerPool]:
    """Keep `count` workers running; entered = they were started, left = they have ended.

    Left only when no listener is served any more. A cancellation from outside ends no worker by itself: listeners that
    leave still reach theirs.

    :param module: what a worker runs (`python -m`); it calls `kubevip_dataplane.worker.run`.
    """
    pool = WorkerPool(("-P", "-m", module), count, rng)
    async with create_task_group() as tg:
        for worker in pool.workers:
            await tg.start(worker.run)
        tg.start_soon(pool.names.run)
        try:
            yield pool
        finally:
            for worker in pool.workers:
                worker.stop()
            tg.cancel_scope.cancel()
