from __future__ import annotations

from pathlib import Path

import pytest

from kubevip.errors import NotPermittedError
from kubevip_announce_arp._capabilities import CAP_NET_ADMIN, CAP_NET_RAW, require


def status(folder: Path, *numbers: int) -> Path:
    path = folder / "status"
    path.write_text(f"Name:\tpython\nCapPrm:\t{1 << 40:016x}\nCapEff:\t{sum(1 << n for n in numbers):016x}\n")
    return path


@pytest.mark.parametrize(
    ("has", "missing"),
    [
        ((CAP_NET_ADMIN, CAP_NET_RAW), ""),
        ((CAP_NET_ADMIN,), "CAP_NET_RAW"),
        ((CAP_NET_RAW,), "CAP_NET_ADMIN"),
        ((), "CAP_NET_ADMIN and CAP_NET_RAW"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, has: tuple[int, ...], missing: str) -> None:
    told = ""
    try:
        require("address", CAP_NET_ADMIN, CAP_NET_RAW, status=status(tmp_path, *has))
    except NotPermittedError as error:
        told = str(error)
    assert told.partition(",")[0] == (f"announcer address needs {missing}" if missing else "")


def test_what_cannot_be_read_is_left_to_the_kernel(tmp_path: Path) -> None:
    require("arp", CAP_NET_RAW, status=tmp_path / "none")
    (tmp_path / "empty").write_text("")
    require("arp", CAP_NET_RAW, status=tmp_path / "empty")
