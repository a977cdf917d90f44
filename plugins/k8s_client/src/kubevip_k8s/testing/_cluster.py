"""A Kubernetes API in memory, without sockets and clock: requests in, answers out, and the faults of a bad day.

What it does not do: admission, controllers, garbage collection, field managers, quotas; it keeps unknown fields.
`tests/plugins/k8s_client/test_api_server.py` holds it to the real server.
"""

from __future__ import annotations

import copy
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from kubevip_k8s._resources import NAMESPACES
from kubevip_k8s.testing._discovery import discovered
from kubevip_k8s.testing._document import Document, at, mapping
from kubevip_k8s.testing._faults import Fault, Rule
from kubevip_k8s.testing._memory import MemoryApi
from kubevip_k8s.testing._objects import Objects
from kubevip_k8s.testing._rbac import ADMIN, ANONYMOUS, Deed, User, forbidden, is_permitted, service_account
from kubevip_k8s.testing._requests import Answer, Request, Target, target_of
from kubevip_k8s.testing._selectors import Selection
from kubevip_k8s.testing._status import Refusal, bad_request, expired
from kubevip_k8s.testing._store import Key, Store
from kubevip_k8s.testing._watch import Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubevip_k8s._resources import Resource
    from kubevip_k8s.testing._store import Change

#: How long the server lets a watch live that does not say: between 30 and 60 minutes; the shortest of it.
_WATCH_SECONDS = 1800.0
_LAST_REQUESTS = 100_000


def _any(request: Request) -> bool:
    del request
    return True


