"""Which HTTP proxy leads to a server, as the environment says. Pure."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping


def proxy_for(server: str, environment: Mapping[str, str]) -> str | None:
    """Return the proxy's URL that HTTPS_PROXY or HTTP_PROXY name for `server`, unless NO_PROXY excepts it.

    Read as Go's programs read it (golang.org/x/net/http/httpproxy): this machine is never reached by a proxy, NO_PROXY
    may name networks, and a name in it stands for its subdomains, too.
    """
    address = urlsplit(server)
    host = (address.hostname or "").rstrip(".")
    proxy = _variable(environment, f"{address.scheme}_proxy")
    if not proxy or host == "localhost" or host.endswith(".localhost"):
        return None
    excepted = [word.strip().lower() for word in _variable(environment, "no_proxy").split(",") if word.strip()]
    if any(_stands_for(word, host, address.port) for word in excepted) or _is_loopback(host):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _variable(environment: Mapping[str, str], name: str) -> str:
    return environment.get(name) or environment.get(name.upper()) or ""


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _stands_for(word: str, host: str, port: int | None) -> bool:
    """Say whether a word of NO_PROXY means `host`."""
    if word == "*":
        return True
    try:
        return ip_address(host) in ip_network(word, strict=False)
    except ValueError:
        pass
    name, _, wanted_port = word.rpartition(":") if word.count(":") == 1 else (word, "", "")
    if wanted_port and wanted_port != str(port):
        return False
    name = name.removeprefix("*")
    return host.endswith(name) if name.startswith(".") else host == name or host.endswith("." + name)
