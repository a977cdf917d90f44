"""Kubernetes for kubevip's plugins: access to the API and copies of its objects, in raw JSON."""

from kubevip_k8s._access import Access
from kubevip_k8s._api import JSON, JSON_PATCH, MERGE_PATCH, Api, JsonObject
from kubevip_k8s._control_plane import open_control_plane_api, ways
from kubevip_k8s._errors import (
    AlreadyExists,
    ApiError,
    BadAnswer,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NoAccess,
    NotFound,
    Refused,
    ServerError,
    TimedOut,
    TooManyRequests,
    Unauthorized,
    Unreachable,
    error_of_status,
)
from kubevip_k8s._http import open_api
from kubevip_k8s._json import as_mapping, as_sequence, as_text
from kubevip_k8s._reflection import Change, ChangeKind, Key
from kubevip_k8s._reflector import Reflector
from kubevip_k8s._resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    ENDPOINTS,
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PODS,
    SERVICES,
    Resource,
)

__all__ = [
    "CONFIG_MAPS",
    "ENDPOINTS",
    "ENDPOINT_SLICES",
    "EVENTS",
    "JSON",
    "JSON_PATCH",
    "LEASES",
    "MERGE_PATCH",
    "NAMESPACES",
    "NODES",
    "PODS",
    "SERVICES",
    "Access",
    "AlreadyExists",
    "Api",
    "ApiError",
    "BadAnswer",
    "Change",
    "ChangeKind",
    "Conflict",
    "Forbidden",
    "Gone",
    "Invalid",
    "JsonObject",
    "Key",
    "NoAccess",
    "NotFound",
    "Reflector",
    "Refused",
    "Resource",
    "ServerError",
    "TimedOut",
    "TooManyRequests",
    "Unauthorized",
    "Unreachable",
    "as_mapping",
    "as_sequence",
    "as_text",
    "error_of_status",
    "open_api",
    "open_control_plane_api",
    "ways",
]
