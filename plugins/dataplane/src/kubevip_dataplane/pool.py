"""The control process's side: workers, and listeners in them."""

from __future__ import annotations

from kubevip_dataplane._listening import show_place
from kubevip_dataplane._messages import Message
from kubevip_dataplane._pool import WorkerPool, open_pool, usable_cpus
from kubevip_dataplane._serving import serve
from kubevip_dataplane._standby import stand_by

__all__ = ["Message", "WorkerPool", "open_pool", "serve", "show_place", "stand_by", "usable_cpus"]
