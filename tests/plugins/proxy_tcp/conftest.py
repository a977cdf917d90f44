from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from .bench import Bench, Server


@pytest.fixture
def make_bench() -> Iterator[Callable[..., Bench]]:
    """Makes benches that are cleared, with all connections, at the end; `servers` is a number or servers."""
    made: list[Bench] = []

    def make(servers: int | list[Server] = 1, **options: Any) -> Bench:
        given = [Server() for _ in range(servers)] if isinstance(servers, int) else servers
        bench = Bench(given, **options)
        made.append(bench)
        return bench

    yield make
    for bench in made:
        bench.close()
