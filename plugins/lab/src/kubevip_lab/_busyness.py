"""Whether this machine has more to do than it can: then what comes late says little about what was asked."""

from __future__ import annotations

import os

#: Runnable processes for each processor, in the mean of the last minute, beyond which a lab's own timings suffer.
BUSY_LOAD = 1.5


def busy_note() -> str:
    """Return what to add to a message about something that came too late; "" when the machine is not to blame."""
    load, processors = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load <= BUSY_LOAD * processors:
        return ""
    return (
        f" (this machine is busy: load {load:.1f} on {processors} processor{'s' if processors > 1 else ''}; "
        "try again when it is idle)"
    )
