"""For the tests of plugins: hosts, fakes that record what they are told, virtual time, and conformance checks.

Nothing here needs pytest. The `check_...` functions raise AssertionError with the numbered duty of `kubevip.abc`
that is broken.
"""

from kubevip.testing._clock import VirtualTimeLoop
from kubevip.testing._fakes import (
    FakeAnnouncer,
    FakeProxy,
    ManualElection,
    Recorder,
    make_host,
)

__all__ = [
    "FakeAnnouncer",
    "FakeProxy",
    "ManualElection",
    "Recorder",
    "VirtualTimeLoop",
    "make_host",
]
