"""A kubeconfig for a test server. It is written as JSON, which is YAML."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def kubeconfig(url: str, token: str, *, authority: bytes | None = None) -> str:
    """Return the text of one: the server at `url`, trusted if `authority` (PEM) signed it, asked with `token`."""
    cluster = {"server": url}
    if authority is not None:
        cluster["certificate-authority-data"] = base64.b64encode(authority).decode()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
            "current-context": "test",
        },
        indent=2,
    )


def write_kubeconfig(path: Path, url: str, token: str, *, authority: bytes | None = None) -> None:
    """Write one that only its owner can read."""
    path.touch(mode=0o600)
    path.write_text(kubeconfig(url, token, authority=authority))
