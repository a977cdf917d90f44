"""What users set of the check "apiserver"."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from attrs import field, frozen

from kubevip import IPAddress, Port


@frozen(kw_only=True)
class ApiServerConfig:
    """The check "apiserver": whether the API server of this very node is ready."""

    address: IPAddress = field(factory=lambda: ip_address("127.0.0.1"))
    """Where it listens. Never the virtual IP: that would ask whoever holds it."""
    port: Port = field(default=Port(6443))
    """Its port: `--secure-port`."""
    path: str = "/readyz"
    """What is asked for. `/readyz` fails while etcd does not answer and from the moment of a graceful stop on."""
    server_name: str = "kubernetes"
    """The name that its certificate has to bear; every installer's does bear this one."""
    ca_file: Path | None = None
    """Who signed its certificate. Default: the first there is of kubeadm's, k3s' and rke2's. A file that is not there
    yet is awaited, one that was renewed is read again; the node is unfit meanwhile."""
    cert_file: Path | None = None
    """A client certificate, where anonymous requests are refused. Default: none for kubeadm, that of the
    administrator for k3s and rke2."""
    key_file: Path | None = None
    """Its key; both or none."""

    def __attrs_post_init__(self) -> None:
        """Check how the settings relate.

        :raises ValueError: naming the field.
        """
        if not self.path.startswith("/") or not self.path.isascii() or not self.path.isprintable() or " " in self.path:
            raise ValueError(f"path: expected an absolute path such as /readyz, got {self.path!r}")
        if not self.server_name.isascii() or not self.server_name.replace("-", "").replace(".", "").isalnum():
            raise ValueError(f"serverName: expected a host name, got {self.server_name!r}")
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("certFile and keyFile belong together: give both or none")
        if self.cert_file is not None and self.ca_file is None:
            raise ValueError("caFile: is needed beside certFile")
