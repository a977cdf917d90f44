"""For the tests of plugins: hosts, fakes that record what they are told, virtual time, and conformance checks.

Nothing here needs pytest. The `check_...` functions raise AssertionError with the numbered duty of `kubevip.abc`
that is broken.
"""

from kubevip.testing._announcers import Wire, check_announcer
from kubevip.testing._clock import VirtualTimeLoop
from kubevip.testing._config_sources import Edits, check_source
from kubevip.testing._elections import check_election, check_handover
from kubevip.testing._fakes import (
    FakeAnnouncer,
    FakeProxy,
    FakeStandbyProxy,
    ManualElection,
    Recorder,
    make_host,
)
from kubevip.testing._health_checks import check_health_check
from kubevip.testing._plugins import check_plugin, check_provider, undocumented_fields
from kubevip.testing._proxies import check_proxy
from kubevip.testing._running import RunningApp, running_app
from kubevip.testing._tenures import ManualTenure, make_tenure

__all__ = [
    "Edits",
    "FakeAnnouncer",
    "FakeProxy",
    "FakeStandbyProxy",
    "ManualElection",
    "ManualTenure",
    "Recorder",
    "RunningApp",
    "VirtualTimeLoop",
    "Wire",
    "check_announcer",
    "check_election",
    "check_handover",
    "check_health_check",
    "check_plugin",
    "check_provider",
    "check_proxy",
    "check_source",
    "make_host",
    "make_tenure",
    "running_app",
    "undocumented_fields",
]
