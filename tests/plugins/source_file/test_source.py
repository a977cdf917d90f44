from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from anyio import create_task_group, fail_after

from kubevip import Desired, Feed, Latest, Problem, Snapshot
from kubevip.errors import ConfigError
from kubevip.testing import make_host
from kubevip_source_file import _source
from kubevip_source_file._reading import look_at, read_configuration
from kubevip_source_file._source import FileSource
from kubevip_source_file.plugin import FILE, FileConfig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio


def text_with(port: int) -> str:
    backends = "[{address: 10.0.0.5, port: 80}]"
    return f"loadBalancers: [{{name: a, type: tcp, port: {port}, backends: {backends}}}]\n"


class Told:
    """What a source told: the port of each snapshot, or the messages of each refusal."""

    def __init__(self, known: str = "") -> None:
        self.news: Latest[tuple[object, ...]] = Latest(())
        self.reload: Latest[int] = Latest(0)
        self.feed = Feed(
            publish=self.publish, reject=self.reject, status=Latest(Snapshot()), reload=self.reload, known=known
        )

    def publish(self, desired: Desired) -> None:
        self.news.set((*self.news.value, desired.load_balancers[0].port))

    def reject(self, problems: Sequence[Problem]) -> None:
        self.news.set((*self.news.value, [str(problem) for problem in problems]))

    async def until(self, *news: object) -> None:
        with fail_after(10):
            await self.news.wait_until(lambda now: len(now) >= len(news))
        assert self.news.value == news


@asynccontextmanager
async def running(path: Path, known: str = "") -> AsyncGenerator[Told]:
    told = Told(known)
    async with create_task_group() as tg:
        tg.start_soon(FileSource(path, {}).run, told.feed)
        yield told
        tg.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_source, "LOOK_SECONDS", 0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text_with(1))
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)


def replace(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


async def test_what_the_file_says_is_published_at_once(path: Path) -> None:
    async with running(path) as told:
        await told.until(1)


async def test_what_was_loaded_before_is_not_parsed_again_until_it_changes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded, _ = FileSource(path, {}).load()
    parsed: list[str] = []

    def parse(data: bytes, *args: object) -> object:
        parsed.append(data.decode())
        return read_configuration(data, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(_source, "read_configuration", parse)
    async with running(path, known=loaded.text_digest) as told:
        replace(path, text_with(2))
        await told.until(2)
    assert parsed == [text_with(2)]


async def test_what_changed_since_it_was_loaded_is_published_at_once(path: Path) -> None:
    loaded, _ = FileSource(path, {}).load()
    replace(path, text_with(2))
    async with running(path, known=loaded.text_digest) as told:
        await told.until(2)


async def test_a_file_that_is_replaced_by_renaming_is_read_again(path: Path) -> None:
    async with running(path) as told:
        await told.until(1)
        replace(path, text_with(2))
        await told.until(1, 2)
        replace(path, text_with(3))
        await told.until(1, 2, 3)


async def test_a_file_that_is_written_in_place_is_read_again(path: Path) -> None:
    async with running(path) as told:
        await told.until(1)
        write(path, text_with(22))
        await told.until(1, 22)


async def test_a_symbolic_link_that_is_swapped_is_followed(tmp_path: Path) -> None:
    """As the kubelet does: file -> ..data/file, ..data -> ..2026_1, and ..data is replaced by renaming."""
    for version in (1, 2):
        (tmp_path / f"..2026_{version}").mkdir()
        (tmp_path / f"..2026_{version}" / "config.yaml").write_text(text_with(version))
    data = tmp_path / "..data"
    data.symlink_to("..2026_1")
    path = tmp_path / "config.yaml"
    path.symlink_to("..data/config.yaml")
    async with running(path) as told:
        await told.until(1)
        (tmp_path / "..data_tmp").symlink_to("..2026_2")
        (tmp_path / "..data_tmp").rename(data)
        await told.until(1, 2)


async def test_a_bad_file_is_rejected_and_a_good_one_is_taken_again(path: Path) -> None:
    async with running(path) as told:
        await told.until(1)
        replace(path, text_with(70000))
        bad = [f"{path}:1: loadBalancers[0].port: expected an integer 1-65535, got 70000"]
        await told.until(1, bad)
        replace(path, text_with(3))
        await told.until(1, bad, 3)


async def test_a_file_that_is_truncated_for_good_is_rejected(path: Path) -> None:
    async with running(path) as told:
        await told.until(1)
        os.truncate(path, 0)
        await told.until(1, [f"{path}: is empty"])


async def test_a_file_that_is_missing_is_rejected_once_and_read_when_it_is_there(path: Path) -> None:
    os.unlink(path)
    async with running(path) as told:
        missing = [f"{path}: cannot be read: No such file or directory"]
        await told.until(missing)
        replace(path, text_with(2))
        await told.until(missing, 2)
        os.unlink(path)
        await told.until(missing, 2, missing)


async def test_a_reload_reads_again_although_nothing_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_source, "LOOK_SECONDS", 3600.0)
    async with running(path) as told:
        await told.until(1)
        told.reload.set(1)
        await told.until(1, 1)
        write(path, text_with(2))
        told.reload.set(2)
        await told.until(1, 1, 2)


async def test_a_change_is_read_when_it_was_seen_twice_the_same(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that is still writing shows another size at each look."""
    sizes: list[int] = []

    def look(path: Path) -> object:
        if len(sizes) < 5:  # the writer appends between looks
            with path.open("a") as file:
                file.write("# more\n")
            sizes.append(path.stat().st_size)
        return look_at(path)

    monkeypatch.setattr(_source, "look_at", look)
    async with running(path) as told:
        await told.until(1, 1)
    assert len(sizes) == 5


async def test_the_provider_opens_a_source_that_can_be_read_once(path: Path, tmp_path: Path) -> None:
    async with FILE.open(FileConfig(path=path), make_host(tmp_path)) as source:
        assert isinstance(source, FileSource)
        desired, warnings = source.load()
    assert ([it.port for it in desired.load_balancers], warnings) == ([1], ())


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path, message in (
        (tmp_path, "cannot be read: Is a directory"),
        (fifo, "is not a regular file"),
        (tmp_path / "none", "cannot be read: No such file or directory"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
    ):
        with pytest.raises(ConfigError) as caught:
            FileSource(path).load()
        assert str(caught.value) == f"{path}: {message}"


def test_a_file_that_never_ends_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "huge"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        FileSource(path).load()
