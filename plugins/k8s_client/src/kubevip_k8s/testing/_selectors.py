"""Label and field selectors, as queries spell them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import field, frozen

from kubevip_k8s.testing._document import Document, at, mapping
from kubevip_k8s.testing._kinds import full_name
from kubevip_k8s.testing._status import bad_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kubevip_k8s._resources import Resource

_COMMA = re.compile(r",(?![^()]*\))")  # not those within "in (a, b)"
_NAME = r"[A-Za-z0-9][A-Za-z0-9._/-]*"
_SET = re.compile(rf"({_NAME})\s+(in|notin)\s*\(([^()]*)\)")
_EQUAL = re.compile(rf"({_NAME})\s*(==|=|!=)\s*([A-Za-z0-9._/-]*)")
_THERE = re.compile(rf"(!?)\s*({_NAME})")

#: Beside metadata.name and metadata.namespace.
_FIELDS = {
    "pods": ("spec.nodeName", "spec.serviceAccountName", "status.phase", "status.podIP"),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "services": ("spec.clusterIP", "spec.type"),
    "secrets": ("type",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "reason",
        "type",
        "regarding.kind",
        "regarding.namespace",
        "regarding.name",
        "regarding.uid",
    ),
}

_Test = tuple[str, "Callable[[str | None], bool]"]


def _label_test(text: str) -> _Test:
    if found := _SET.fullmatch(text):
        values = {value.strip() for value in found[3].split(",")}
        return found[1], (values.__contains__ if found[2] == "in" else lambda label: label not in values)
    if found := _EQUAL.fullmatch(text):
        wanted = found[3]
        return found[1], ((lambda label: label != wanted) if found[2] == "!=" else lambda value: value == wanted)
    if found := _THERE.fullmatch(text):
        return found[2], ((lambda label: label is None) if found[1] else (lambda label: label is not None))
    raise bad_request(f'unable to parse requirement: found "{text}"')


def _field_test(text: str, resource: Resource) -> _Test:
    if not (found := _EQUAL.fullmatch(text)):
        raise bad_request(f'invalid selector: "{text}"; can\'t understand it')
    if found[1] not in ("metadata.name", "metadata.namespace", *_FIELDS.get(resource.plural, ())):
        raise bad_request(
            f'Unable to find "{resource.group}/{resource.version}, Resource={resource.plural}" that match '
            f'field selector "{text}": field label not supported: {found[1]} ({full_name(resource)})'
        )
    wanted = found[3]
    return found[1], ((lambda value: value != wanted) if found[2] == "!=" else lambda value: value == wanted)


def _field(document: Document, path: str) -> str:
    value = at(document, *path.split("."))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


@frozen(kw_only=True)
class Selection:
    """Which objects a list or a watch is about."""

    resource: Resource
    namespace: str = ""
    labels: tuple[_Test, ...] = field(default=(), repr=False)
    fields: tuple[_Test, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, resource: Resource, namespace: str, query: Mapping[str, str]) -> Selection:
        """Return the selection of a request.

        :raises Refusal: 400: a selector cannot be parsed or its field is not one to select by.
        """
        labels = filter(None, (text.strip() for text in _COMMA.split(query.get("labelSelector", ""))))
        fields = filter(None, (text.strip() for text in query.get("fieldSelector", "").split(",")))
        return cls(
            resource=resource,
            namespace=namespace,
            labels=tuple(map(_label_test, labels)),
            fields=tuple(_field_test(text, resource) for text in fields),
        )

    @property
    def is_narrow(self) -> bool:
        """Whether anything but the namespace is selected by."""
        return bool(self.labels or self.fields)

    def selects(self, resource: Resource, document: Document | None) -> bool:
        """Return whether an object is one of them; None, an object that is not there, never is."""
        if document is None or resource != self.resource:
            return False
        metadata = document["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        labels = mapping(metadata.get("labels"))
        return all(test(labels.get(name)) for name, test in self.labels) and all(
            test(_field(document, path)) for path, test in self.fields
        )
