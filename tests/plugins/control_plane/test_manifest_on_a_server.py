"""What `kubevip manifest` prints is what a real API server takes, asked as a user asks: with kubectl."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest
from tests.plugins.control_plane.test_manifest import EVERY, words

from kubevip._cli import main

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apiserver.servers import ApiServer

pytestmark = [
    pytest.mark.apiserver,
    pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl on PATH"),
]


def prepare(server: ApiServer, namespace: str) -> None:
    """Make what a cluster's controllers make of themselves: a namespace, and the account of Pods that name none."""
    for path, body in (
        ("/api/v1/namespaces", {"metadata": {"name": namespace}}),
        (f"/api/v1/namespaces/{namespace}/serviceaccounts", {"metadata": {"name": "default"}}),
    ):
        with suppress(HTTPError):  # it is there
            server.ask("POST", path, body)


@pytest.mark.parametrize("arguments", EVERY, ids=words)
def test_a_server_takes_what_is_printed(
    arguments: tuple[str, ...], api_server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(api_server, "shop")
    prepare(api_server, "kube-system")
    assert main(["manifest", *arguments]) == 0
    printed = capsys.readouterr().out

    options = ["--kubeconfig", str(api_server.kubeconfig), "--cache-dir", str(tmp_path)]
    applied = subprocess.run(
        ["kubectl", *options, "apply", "--dry-run=server", "--validate=strict", "-f", "-"],
        input=printed,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.count("(server dry run)") == printed.count("\nkind: ") + printed.startswith("kind: ")
    assert "unknown field" not in applied.stderr
