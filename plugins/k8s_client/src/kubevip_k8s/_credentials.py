"""Reads an `Access` by means of the library `kubernetes`: kubeconfig, service account, commands that give tokens."""

from __future__ import annotations

import os
import ssl
from importlib import import_module
from pathlib import Path
from tempfile import gettempdir
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter, Lock, fail_after, to_thread

from kubevip_k8s._access import Access, Credentials
from kubevip_k8s._errors import NoAccess
from kubevip_k8s._proxy import proxy_for
from kubevip_k8s._trust import describe_no_pod

if TYPE_CHECKING:
    from collections.abc import Iterable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
#: A command that gives tokens may ask a cloud for them.
COMMAND_SECONDS = 30.0
_MEMORY = Path("/dev/shm")


async def read_credentials(access: Access) -> tuple[Credentials, ssl.SSLContext]:
    """Return the credentials of `access` as they are now, and the TLS context that goes with them.

    :raises NoAccess: a file is missing or broken, or the command that gives a token failed; says which.
    """
    # Some 700 modules: in a thread, so that renewals on the loop go on.
    await to_thread.run_sync(import_module, "kubernetes.aio.config", limiter=_importing)
    from kubernetes.aio.config import kube_config

    library: Any = kube_config  # it is not annotated
    settings: Any = library.Configuration()
    async with _loading:
        try:
            with fail_after(COMMAND_SECONDS):
                await _load(library, access, settings)
            authorization = await settings.get_api_key_with_prefix("BearerToken")
            return _credentials(access, settings, authorization), _tls_context(settings)
        except Exception as error:  # the library raises whatever its parsers or the file system do
            raise NoAccess(f"{access}: {_describe(error, access)}") from error
        finally:
            # Certificates in the kubeconfig itself were written to files for `ssl`, and are in its context now.
            library._cleanup_temp_files()


_importing = CapacityLimiter(1)
_loading = Lock()  # the library keeps those files in one place for all


async def _load(library: Any, access: Access, settings: Any) -> None:
    if access.kubeconfig is None:
        import_module("kubernetes.aio.config").load_incluster_config(client_configuration=settings)
        return
    if not access.kubeconfig.stat().st_size:  # the library would say that it has no contexts
        raise ValueError("the file is empty")
    await library.load_kube_config(
        config_file=str(access.kubeconfig),
        context=access.context,
        client_configuration=settings,
        persist_config=False,
        # keys do not reach a disk, and the root file system may be read-only
        temp_file_path=str(_MEMORY) if os.access(_MEMORY, os.W_OK) else None,
    )


def _credentials(access: Access, settings: Any, authorization: str | None) -> Credentials:
    server = (access.server or str(settings.host)).rstrip("/")
    if server.startswith("https:") and not authorization and not settings.cert_file:
        # the library only logs it when a command that gives credentials fails
        raise ValueError("it gives neither a token nor a client certificate")
    return Credentials(
        server=server,
        authorization=authorization.strip() if authorization else None,
        token_file=SERVICE_ACCOUNT / "token" if access.kubeconfig is None else None,
        tls_server_name=access.tls_server_name or settings.tls_server_name,
        authority=_text(settings.ssl_ca_cert),
        trust=_trust(access, settings),
        certificate=_text(settings.cert_file),
        key=_text(settings.key_file),
        is_verified=bool(settings.verify_ssl),
        proxy=settings.proxy or proxy_for(server, os.environ),
        files=tuple(_files(access, settings)),
    )


def _tls_context(settings: Any) -> ssl.SSLContext:
    """Return a context that trusts the CA of `settings` alone and shows the client's certificate, if there is one."""
    context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
    # Python 3.13 asks for key identifiers that the CAs of many clusters lack; Go's clients do not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file, password="")  # "": never ask a terminal
    if not settings.verify_ssl:  # the user's own word, in the kubeconfig
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _tls_files(settings: Any) -> list[Path]:
    return [Path(name) for name in (settings.ssl_ca_cert, settings.cert_file, settings.key_file) if name]


def _text(file: str | None) -> str:
    return Path(file).read_text(encoding="ascii", errors="replace") if file else ""


def _trust(access: Access, settings: Any) -> str:
    """Say where the CA is from that a server's certificate has to be signed by."""
    if access.kubeconfig is None:
        return str(settings.ssl_ca_cert)
    if not settings.ssl_ca_cert:
        return f"this system, as {access.kubeconfig} names none (certificate-authority)"
    if _is_temporary(Path(settings.ssl_ca_cert)):
        return f"{access.kubeconfig} (certificate-authority-data)"
    return f"{settings.ssl_ca_cert}, which {access.kubeconfig} names (certificate-authority)"


def _is_temporary(file: Path) -> bool:
    """Say whether the library wrote it, for `ssl`, of what was in the kubeconfig itself."""
    return file.parent in (_MEMORY, Path(gettempdir()))


def _files(access: Access, settings: Any) -> Iterable[Path]:
    if access.kubeconfig is None:
        yield SERVICE_ACCOUNT / "token"
    else:
        yield access.kubeconfig
    yield from (file for file in _tls_files(settings) if not _is_temporary(file))


def _describe(error: Exception, access: Access) -> str:
    if access.kubeconfig is None and not isinstance(error, ValueError | TimeoutError):
        described = describe_no_pod(error, lambda name: bool(os.environ.get(name)))
        return described.partition(": ")[0] if access.is_optional else described  # the others say what would help
    if isinstance(error, FileNotFoundError) and error.filename == str(access.kubeconfig):
        described = "there is no such file"
        remedy = "it is waited for. Write it, or name another with `kubeconfig`"
        return described if access.is_optional else f"{described}; {remedy}"
    if isinstance(error, TimeoutError):
        return f"the command that gives credentials took longer than {COMMAND_SECONDS:g} s"
    if isinstance(error, OSError) and error.strerror:
        is_other = error.filename and error.filename != str(access.kubeconfig)  # which the message names already
        return f"{error.filename}: {error.strerror}" if is_other else error.strerror
    if isinstance(error, TypeError | KeyError | AttributeError | IndexError):  # the library trusts what it reads
        return "it has not the form of a kubeconfig; `kubectl config view --kubeconfig FILE` shows what is missing"
    return " ".join(str(error).split()) or type(error).__name__  # a parser's words are several lines
