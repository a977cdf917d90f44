"""Why a server's certificate is not trusted, or there are no credentials; by whose word, and what would help."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from kubevip_k8s._access import Credentials

# X509_V_ERR_* of OpenSSL's x509_vfy.h; the module ssl has no names for them.
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64


def describe_distrust(error: ssl.SSLCertVerificationError, credentials: Credentials) -> str:
    """Return what is wrong with the certificate of the server that `credentials` are for, and what to do."""
    what = f"the certificate of {credentials.server} is not trusted: {error.verify_message.rstrip('.')}"
    match error.verify_code:
        case code if code in (_OTHER_HOST, _OTHER_ADDRESS):
            return f"{what}; name one that it bears with `tlsServerName`, or ask it elsewhere with `server`"
        case code if code in (_NOT_YET_VALID, _EXPIRED):
            return f"{what}; renew it, or set this machine's clock (CAs: {credentials.trust})"
        case _:
            return (
                f"{what} by the CAs of {credentials.trust}: put the cluster's own CA there (kubeadm has it in "
                "/etc/kubernetes/pki/ca.crt), or ask another server"
            )


def describe_no_pod(error: Exception, is_there: Callable[[str], bool]) -> str:
    """Return why there is no service account here, and what to do.

    :param is_there: tells whether a variable of the environment is set.
    """
    if not (is_there("KUBERNETES_SERVICE_HOST") and is_there("KUBERNETES_SERVICE_PORT")):
        what = "this is no Pod (KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set)"
        return f"{what}: name a file of kubectl's format with `kubeconfig`, or run it in a Pod"
    return f"{error} Does the Pod mount it (automountServiceAccountToken)? Else name a file with `kubeconfig`"
