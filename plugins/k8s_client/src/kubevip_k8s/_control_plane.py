"""The API as a node of the control plane reaches it: its own API server, as whoever it may be there by now.

Never the address in a kubeconfig, which is the virtual IP that this node may have yet to bring up, and never the
cluster IP: kube-proxy brings it up, and waits for the virtual IP.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from anyio import current_time, sleep_forever

from kubevip_k8s._access import Access, Credentials, SupportsCredentials
from kubevip_k8s._api import JSON, NO_QUERY, Api, JsonObject
from kubevip_k8s._errors import ApiError, Forbidden, NoAccess
from kubevip_k8s._http import open_api
from kubevip_k8s._reachability import SupportsRecovery

SERVER, SERVER_NAME = "https://127.0.0.1:6443", "kubernetes"

#: kubeadm's, then k3s' and rke2's; before all of them comes the service account of a Pod.
KUBECONFIGS = (
    Path("/etc/kubernetes/admin.conf"),
    Path("/etc/kubernetes/super-admin.conf"),
    Path("/etc/rancher/k3s/k3s.yaml"),
    Path("/etc/rancher/rke2/rke2.yaml"),
)

#: For so long whoever was refused is not tried again, while there is somebody else to be.
REFUSED_SECONDS = 10.0

OpenApi = Callable[[Access], AbstractAsyncContextManager[Api]]


def own_server(
    kubeconfig: Path | None = None,
    *,
    context: str | None = None,
    server: str | None = None,
    tls_server_name: str | None = None,
) -> tuple[Access, ...]:
    """Return whom this node may be at its own API server, best first. A kubeconfig that is configured is the only one.

    kubeadm from 1.29 on gives `admin.conf` its rights at the end of its first run only, and `super-admin.conf` to the
    first node to have some until then. `server` and `tls_server_name`: where it is not `SERVER`, or not so called.
    """
    files = (kubeconfig,) if kubeconfig is not None else (None, *KUBECONFIGS)
    return tuple(
        Access(
            kubeconfig=file,
            context=context,
            server=server or SERVER,
            tls_server_name=tls_server_name or SERVER_NAME,
            is_optional=len(files) > 1,
        )
        for file in files
    )


@asynccontextmanager
async def open_control_plane_api(candidates: Sequence[Access], open_one: OpenApi = open_api) -> AsyncGenerator[Api]:
    """Open the API as the first of `candidates` that can be and is not refused, looked for anew with each request.

    A kubeconfig that is not there yet is awaited: until one is, requests fail with `NoAccess`. Whoever is refused (403)
    is passed over for 10 s while there is somebody else to be. Nothing is asked by opening. Needs what `open_one` does.
    """
    async with AsyncExitStack() as stack:  # filled here and emptied here, in order
        apis = [await stack.enter_async_context(open_one(access)) for access in candidates]
        yield _ControlPlaneApi(apis)


class _ControlPlaneApi:
    """Asks as one after the other. What is answered with 403 was not carried out, so it may be asked again."""

    def __init__(self, apis: Sequence[Api]) -> None:
        self._apis = tuple(apis)
        self._refused_at: dict[int, float] = {}  # by position

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] = NO_QUERY,
        body: object = None,
        content_type: str = JSON,
        timeout_seconds: float,
        each: Callable[[object], None] | None = None,
    ) -> JsonObject:
        """Send one request; see `Api`."""
        end = current_time() + timeout_seconds
        failures: list[ApiError] = []
        for position in self._order():
            try:
                answer = await self._apis[position].request(
                    method,
                    path,
                    query=query,
                    body=body,
                    content_type=content_type,
                    timeout_seconds=max(0.0, end - current_time()),
                    each=each,
                )
            except (Forbidden, NoAccess) as error:
                self._note(position, error)
                failures.append(error)
            else:
                self._refused_at.pop(position, None)
                return answer
        raise _told(failures)

    @asynccontextmanager
    async def watch(
        self, path: str, *, query: Mapping[str, str], idle_seconds: float
    ) -> AsyncGenerator[AsyncIterator[JsonObject]]:
        """Open a watch; see `Api`."""
        failures: list[ApiError] = []
        for position in self._order():
            async with AsyncExitStack() as stack:
                try:
                    opening = self._apis[position].watch(path, query=query, idle_seconds=idle_seconds)
                    events = await stack.enter_async_context(opening)
                except (Forbidden, NoAccess) as error:
                    self._note(position, error)
                    failures.append(error)
                    continue
                yield events
                return
        raise _told(failures)

    async def recovered(self) -> None:
        """Return when the server answers again; see `SupportsRecovery`. It is one, whoever this node is there."""
        for api in self._apis:
            if isinstance(api, SupportsCredentials) and isinstance(api, SupportsRecovery) and api.credentials:
                await api.recovered()
                return
        await sleep_forever()

    @property
    def credentials(self) -> Credentials | None:
        """Return those of the best that has some."""
        known = (self._apis[position] for position in self._order())
        found = (api.credentials for api in known if isinstance(api, SupportsCredentials))
        return next((credentials for credentials in found if credentials is not None), None)

    def _order(self) -> list[int]:
        """Return the positions, best first; those that were refused lately come last."""
        now = current_time()
        lately = {at for at, when in self._refused_at.items() if now - when < REFUSED_SECONDS}
        return sorted(range(len(self._apis)), key=lambda position: position in lately)

    def _note(self, position: int, error: ApiError) -> None:
        if isinstance(error, Forbidden):
            self._refused_at[position] = current_time()


def _told(failures: Sequence[ApiError]) -> ApiError:
    """Return what to raise: a refusal says more than that there is no file."""
    refusal = next((error for error in failures if isinstance(error, Forbidden)), None)
    if refusal is not None:
        return refusal
    remedy = "; one of them is waited for, or name another with `kubeconfig`" if len(failures) > 1 else ""
    return NoAccess("; ".join(map(str, failures)) + remedy)
