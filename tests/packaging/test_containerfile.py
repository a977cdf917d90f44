"""The image: its steps are carried out as they are written, in folders of the test's own and without a builder."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kubevip import __version__

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.packaging, pytest.mark.slow, pytest.mark.timeout(400)]


def steps() -> list[tuple[str, str]]:
    """Return each instruction and its arguments."""
    lines = [line for line in (ROOT / "Containerfile").read_text().splitlines() if line and not line.startswith("#")]
    assert not any(line.endswith("\\") for line in lines)
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for step in steps():
        if step[0] == "FROM":
            found.append([])
        if found:
            found[-1].append(step)
    return found


def test_what_is_shipped_was_built_elsewhere_and_nothing_is_run_in_it() -> None:
    build, final = stages()
    assert [word for word, _ in final] == ["FROM", "COPY", "ENV", "LABEL", "USER", "STOPSIGNAL", "ENTRYPOINT", "CMD"]
    told = dict(final)
    assert told["FROM"] == build[0][1].removesuffix(" AS build")
    assert told["COPY"] == "--from=build /opt/kubevip /opt/kubevip"
    assert json.loads(told["ENTRYPOINT"]) + json.loads(told["CMD"]) == ["kubevip", "run"]
    assert "/opt/kubevip/bin:" in told["ENV"]


def test_the_tag_that_the_file_tells_is_that_of_the_manifests() -> None:
    assert f"kubevip:{__version__} " in (ROOT / "Containerfile").read_text().splitlines()[0] + " "


def test_everything_that_is_copied_is_let_through() -> None:
    allowed = {line[1:] for line in (ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    copied = {name for word, rest in stages()[0] if word == "COPY" for name in rest.split()[:-1]}
    assert copied == allowed


def test_the_steps_make_what_runs(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    environment["PATH"] = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", "dist", ".venv")
    for word, rest in stages()[0]:
        if word == "COPY":
            *names, target = rest.split()
            for name in names:
                if (ROOT / name).is_dir():
                    shutil.copytree(ROOT / name, source / target, ignore=ignored)
                else:
                    shutil.copy(ROOT / name, source / name)
        elif word == "RUN":
            command = re.sub(r"(?<= )/(?=opt/|wheels\b)|^/(?=opt/)", f"{shlex.quote(str(tmp_path))}/", rest)
            made = subprocess.run(
                ["/bin/sh", "-ec", command],
                cwd=source,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert made.returncode == 0, f"{command}\n{made.stdout}\n{made.stderr}"
    shutil.rmtree(source)  # nothing of it may be needed
    tool = tmp_path / "opt" / "kubevip" / "bin" / "kubevip"
    assert not list((tmp_path / "opt").glob("**/site-packages/pip"))
    assert not list((tmp_path / "wheels").glob("*.tar.gz"))
    for arguments in (["version"], ["plugins", "--check"], ["manifest", "pod"]):
        ran = subprocess.run(
            [tool, *arguments],
            cwd=tmp_path,
            env={"PATH": f"{tool.parent}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
    assert f"image: kubevip:{__version__}\n" in ran.stdout
