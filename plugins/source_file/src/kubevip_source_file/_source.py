"""Watches a file and publishes what it wants.

Looking is a stat of the path once a second, which sees a file that is replaced by renaming, written in place, or
reached through symbolic links that are swapped (as the kubelet does with ConfigMaps), on every file system. A change
is read when it was seen twice the same, so that a file is not read while it is being written.
"""

from __future__ import annotations

import logging
import os
from functools import partial
from operator import ne
from typing import TYPE_CHECKING

from anyio import CapacityLimiter, move_on_after, to_thread

from kubevip.errors import ConfigError
from kubevip_source_file._reading import Identity, digest_of_text, look_at, read_configuration, read_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kubevip import Desired, Feed, Problem

log = logging.getLogger("kubevip.file")

LOOK_SECONDS = 1.0


class FileSource:
    """Tells what one file wants, and again whenever that changes."""

    def __init__(self, path: Path, environment: Mapping[str, str] | None = None) -> None:
        self._path = path
        self._environment: Mapping[str, str] = os.environ if environment is None else environment
        self._limiter = CapacityLimiter(1)

    def load(self) -> tuple[Desired, tuple[Problem, ...]]:
        """Read the file once; return what it wants, and warnings.

        :raises ConfigError: with everything that is wrong with it.
        """
        data, _ = read_file(self._path)
        return read_configuration(data, str(self._path), self._environment)

    async def run(self, feed: Feed) -> None:
        """Publish what the file wants now, after each change of it, and when `feed.reload` grows; until cancelled.

        A file that is refused or gone changes nothing: its problems go to `feed.reject`. One that still is what
        `feed.known` names is not parsed again.
        """
        asked = feed.reload.value
        known = await self._read(feed, feed.known)
        seen = known
        while True:
            with move_on_after(LOOK_SECONDS):
                await feed.reload.wait_until(partial(ne, asked))
            if feed.reload.value != asked:
                asked = feed.reload.value
                log.info("reading again as asked file=%s", self._path)
                seen = known = await self._read(feed)
                continue
            now = await to_thread.run_sync(look_at, self._path, abandon_on_cancel=True, limiter=self._limiter)
            if now == seen != known:
                known = await self._read(feed)
            seen = now

    async def _read(self, feed: Feed, known_digest: str = "") -> Identity | None:
        """Read and publish, or reject; return the identity of what was read, None if there was nothing to read."""
        identity: Identity | None = None

        def read() -> tuple[Desired, tuple[Problem, ...]] | None:
            nonlocal identity
            data, identity = read_file(self._path)
            if digest_of_text(data) == known_digest:
                return None
            return read_configuration(data, str(self._path), self._environment)

        try:
            found = await to_thread.run_sync(read, abandon_on_cancel=True, limiter=self._limiter)
        except ConfigError as error:
            feed.reject(error.problems)
            return identity
        if found is not None:
            desired, warnings = found
            for warning in warnings:
                log.warning("%s", warning)
            feed.publish(desired)
        return identity
