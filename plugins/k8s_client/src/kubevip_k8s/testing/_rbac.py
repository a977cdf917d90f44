"""Who may do what: roles and bindings evaluated as the server's RBAC authorizer does. Aggregation is not modelled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

from kubevip_k8s.testing._document import Document
from kubevip_k8s.testing._kinds import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, ROLE_BINDINGS, ROLES
from kubevip_k8s.testing._status import Refusal
from kubevip_k8s.testing._store import Key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubevip_k8s.testing._store import Store

#: A member of it is asked nothing.
MASTERS = "system:masters"
#: What anybody may read.
PUBLIC_PATHS = ("/healthz", "/livez", "/readyz", "/version")
_DISCOVERY_PATHS = ("/api", "/apis", "/openapi")


@frozen(kw_only=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()


ADMIN = User(name="kubernetes-admin", groups=(MASTERS, "system:authenticated"))
ANONYMOUS = User(name="system:anonymous", groups=("system:unauthenticated",))


def service_account(namespace: str, name: str) -> User:
    """Return the user that a service account is."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return User(name=f"system:serviceaccount:{namespace}:{name}", groups=groups)


@frozen(kw_only=True)
class Deed:
    """What is asked: a verb on a resource, or on a path that is none ("/metrics")."""

    verb: str
    group: str = ""
    resource: str = ""  # "services", "services/status"
    namespace: str = ""
    name: str = ""
    path: str = ""


def _applies(subject: Document, user: User, namespace: str) -> bool:
    match subject.get("kind"):
        case "User":
            return subject.get("name") == user.name
        case "Group":
            return subject.get("name") in user.groups
        case "ServiceAccount":
            owner = subject.get("namespace") or namespace
            return service_account(owner, str(subject.get("name"))).name == user.name
        case _:
            return False


def _rules(store: Store, user: User, namespace: str) -> Iterator[Document]:
    for key in store.all_keys():
        if key.resource == CLUSTER_ROLE_BINDINGS or (
            key.resource == ROLE_BINDINGS and namespace == key.namespace != ""
        ):
            binding = store.get(key) or {}
            if any(_applies(subject, user, key.namespace) for subject in binding.get("subjects") or ()):
                reference = binding["roleRef"]
                if reference.get("kind") == "ClusterRole":
                    role = store.get(Key(resource=CLUSTER_ROLES, name=reference["name"]))
                else:
                    role = store.get(Key(resource=ROLES, namespace=key.namespace, name=reference["name"]))
                yield from (role or {}).get("rules") or ()


def _permits(rule: Document, deed: Deed) -> bool:
    if not {"*", deed.verb} & set(rule.get("verbs") or ()):
        return False
    if deed.path:
        urls: list[str] = rule.get("nonResourceURLs") or []
        return any(url in ("*", deed.path) or (url[-1:] == "*" and deed.path.startswith(url[:-1])) for url in urls)
    names = rule.get("resourceNames") or ()
    return (
        bool({"*", deed.group} & set(rule.get("apiGroups") or ()))
        and bool({"*", deed.resource, f"*/{deed.resource.partition('/')[2]}"} & set(rule.get("resources") or ()))
        and (not names or deed.name in names)
    )


def is_permitted(store: Store, user: User, deed: Deed) -> bool:
    """Return whether a user may do it."""
    if MASTERS in user.groups:
        return True
    if deed.path:
        if deed.path.startswith(PUBLIC_PATHS):
            return True
        if deed.path.startswith(_DISCOVERY_PATHS) and "system:authenticated" in user.groups:
            return True
    if deed.group == "authorization.k8s.io" and "system:authenticated" in user.groups:
        return True
    return any(_permits(rule, deed) for rule in _rules(store, user, deed.namespace))


def forbidden(user: User, deed: Deed) -> Refusal:
    """Return the refusal: it names the user, the verb and the object, and not the right that would have sufficed."""
    if deed.path:
        return Refusal(403, "Forbidden", f'forbidden: User "{user.name}" cannot {deed.verb} path "{deed.path}"')
    plural = deed.resource.partition("/")[0]
    full = f"{plural}.{deed.group}" if deed.group else plural
    subject = f'{full} "{deed.name}"' if deed.name else full
    place = f'in the namespace "{deed.namespace}"' if deed.namespace else "at the cluster scope"
    return Refusal(
        403,
        "Forbidden",
        f'{subject} is forbidden: User "{user.name}" cannot {deed.verb} resource "{deed.resource}" '
        f'in API group "{deed.group}" {place}',
        details={"name": deed.name, "group": deed.group, "kind": plural},
    )
