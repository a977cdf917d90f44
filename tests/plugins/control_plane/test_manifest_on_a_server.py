"""What `kubevip manifest` prints is what a real API server takes, asked as a user asks: with kubectl."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.error import HTTPError

import pytest
import yaml
from tests.plugins.control_plane.test_manifest import EVERY, K8S, SERVICES, words

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


def kubectl(server: ApiServer, cache: Path, text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ["--kubeconfig", str(server.kubeconfig), "--cache-dir", str(cache)]
    done = subprocess.run(
        ["kubectl", *options, *arguments], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.parametrize("arguments", EVERY, ids=words)
def test_a_server_takes_what_is_printed(
    arguments: tuple[str, ...], api_server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(api_server, "shop")
    prepare(api_server, "kube-system")
    assert main(["manifest", *arguments]) == 0
    printed = capsys.readouterr().out

    applied = kubectl(api_server, tmp_path, printed, "apply", "--dry-run=server", "--validate=strict", "-f", "-")

    assert applied.stdout.count("(server dry run)") == printed.count("\nkind: ") + printed.startswith("kind: ")
    assert "unknown field" not in applied.stderr


def test_whatever_is_applied_in_whatever_order_leaves_everything_else_as_it_was(
    api_server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All of it forwards and backwards: each manifest comes once before and once after every other."""
    printed: list[str] = []
    for arguments in (K8S, ("daemonset", *SERVICES), ("rbac",), ("deployment",)):
        for namespace in ("kube-system", "shop"):
            prepare(api_server, namespace)
            assert main(["manifest", *arguments, "--namespace", namespace]) == 0
            printed.append(capsys.readouterr().out)
    everything = "---\n".join(printed)
    try:
        for text in (everything, "---\n".join(reversed(printed))):
            kubectl(api_server, tmp_path, text, "apply", "-f", "-")
        answer = kubectl(api_server, tmp_path, everything, "get", "-o", "json", "-f", "-").stdout
        found = {
            (it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]): it
            for it in json.loads(answer)["items"]
        }
        wanted = list(yaml.safe_load_all(everything))
        assert len(found) == len(wanted)
        for it in wanted:
            now = found[it["kind"], it["metadata"].get("namespace"), it["metadata"]["name"]]
            for part in ("rules", "roleRef", "data"):
                assert now.get(part) == it.get(part)
            told = [(each["kind"], each["namespace"], each["name"]) for each in now.get("subjects", ())]
            assert told == [(each["kind"], each["namespace"], each["name"]) for each in it.get("subjects", ())]
    finally:
        kubectl(api_server, tmp_path, everything, "delete", "--wait=false", "--ignore-not-found", "-f", "-")
