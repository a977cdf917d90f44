"""API servers as processes on loopback: the real one, with its etcd, and the fake one. Both are used alike."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kubevip_k8s import Access
from kubevip_k8s.testing.http import write_kubeconfig
from kubevip_k8s.testing.real import START_SECONDS, STOP_SECONDS, missing_programs, run_real_server

if TYPE_CHECKING:
    from collections.abc import Generator

HOW = "`make apiserver` builds it, or KUBEBUILDER_ASSETS names a directory with kube-apiserver and etcd"


@frozen(kw_only=True)
class ApiServer:
    """A server that is ready: `kubeconfig` is an administrator's. `version` is the real one's, "fake" otherwise."""

    url: str
    kubeconfig: Path
    authority: bytes
    admin_token: str
    version: str

    @property
    def access(self) -> Access:
        return Access(kubeconfig=self.kubeconfig)

    @property
    def is_real(self) -> bool:
        return self.version != "fake"

    def ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Ask as the administrator, without any client of ours."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.admin_token}", "Content-Type": "application/json"},
        )
        context = ssl.create_default_context(cadata=self.authority.decode())
        with urllib.request.urlopen(request, timeout=10, context=context) as answer:
            document: dict[str, Any] = json.load(answer)
        return document

    def token(self, namespace: str, account: str) -> str:
        """Return a token of a service account that is there."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        review = {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": {}}
        return str(self.ask("POST", path, review)["status"]["token"])

    def access_of(self, token: str, directory: Path) -> Access:
        """Return the access of a token; its kubeconfig is made in `directory`."""
        file = directory / f"kubeconfig-{abs(hash(token))}"
        write_kubeconfig(file, self.url, token, authority=self.authority)
        return Access(kubeconfig=file)


def missing() -> str:
    """Return why there is no real API server, "" if there is one."""
    names = missing_programs()
    return f"no {' and no '.join(names)}: {HOW}" if names else ""


@contextmanager
def real_server(directory: Path) -> Generator[ApiServer]:
    """Start etcd and kube-apiserver on loopback, RBAC on; their files are in `directory`."""
    with run_real_server(directory) as server:
        yield ApiServer(
            url=server.url,
            kubeconfig=server.kubeconfig,
            authority=server.authority,
            admin_token=server.admin_token,
            version=server.version,
        )


@contextmanager
def fake_server(directory: Path) -> Generator[ApiServer]:
    """Start the fake one, as `python -m kubevip_k8s.testing`."""
    log = directory / "log"
    arguments = [sys.executable, "-m", "kubevip_k8s.testing", f"--directory={directory}"]
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not (text := log.read_text()).endswith("\n"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the fake server did not start: {text}")
            time.sleep(0.05)  # noqa: TID251 -- as above
        file = Path(json.loads(text)["kubeconfig"])
        user = json.loads(file.read_text())["users"][0]["user"]
        yield ApiServer(
            url=json.loads(text)["server"],
            kubeconfig=file,
            authority=(directory / "ca.crt").read_bytes(),
            admin_token=user["token"],
            version="fake",
        )
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
