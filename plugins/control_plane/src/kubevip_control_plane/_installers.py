"""Where kubeadm, k3s and rke2 put what a node of their control plane needs to know its own API server."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen


@frozen(kw_only=True)
class Installer:
    """One way to set up a control plane.

    `check_files` are mounted one by one: the folder they are in holds the keys of the whole cluster.
    """

    static_pods: str
    """The folder whose Pods the kubelet runs without being told by any API."""
    check_files: tuple[str, ...]
    """What the check of the API server reads."""
    kubeconfigs: str
    """The folder of the administrator's, which are replaced there, and one of which only the first node has."""


INSTALLERS: Mapping[str, Installer] = {
    "kubeadm": Installer(
        static_pods="/etc/kubernetes/manifests",
        check_files=("/etc/kubernetes/pki/ca.crt",),
        kubeconfigs="/etc/kubernetes",
    ),
    **{
        name: Installer(
            static_pods=f"/var/lib/rancher/{name}/agent/pod-manifests",
            check_files=tuple(
                f"/var/lib/rancher/{name}/server/tls/{file}"
                for file in ("server-ca.crt", "client-admin.crt", "client-admin.key")
            ),
            kubeconfigs=f"/etc/rancher/{name}",
        )
        for name in ("k3s", "rke2")
    },
}