class FakeCluster:
    """The state of a cluster and its API machinery. Tests set the scene with its methods, clients ask `answer`.

    :param now: tells the wall-clock time for creationTimestamp and the like; nothing is decided by it.
    """

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.store = Store()
        self.objects = Objects(self.store, now)
        #: What was asked, oldest first, refused or not.
        self.requests: deque[Request] = deque(maxlen=_LAST_REQUESTS)
        #: How long a watch without other events waits for a bookmark, if it wants them.
        self.bookmark_seconds = 60.0
        #: Whether a watch from a compacted version is refused with HTTP 410 instead of an ERROR event.
        self.refuses_expired_watches = False
        #: Nothing is answered while it is set; `freeze` and `thaw` change it.
        self.is_frozen = False
        self._rules: list[Rule] = []
        self._watches: list[Watch] = []
        self._users: dict[str, User] = {}
        self._listeners: list[Callable[[], None]] = []
        self.objects.on_change = self._tell
        self.admin_token = self.add_token(ADMIN)
        for name in ("default", "kube-node-lease", "kube-public", "kube-system"):
            self.put(NAMESPACES, {"metadata": {"name": name}})

    # -- the scene

    def put(self, resource: Resource, document: Mapping[str, object]) -> Document:
        """Create or replace an object as it is, status included, whatever its version; return what is stored."""
        return copy.deepcopy(self.objects.put(resource, copy.deepcopy(dict(document))))

    def get(self, resource: Resource, namespace: str, name: str) -> Document | None:
        """Return a copy of an object, None if there is none."""
        return copy.deepcopy(self.store.get(Key(resource=resource, namespace=namespace, name=name)))

    def list(self, resource: Resource, namespace: str = "") -> tuple[Document, ...]:
        """Return copies of all objects of a namespace, or of all of them."""
        return copy.deepcopy(self.store.page(Selection(resource=resource, namespace=namespace)).items)

    def delete(self, resource: Resource, namespace: str, name: str) -> None:
        """Delete an object, finalizers or not; nothing happens if there is none."""
        key = Key(resource=resource, namespace=namespace, name=name)
        if self.store.get(key) is not None:
            self.objects.write(key, None)

    def compact(self) -> None:
        """Forget the past: whoever lists or watches from an earlier version is told 410."""
        self.store.compact()

    def add_token(self, user: User) -> str:
        """Return a new token that shows its bearer to be `user`."""
        token = f"token-{len(self._users)}-{user.name}"
        self._users[token] = user
        return token

    def service_account_token(self, namespace: str, name: str) -> str:
        """Return a new token of a service account."""
        return self.add_token(service_account(namespace, name))

    def revoke(self, token: str) -> None:
        """Let a token be good no more: 401. Open watches live on, as they do."""
        del self._users[token]

    def api(self, token: str | None = None) -> MemoryApi:
        """Return an Api of it, in memory; without a token it may do everything."""
        return MemoryApi(self, token or self.admin_token)

    # -- faults

    def fail(self, fault: Fault, *, when: Callable[[Request], bool] = _any, times: int | None = None) -> Rule:
        """Let a fault strike the requests that `when` is true of; the first rule that strikes decides."""
        self._rules.append(rule := Rule(fault=fault, when=when, times=times))
        return rule

    def heal(self) -> None:
        """Take all faults back. What stalls goes on stalling."""
        self._rules.clear()

    def freeze(self) -> None:
        """Answer nothing and send no events until `thaw`."""
        self.is_frozen = True

    def thaw(self) -> None:
        """Answer what came meanwhile, too."""
        self.is_frozen = False
        self._wake()

    def drop_watches(self) -> None:
        """Break the connection of every open watch."""
        for watch in self._watches:
            watch.is_over = watch.is_cut = True
        self._watches.clear()
        self._wake()

    # -- the driver's side

    def on_wake(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever a watch may have something to tell; what is returned ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def fault_of(self, request: Request) -> Fault | None:
        """Note a request; return the fault that strikes it."""
        self.requests.append(request)
        return next((rule.fault for rule in self._rules if rule.strikes(request)), None)

    def answer(self, request: Request) -> Answer:
        """Carry a request out and return its answer; refusals are answers, too."""
        try:
            return self._answer(request)
        except Refusal as refusal:
            return Answer(status=refusal.status, body=refusal.document)

    def open_watch(self, request: Request) -> Watch:
        """Open a watch; whoever serves it ends it with `close_watch`.

        :raises Refusal: as any other request is refused.
        """
        target, user = target_of(request.path), self._user(request)
        self._authorize(user, self._deed(request, target))
        query = request.query
        selection = Selection.of(target.kind.resource, target.namespace, _with_name(query, target.name))
        watch = Watch(
            selection=selection,
            version=self.store.version,
            wants_bookmarks=request.has("allowWatchBookmarks"),
            timeout_seconds=float(query.get("timeoutSeconds") or _WATCH_SECONDS),
            user=user.name,
        )
        try:
            if version := _version(query.get("resourceVersion", "")):
                for change in self.store.since(version):
                    watch.follow(change)
                watch.version = max(version, self.store.version)
            else:
                watch.start_with(self.store.page(selection).items)
        except Refusal as refusal:
            if refusal.reason != expired("").reason or self.refuses_expired_watches:
                raise
            watch.refuse(refusal)
        if not watch.is_over:
            self._watches.append(watch)
        return watch

    def close_watch(self, watch: Watch) -> None:
        """Forget a watch."""
        if watch in self._watches:
            self._watches.remove(watch)

    @property
    def watches(self) -> tuple[Watch, ...]:
        """The watches that are open."""
        return tuple(self._watches)

    # -- within

    def _tell(self, change: Change) -> None:
        for watch in self._watches:
            watch.follow(change)
        self._wake()

    def _wake(self) -> None:
        for listener in tuple(self._listeners):
            listener()

    def _user(self, request: Request) -> User:
        if request.token is None:
            return ANONYMOUS
        if (user := self._users.get(request.token)) is None:
            raise Refusal(401, "Unauthorized", "Unauthorized")
        return user

    def _authorize(self, user: User, deed: Deed) -> None:
        if not is_permitted(self.store, user, deed):
            raise forbidden(user, deed)

    @staticmethod
    def _deed(request: Request, target: Target) -> Deed:
        match request.method, bool(target.name):
            case "GET", _ if request.is_watch:
                verb = "watch"
            case "GET", named:
                verb = "get" if named else "list"
            case "DELETE", named:
                verb = "delete" if named else "deletecollection"
            case method, _:
                verb = {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(method, method.lower())
        resource = target.kind.resource
        plural = f"{resource.plural}/{target.part}" if target.part else resource.plural
        name = target.name
        if not name and request.method == "GET":  # apiserver/pkg/endpoints/request: a list of one is of that name
            wanted = [term.partition("=") for term in request.query.get("fieldSelector", "").split(",")]
            name = next((value.lstrip("=") for field, _, value in wanted if field == "metadata.name"), "")
        return Deed(verb=verb, group=resource.group, resource=plural, namespace=target.namespace, name=name)

    def _answer(self, request: Request) -> Answer:
        user = self._user(request)
        if (answer := discovered(request)) is not None:
            self._authorize(user, Deed(verb=request.method.lower(), path=request.path))
            return answer
        if request.path == _ACCESS_REVIEWS and request.method == "POST":
            return Answer(status=201, body=self._reviewed(user, mapping(request.body)))
        try:
            target = target_of(request.path)
        except Refusal:
            self._authorize(user, Deed(verb=request.method.lower(), path=request.path))
            raise
        self._authorize(user, self._deed(request, target))
        if target.part == "token" and target.kind.resource.plural == "serviceaccounts":
            return self._token(target)
        if target.part and not (target.part == "status" and target.kind.has_status):
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        match request.method, bool(target.name):
            case "GET", True:
                return Answer(body=self.objects.read(target))
            case "GET", False:
                return Answer(body=self._listed(request, target))
            case "POST", False:
                return Answer(status=201, body=self.objects.create(target, request))
            case "PUT", True:
                document, is_new = self.objects.replace(target, request)
                return Answer(status=201 if is_new else 200, body=document)
            case "PATCH", True:
                document, is_new = self.objects.patch(target, request)
                return Answer(status=201 if is_new else 200, body=document)
            case "DELETE", True:
                return Answer(body=self.objects.remove(target, request))
            case _:
                raise Refusal(
                    405, "MethodNotAllowed", "the server does not allow this method on the requested resource"
                )

    def _listed(self, request: Request, target: Target) -> Document:
        resource, query = target.kind.resource, request.query
        is_exact = query.get("resourceVersionMatch") == "Exact"
        page = self.store.page(
            Selection.of(resource, target.namespace, query),
            limit=int(query.get("limit") or 0),
            token=query.get("continue", ""),
            version=_version(query.get("resourceVersion", "")) if is_exact else None,
        )
        metadata: Document = {"resourceVersion": str(page.version)}
        if page.token:
            metadata["continue"] = page.token
        if page.remaining:
            metadata["remainingItemCount"] = page.remaining
        items = [
            {name: value for name, value in copy.deepcopy(item).items() if name not in ("kind", "apiVersion")}
            for item in page.items
        ]
        return {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": items,
        }

    def _token(self, target: Target) -> Answer:
        self.objects.read(target)
        token = self.service_account_token(target.namespace, target.name)
        status = {"token": token, "expirationTimestamp": "2100-01-01T00:00:00Z"}
        return Answer(
            status=201, body={"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "status": status}
        )

    def _reviewed(self, user: User, review: Document) -> Document:
        asked = mapping(at(review, "spec", "resourceAttributes"))
        other = mapping(at(review, "spec", "nonResourceAttributes"))
        part = f"/{asked['subresource']}" if asked.get("subresource") else ""
        deed = Deed(
            verb=asked.get("verb") or other.get("verb", ""),
            group=asked.get("group", ""),
            resource=asked.get("resource", "") + part,
            namespace=asked.get("namespace", ""),
            name=asked.get("name", ""),
            path=other.get("path", ""),
        )
        return review | {"status": {"allowed": is_permitted(self.store, user, deed)}}


_ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


def _version(text: str) -> int:
    if not text.isdigit() and text:
        raise bad_request(f'invalid resource version "{text}"')
    return int(text or 0)


def _with_name(query: Mapping[str, str], name: str) -> Mapping[str, str]:
    """A watch of a single object's path is one with a field selector."""
    return {**query, "fieldSelector": f"metadata.name={name}"} if name else query
