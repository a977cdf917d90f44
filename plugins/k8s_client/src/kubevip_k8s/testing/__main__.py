"""`python -m kubevip_k8s.testing`: an API server for tests as a process. It prints where it is, and ends at SIGTERM."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path

import anyio

from kubevip_k8s.testing._certificates import Authority
from kubevip_k8s.testing._cluster import FakeCluster
from kubevip_k8s.testing._kubeconfig import write_kubeconfig
from kubevip_k8s.testing._server import served
from kubevip_k8s.testing.real import missing_programs, run_real_server


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kubevip_k8s.testing", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="ADDRESS:PORT", help="port 0: a free one")
    parser.add_argument("--directory", type=Path, help="for kubeconfig and certificates; a temporary one if left out")
    parser.add_argument("--name", action="append", default=[], help="one more name or address in the certificate")
    parser.add_argument(
        "--server",
        choices=("fake", "real", "auto"),
        default="fake",
        help="real: kube-apiserver and etcd; auto: real where their programs are found; default: fake",
    )
    parser.add_argument("--plain", action="store_true", help="without TLS")
    parser.add_argument("--bookmark-seconds", type=float, default=60.0, help="bookmarks in quiet watches")
    return parser.parse_args()


async def _run_fake(arguments: argparse.Namespace, directory: Path, host: str, port: int) -> None:
    cluster, authority = FakeCluster(), Authority()
    cluster.bookmark_seconds = arguments.bookmark_seconds
    tls = None if arguments.plain else authority.server_context(directory, [host, *arguments.name])
    trusted = None if arguments.plain else authority.certificate
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with served(cluster, host=host, port=port, tls=tls) as place:
            file = directory / "kubeconfig"
            write_kubeconfig(file, place.url, cluster.admin_token, authority=trusted)
            _tell(place.url, file, "fake")
            async for _ in signals:
                return


def _run_real(arguments: argparse.Namespace, directory: Path, host: str, port: int) -> None:
    def stop(*_: object) -> None:
        sys.exit(0)  # through the blocks that end what was started, at whatever moment

    signal.signal(signal.SIGTERM, stop)
    with run_real_server(directory, address=host, port=port, names=arguments.name) as server:
        _tell(server.url, server.kubeconfig, server.version)
        signal.pause()


def _tell(url: str, kubeconfig: Path, version: str) -> None:
    sys.stdout.write(json.dumps({"server": url, "kubeconfig": str(kubeconfig), "version": version}) + "\n")
    sys.stdout.flush()


def _run(arguments: argparse.Namespace, directory: Path) -> None:
    host, _, port = arguments.listen.rpartition(":")
    host = host.strip("[]")
    if arguments.server == "real" or (arguments.server == "auto" and not missing_programs()):
        _run_real(arguments, directory, host, int(port))
    else:
        anyio.run(_run_fake, arguments, directory, host, int(port))


def main() -> None:
    """Run it."""
    arguments = _arguments()
    if arguments.directory is not None:
        arguments.directory.mkdir(parents=True, exist_ok=True)
        _run(arguments, arguments.directory)
    else:
        with tempfile.TemporaryDirectory(prefix="kubevip-k8s-") as directory:
            _run(arguments, Path(directory))


if __name__ == "__main__":
    main()
