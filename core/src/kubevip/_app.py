"""Wires everything into one process: start, run, two-phase stop."""

from __future__ import annotations

import gc
import logging
import os
import secrets
import signal
import sys
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
from anyio import Event, create_task_group

from kubevip import _control as control
from kubevip._board import Board
from kubevip._bootstrap import FILE_SOURCE, load, load_plugins
from kubevip._context import Context
from kubevip._contract import Host
from kubevip._deferred_log import defer_log
from kubevip._keeper_link import Command, KeeperLink, NoKeeper
from kubevip._machine import read_machine
from kubevip._model import Kind
from kubevip._node_name import node_name
from kubevip._observe import Observers
from kubevip._reconcile import Reconciler
from kubevip._requests import Requests
from kubevip._resolve import resolve
from kubevip._sources import Sources
from kubevip._status_json import status_of
from kubevip._supervise import causes, supervise
from kubevip._urgency import Urgency
from kubevip.errors import ConfigError, KubevipError, NotPermittedError
from kubevip_keeper._exit_status import NOT_PERMITTED, REFUSED

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from kubevip._bootstrap import Loaded
    from kubevip._options import Options
    from kubevip._plugins import PluginRegistry

logger = logging.getLogger("kubevip.app")

#: A stop that takes longer is cut by the kernel: whoever hangs, the fence acts, and the lock of the state directory is
#: free for a successor. Longer than the keeper waits, so this is for a process whose keeper is gone or did not ask.
HARD_STOP_SECONDS = 12

#: How long a thread may keep another from running Python. Python's own 5 ms would be added to a takeover wherever the
#: event loop hands something to a thread (a kernel lease, a vote that is synced) while it is busy itself.
SWITCH_SECONDS = 0.0005

#: How far a process that holds nothing any more steps back while it stops.
STOPPING_NICENESS = 10


def run(options: Options) -> int:
    """Run a node until it is asked to stop; return the exit status.

    0 after a stop; 78 when a service is refused for good, 77 when the machine does not permit what it needs.

    :raises KubevipError: when the node cannot start; the message is for people.
    """
    registry = load_plugins(options)
    loaded = anyio.run(load, options, registry)
    sys.setswitchinterval(SWITCH_SECONDS)
    node = _Node(options, registry, loaded, KeeperLink.from_environment() or NoKeeper())
    try:
        return anyio.run(node.run)
    except ExceptionGroup as group:  # what the task groups around it make of an error
        if len(found := causes(group)) == 1 and isinstance(found[0], KubevipError):
            raise found[0] from None
        raise


class _Node:
    """One running node."""

    def __init__(self, options: Options, registry: PluginRegistry, loaded: Loaded, link: KeeperLink | NoKeeper) -> None:
        self._options, self._link = options, link
        first = resolve((loaded.base, loaded.file), registry)
        if first.missing:
            raise ConfigError(first.missing)
        for warning in loaded.warnings:
            logger.warning("%s", warning)
        self._name = node_name(options, node_name=first.node_name, members=first.members, machine=read_machine())
        self._rng = rng = Random(secrets.randbits(64))
        self._board = Board(node=self._name, instance=options.instance)
        said = {it.name: loaded.file for it in loaded.base.instances if it.name == FILE_SOURCE}
        self._sources = Sources(loaded.base, registry, self._board, loaded=said, resolved=first)
        self._observers, self._urgency = Observers(), Urgency()
        host = Host(
            node_name=self._name,
            instance=options.instance,
            state_dir=options.state_dir,
            rng=rng,
            will=link.will,
            incarnation=link.incarnation,
            allow_insecure=options.insecure,
            config_digest=lambda: self._board.config_digest,
            urgent=self._urgency.held,
            keep_open=link.keep_open,
        )
        context = Context(board=self._board, observers=self._observers, rng=rng)
        self._reconciler = Reconciler(host, context, inside=self._inside, released=self._step_back)
        self._stopping = Event()
        self._status_code = 0

    async def run(self) -> int:
        """Run until asked to stop; leaves with everything withdrawn, released and closed."""
        requests = Requests(self._reconciler, self._sources, self._board, self._status)
        async with create_task_group() as logging_task, self._link.serve(self._obey):
            logging_task.start_soon(defer_log)
            async with control.serve(self._options.state_dir / "control.sock", requests.answer):
                async with create_task_group() as tg:
                    tg.start_soon(self._board.run)
                    tg.start_soon(self._merge)
                    tg.start_soon(self._reconciler.run, self._sources.wanted)
                    tg.start_soon(self._watch_start)
                    logger.info("started node=%s instance=%s", self._name, self._options.instance)
                    await self._stopping.wait()
                    signal.alarm(HARD_STOP_SECONDS)  # its default action ends the process, also when the loop is stuck
                    await self._reconciler.relieve()
                    tg.cancel_scope.cancel()
            logging_task.cancel_scope.cancel()
        signal.alarm(0)
        logger.info("stopped node=%s", self._name)
        return self._status_code

    async def _merge(self) -> None:
        """Merge what the sources say; what fails is tried again with their next word, and what was good stays."""
        await supervise("merging of configurations", self._sources.run, failed=lambda error: None, rng=self._rng)

    async def _watch_start(self) -> None:
        """Say when this node is ready: every service opened, or waits to; end when one is refused for good."""
        await self._sources.has_published.wait()
        await self._reconciler.applied.wait_until(lambda applied: applied is self._sources.wanted.value)
        for kind, name, task in tuple(self._reconciler.services()):
            await task.settled.wait()
            if task.refused is not None:
                logger.error("%s %s is refused, for the reason above: ending", kind.value, name)
                self._status_code = NOT_PERMITTED if isinstance(task.refused, NotPermittedError) else REFUSED
                self._stopping.set()
                return
        # what exists now lives as long as the process: never look at it again for garbage
        gc.collect()
        gc.freeze()
        self._link.ready()

    def _inside(self, kind: Kind, name: str) -> Callable[[Any], Awaitable[None]] | None:
        """Say what a service runs while it is open."""
        if kind is Kind.SOURCE:
            return lambda source: self._sources.follow(name, source)
        if kind is Kind.OBSERVER:
            return lambda observer: self._observers.follow(name, observer)
        return None

    def _obey(self, command: Command) -> None:
        match command:
            case Command.STOP:
                self._stopping.set()
            case Command.RELOAD:
                self._sources.read_again()
            case Command.DUMP_STATUS:
                logger.info("status %s", self._status())
            case Command.DUMP_TASKS:
                for task in anyio.get_running_tasks():
                    logger.info("task id=%d parent=%s name=%s", task.id, task.parent_id, task.name)

    def _status(self) -> Mapping[str, object]:
        services = {(kind.value, name): task.status() for kind, name, task in self._reconciler.services()}
        return status_of(self._board.snapshot(), services, since=self._sources.since, refused=self._sources.refused)

    def _step_back(self) -> None:
        """Leave the processors to whoever takes over on this machine: what is left of the stop is in nobody's way."""
        self._urgency.end()
        with suppress(OSError, AttributeError):  # refused by the machine, or not Unix
            os.nice(STOPPING_NICENESS)
