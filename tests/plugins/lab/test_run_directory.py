from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kubevip_lab._run_directory import KEEP, run_directory


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_it_is_private_and_goes_when_left(temporary: Path) -> None:
    with run_directory() as path:
        assert path.parent == temporary
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "n1").mkdir()
        (path / "n1" / "file").touch()

    assert list(temporary.iterdir()) == []


def test_it_goes_when_left_by_an_error(temporary: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_directory():
        raise ZeroDivisionError

    assert list(temporary.iterdir()) == []


def test_one_that_is_kept_stays_until_the_next_run() -> None:
    with run_directory() as first:
        (first / KEEP).touch()
    assert first.exists()

    with run_directory() as second:
        assert not first.exists()
        assert second.exists()


def test_one_of_a_crashed_run_is_removed_by_the_next() -> None:
    script = (
        "import os; from kubevip_lab._run_directory import run_directory as d\n"
        "with d() as path: print(path, flush=True); os._exit(1)"
    )
    environment = {**os.environ, "TMPDIR": tempfile.gettempdir()}
    crashed = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False, env=environment
    )
    left = Path(crashed.stdout.strip())
    assert left.exists()

    with run_directory():
        assert not left.exists()


def test_one_in_use_is_left_alone() -> None:
    with run_directory() as first, run_directory() as second:
        assert first.exists()
        assert second.exists()


def test_what_others_called_so_is_not_followed(temporary: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    target = tmp_path_factory.mktemp("elsewhere")
    (target / "precious").touch()
    (temporary / "kubevip-lab-link").symlink_to(target)

    with run_directory():
        pass

    assert (target / "precious").exists()
