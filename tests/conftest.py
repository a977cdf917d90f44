"""What all tests share: both event loops, in real and in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
import trio.testing  # noqa: TID251 -- its clock is what virtual time on trio is made of

from kubevip.testing import VirtualTimeLoop


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["asyncio", "trio"])
def virtual_time(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """A backend whose clock jumps; a module uses it by `anyio_backend = virtual_time`, see tests/core."""
    if request.param == "asyncio":
        return "asyncio", {"loop_factory": VirtualTimeLoop}
    return "trio", {"clock": trio.testing.MockClock(autojump_threshold=0)}
