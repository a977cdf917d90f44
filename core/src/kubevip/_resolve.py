"""Turns the snapshots of all sources into one value in which every name is looked up and every section structured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kubevip._resolved import Resolved, ResolvedInstance

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kubevip._model import Desired
    from kubevip._plugins import PluginRegistry

__all__ = ["Resolved", "ResolvedInstance", "resolve"]


def resolve(snapshots: Sequence[Desired], registry: PluginRegistry) -> Resolved:
    """Merge `snapshots` (the first wins on equal names), look up every reference and structure every section.

    A problem of one item leaves out that item and what depends on it, and is listed; everything else stands. Pure.
    """
    raise NotImplementedError
