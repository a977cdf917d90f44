"""The configuration source "file"."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from kubevip import Provider, hookimpl

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from kubevip import Host, SourceProvider
    from kubevip.abc import ConfigSource


@frozen(kw_only=True)
class FileConfig:
    """`--config PATH` stands for this section."""

    path: Path
    """The file, of the native or of kube-vip's own format. It is looked at once a second and read when it changed."""


@asynccontextmanager
async def open_file(config: FileConfig, host: Host) -> AsyncGenerator[ConfigSource]:
    """Open the file's source; nothing is read before it is asked to."""
    from kubevip_source_file._source import FileSource

    yield FileSource(config.path)


FILE = Provider(name="file", summary="Read the configuration from a file", config=FileConfig, open=open_file)


@hookimpl
def kubevip_config_sources() -> Iterable[SourceProvider]:
    """Yield the file source."""
    yield FILE
