"""A real API server with its etcd, as processes, where their programs are found. Needs the extra `testing`.

Looked for in the directory KUBEBUILDER_ASSETS (as envtest of controller-runtime has it), then where `make apiserver`
leaves them; etcd on PATH, too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING, Any

from attrs import frozen

from kubevip_k8s.testing._certificates import Authority
from kubevip_k8s.testing._kubeconfig import write_kubeconfig

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

START_SECONDS, STOP_SECONDS = 60.0, 10.0
_LOOK_SECONDS = 0.1
_ANY, _LOOPBACK = "0.0.0.0", "127.0.0.1"
_ADMIN_TOKEN = "admin-of-a-test"
_LAST_WORDS = 2000


@frozen(kw_only=True)
class RealServer:
    """A server that is ready: `kubeconfig` is an administrator's, `version` is as it says itself ("v1.34.4").

    `store` is the URL of its etcd, on loopback.
    """

    url: str
    kubeconfig: Path
    authority: bytes
    admin_token: str
    version: str
    store: str

    def compact(self) -> None:
        """Have etcd forget the past: versions before now are gone. What the server's watch cache has, it has."""
        now = _ask_etcd(f"{self.store}/v3/kv/range", {"key": "AA=="})["header"]["revision"]
        _ask_etcd(f"{self.store}/v3/kv/compaction", {"revision": now, "physical": True})


def find_program(name: str) -> Path | None:
    """Return where "kube-apiserver" or "etcd" is, None if nowhere."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kubevip" / "apiserver"
    built = sorted(cache.glob("v*"), key=lambda place: [int(part) for part in re.findall(r"\d+", place.name)])
    directories = [os.environ.get("KUBEBUILDER_ASSETS", ""), *(str(place) for place in reversed(built))]
    if name == "etcd":
        directories.append(os.environ.get("PATH", ""))
    found = shutil.which(name, path=os.pathsep.join(filter(None, directories)))
    return Path(found) if found else None


def missing_programs() -> tuple[str, ...]:
    """Return which of the two programs are nowhere."""
    return tuple(name for name in ("kube-apiserver", "etcd") if find_program(name) is None)


@contextmanager
def run_real_server(
    directory: Path,
    *,
    address: str = "127.0.0.1",
    port: int = 0,
    names: Sequence[str] = (),
    has_watch_cache: bool = True,
) -> Generator[RealServer]:
    """Run both until left, RBAC on; etcd on loopback. Files and logs are in `directory`, which exists.

    :param port: 0: a free one.
    :param names: more names or addresses for the certificate.
    :param has_watch_cache: whether watches are served from the server's memory, which knows more than a compacted etcd.
    :raises FileNotFoundError: a program is nowhere.
    :raises RuntimeError: one did not start; its last words are in the message.
    """
    etcd, server = find_program("etcd"), find_program("kube-apiserver")
    if etcd is None or server is None:
        raise FileNotFoundError(f"no {' and no '.join(missing_programs())}")
    client_port, peer_port, free_port = _free_ports(3)
    url = f"https://{address}:{port or free_port}"
    store, peer = f"http://127.0.0.1:{client_port}", f"http://127.0.0.1:{peer_port}"
    authority = Authority()
    authority.server_context(directory, [address, *names])
    public, private = authority.server()
    (directory / "accounts.crt").write_bytes(public)
    (directory / "accounts.key").write_bytes(private)
    (directory / "tokens.csv").write_text(f'{_ADMIN_TOKEN},admin,admin,"system:masters"\n')
    context = ssl.create_default_context(cadata=authority.certificate.decode())
    etcd_log, server_log = directory / "etcd.log", directory / "kube-apiserver.log"
    etcd_arguments = [
        *(str(etcd), f"--data-dir={directory / 'etcd'}", "--log-level=warn"),
        *(f"--listen-client-urls={store}", f"--advertise-client-urls={store}"),
        *(f"--listen-peer-urls={peer}", f"--initial-advertise-peer-urls={peer}", f"--initial-cluster=default={peer}"),
    ]
    server_arguments = [
        *(str(server), f"--bind-address={address}", f"--secure-port={port or free_port}", f"--etcd-servers={store}"),
        *(f"--tls-cert-file={directory / 'server.crt'}", f"--tls-private-key-file={directory / 'server.key'}"),
        *(f"--token-auth-file={directory / 'tokens.csv'}", "--authorization-mode=RBAC"),
        *(f"--advertise-address={_LOOPBACK if address == _ANY else address}", f"--service-account-issuer={url}"),
        f"--service-account-key-file={directory / 'accounts.crt'}",
        f"--service-account-signing-key-file={directory / 'accounts.key'}",
        *("--service-cluster-ip-range=10.96.0.0/16", "--endpoint-reconciler-type=none", "--profiling=false"),
        f"--watch-cache={str(has_watch_cache).lower()}",
    ]
    with _process(etcd_arguments, etcd_log) as process:
        _await_ready(f"{store}/health", process, etcd_log)
        with _process(server_arguments, server_log) as process:
            _await_ready(f"{url}/readyz", process, server_log, context)
            kubeconfig = directory / "kubeconfig"
            write_kubeconfig(kubeconfig, url, _ADMIN_TOKEN, authority=authority.certificate)
            yield RealServer(
                url=url,
                kubeconfig=kubeconfig,
                authority=authority.certificate,
                admin_token=_ADMIN_TOKEN,
                version=_version(server),
                store=store,
            )


def _ask_etcd(url: str, body: object) -> Any:
    """Ask etcd's JSON gateway."""
    request = urllib.request.Request(url, data=json.dumps(body).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
        return json.load(answer)


def _version(server: Path) -> str:
    said = subprocess.run([str(server), "--version"], capture_output=True, text=True, check=True, timeout=START_SECONDS)
    return said.stdout.split()[-1]


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(closing(socket())) for _ in range(count)]
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
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path, context: ssl.SSLContext | None = None) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not _is_ready(url, context):
        if process.poll() is not None or time.monotonic() > deadline:
            words = log.read_text(errors="replace")[-_LAST_WORDS:]
            raise RuntimeError(f"{url} was not ready within {START_SECONDS:g} s: {words}")
        time.sleep(_LOOK_SECONDS)  # noqa: TID251 -- a process outside says nothing when it is ready


def _is_ready(url: str, context: ssl.SSLContext | None) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
