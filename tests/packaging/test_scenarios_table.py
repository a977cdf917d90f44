"""The table of scenarios names tests that exist, and every test that says it is about a scenario."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_table_and_the_tests_agree() -> None:
    result = subprocess.run(
        [sys.executable, ROOT / "tools" / "scenarios"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
