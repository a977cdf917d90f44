"""The trivial subject, for tests that need something to run on the nodes."""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from kubevip_lab._lab import Plan
    from kubevip_lab._network import Network
    from kubevip_lab._subject import Subject


@pytest.fixture
def prepare_lock_subject() -> Callable[[Network, Plan, Path], Subject]:
    spec = spec_from_file_location("lock_subject", Path(__file__).with_name("_lock_subject.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    prepare: Callable[[Network, Plan, Path], Subject] = module.prepare
    return prepare
