"""Every election of the repository keeps the duties of `kubevip.abc.Election`, on both event loops."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from kubevip._builtin.plugin import SINGLE, SingleConfig
from kubevip.abc import Election
from kubevip.testing import check_election, make_host

pytestmark = pytest.mark.anyio


@frozen(kw_only=True)
class Rig:
    """An election that wins: `open` opens it in a state directory; it may run in virtual time where it has no I/O."""

    name: str
    open: Callable[[Path], AbstractAsyncContextManager[Election]]
    is_virtual: bool = False


RIGS = [
    Rig(name="single", open=lambda state_dir: SINGLE.open(SingleConfig(), make_host(state_dir)), is_virtual=True),
]


@pytest.fixture(params=RIGS, ids=lambda rig: rig.name)
def rig(request: pytest.FixtureRequest) -> Rig:
    found: Rig = request.param
    return found


@pytest.fixture
def anyio_backend(rig: Rig, virtual_time: tuple[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    return virtual_time if rig.is_virtual else (virtual_time[0], {})


async def test_an_election_that_wins_keeps_its_duties(rig: Rig, tmp_path: Path) -> None:
    await check_election(lambda: rig.open(tmp_path))
