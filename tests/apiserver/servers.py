"""API servers as processes on loopback: the real one, with its etcd, and the fake one. Both are used alike."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kubevip_k8s import Access
from kubevip_k8s.testing.http import Authority, write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Generator

HERE = Path(__file__).parent
HOW = "`make apiserver` builds it, or KUBEBUILDER_ASSETS names a directory with kube-apiserver and etcd"
START_SECONDS = 60.0
_STOP_SECONDS = 10.0
_ADMIN_TOKEN = "admin-of-a-test"


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


def version() -> str:
    """Return the version that is pinned, "v1.34.4"."""
    found = re.search(r"^\s*k8s\.io/kubernetes (v\S+)$", (HERE / "go.mod").read_text(), re.MULTILINE)
    assert found
    return found[1]


def _built() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "kubevip" / "apiserver" / version()


def binary(name: str) -> Path | None:
    """Return where kube-apiserver or etcd is, None if nowhere."""
    directories = [os.environ.get("KUBEBUILDER_ASSETS", ""), str(_built())]
    if name == "etcd":
        directories.append(os.environ.get("PATH", ""))
    found = shutil.which(name, path=os.pathsep.join(filter(None, directories)))
    return Path(found) if found else None


def missing() -> str:
    """Return why there is no real API server, "" if there is one."""
    names = [name for name in ("kube-apiserver", "etcd") if binary(name) is None]
    return f"no {' and no '.join(names)}: {HOW}" if names else ""


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket.socket())) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def _process(arguments: list[str], log: Path) -> Generator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(arguments, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _is_ready(url: str, context: ssl.SSLContext | None) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path, context: ssl.SSLContext | None = None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_ready(url, context):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{url} was not ready within {START_SECONDS:g} s: {tail}")
        time.sleep(0.1)  # noqa: TID251 -- a process outside says nothing when it is ready


@contextmanager
def real_server(directory: Path) -> Generator[ApiServer]:
    """Start etcd and kube-apiserver on loopback, RBAC on; their files are in `directory`.

    :raises RuntimeError: one of them did not start; its last words are in the message.
    """
    etcd, apiserver = binary("etcd"), binary("kube-apiserver")
    assert etcd, missing()
    assert apiserver, missing()
    client, peer, port = _free_ports(3)
    authority = Authority()
    authority.server_context(directory)
    public, private = authority.server()
    (directory / "accounts.crt").write_bytes(public)
    (directory / "accounts.key").write_bytes(private)
    (directory / "tokens.csv").write_text(f'{_ADMIN_TOKEN},admin,admin,"system:masters"\n')
    url, store = f"https://127.0.0.1:{port}", f"http://127.0.0.1:{client}"
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    etcd_log, api_log = directory / "etcd.log", directory / "kube-apiserver.log"
    etcd_arguments = [
        *(str(etcd), f"--data-dir={directory / 'etcd'}", "--log-level=warn"),
        *(f"--listen-client-urls={store}", f"--advertise-client-urls={store}"),
        *(f"--listen-peer-urls=http://127.0.0.1:{peer}", f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]
    api_arguments = [
        *(str(apiserver), "--bind-address=127.0.0.1", f"--secure-port={port}", f"--etcd-servers={store}"),
        *(f"--tls-cert-file={directory / 'server.crt'}", f"--tls-private-key-file={directory / 'server.key'}"),
        *(f"--token-auth-file={directory / 'tokens.csv'}", "--authorization-mode=RBAC"),
        f"--service-account-issuer={url}",
        f"--service-account-key-file={directory / 'accounts.crt'}",
        f"--service-account-signing-key-file={directory / 'accounts.key'}",
        *("--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none", "--profiling=false"),
    ]
    with _process(etcd_arguments, etcd_log) as process:
        _await_ready(f"{store}/health", process, etcd_log)
        with _process(api_arguments, api_log) as process:
            _await_ready(f"{url}/readyz", process, api_log, context)
            kubeconfig = directory / "kubeconfig"
            write_kubeconfig(kubeconfig, url, _ADMIN_TOKEN, authority=authority.certificate)
            server = ApiServer(
                url=url,
                kubeconfig=kubeconfig,
                authority=authority.certificate,
                admin_token=_ADMIN_TOKEN,
                version=version(),
            )
            yield server


@contextmanager
def fake_server(directory: Path) -> Generator[ApiServer]:
    """Start the fake one, as `python -m kubevip_k8s.testing`."""
    log = directory / "log"
    with _process([sys.executable, "-m", "kubevip_k8s.testing", f"--directory={directory}"], log) as process:
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
