from __future__ import annotations

import pytest
from tests.plugins.election_k8s.leases import Leases


@pytest.fixture
def server() -> Leases:
    return Leases()
