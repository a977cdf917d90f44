"""`python -m kubevip_k8s.testing`: a fake cluster as a process. It prints where it is, and ends at SIGTERM."""

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


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m kubevip_k8s.testing", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="ADDRESS:PORT", help="port 0: a free one")
    parser.add_argument("--directory", type=Path, help="for kubeconfig and certificates; a temporary one if left out")
    parser.add_argument("--name", action="append", default=[], help="one more name or address in the certificate")
    parser.add_argument("--plain", action="store_true", help="without TLS")
    parser.add_argument("--bookmark-seconds", type=float, default=60.0, help="bookmarks in quiet watches")
    return parser.parse_args()


async def _main(arguments: argparse.Namespace, directory: Path) -> None:
    host, _, port = arguments.listen.rpartition(":")
    host = host.strip("[]")
    cluster, authority = FakeCluster(), Authority()
    cluster.bookmark_seconds = arguments.bookmark_seconds
    tls = None if arguments.plain else authority.server_context(directory, [host, *arguments.name])
    trusted = None if arguments.plain else authority.certificate
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with served(cluster, host=host, port=int(port), tls=tls) as place:
            file = directory / "kubeconfig"
            write_kubeconfig(file, place.url, cluster.admin_token, authority=trusted)
            sys.stdout.write(json.dumps({"server": place.url, "kubeconfig": str(file)}) + "\n")
            sys.stdout.flush()
            async for _ in signals:
                return


def main() -> None:
    """Run it."""
    arguments = _arguments()
    if arguments.directory is not None:
        arguments.directory.mkdir(parents=True, exist_ok=True)
        anyio.run(_main, arguments, arguments.directory)
    else:
        with tempfile.TemporaryDirectory(prefix="kubevip-k8s-") as directory:
            anyio.run(_main, arguments, Path(directory))


if __name__ == "__main__":
    main()
