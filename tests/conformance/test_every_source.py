"""Every source of the repository keeps the duties of `kubevip.abc.ConfigSource`, on both event loops."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from attrs import frozen

from kubevip import Desired, Group, VirtualIP
from kubevip._builtin._static import StaticConfig
from kubevip._builtin.plugin import STATIC
from kubevip.abc import ConfigSource
from kubevip.testing import Edits, check_source, make_host
from kubevip_source_file import _source
from kubevip_source_file.plugin import FILE, FileConfig

pytestmark = pytest.mark.anyio

NATIVE = """\
apiVersion: kubevip/v1
virtualIPs:
- {{name: api, address: 192.0.2.{last}, interface: eth0}}
"""

ORIGINAL = """\
vip: 192.0.2.{last}
interface: eth0
gratuitousARP: true
singleNode: true
startAsLeader: true
localPeer: {{id: n1, address: 127.0.0.1, port: 10000}}
"""


@frozen(kw_only=True)
class Rig:
    """A source on a folder of its own; `prepare` writes what it reads and returns how to edit that."""

    name: str
    open: Callable[[Path], AbstractAsyncContextManager[ConfigSource]]
    prepare: Callable[[Path], Edits] = lambda folder: Edits()


def files_of(text: str) -> Callable[[Path], Edits]:
    def prepare(folder: Path) -> Edits:
        path, last = folder / "config.yaml", 1

        def write() -> None:
            fresh = path.with_suffix(".new")  # replaced by a rename, as editors and ConfigMap mounts do
            fresh.write_text(text.format(last=last))
            fresh.replace(path)

        def change() -> None:
            nonlocal last
            last += 1
            write()

        def spoil() -> None:
            path.write_text("virtualIPs: [\n")

        write()
        return Edits(change=change, touch=write, spoil=spoil, mend=write)

    return prepare


WANTED = Desired(
    groups=(Group(name="api", election="single"),),
    vips=(VirtualIP(name="api", address=IPv4Address("192.0.2.1"), group="api"),),
)

RIGS = [
    Rig(name="static", open=lambda folder: STATIC.open(StaticConfig(desired=WANTED), make_host(folder))),
    *(
        Rig(
            name=f"file-{name}",
            open=lambda folder: FILE.open(FileConfig(path=folder / "config.yaml"), make_host(folder)),
            prepare=files_of(text),
        )
        for name, text in (("native", NATIVE), ("original", ORIGINAL))
    ),
]


@pytest.fixture(params=RIGS, ids=lambda rig: rig.name)
def rig(request: pytest.FixtureRequest) -> Rig:
    found: Rig = request.param
    return found


async def test_a_source_keeps_its_duties(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_source, "LOOK_SECONDS", 0.1)  # files are watched in real time, of which this needs less
    edits = rig.prepare(tmp_path)
    await check_source(lambda: rig.open(tmp_path), edits, notice_within_seconds=1.5)
