"""Templates of all frames, which `_template_builder` builds with scapy in a process of its own.

The library takes 0.2 s and 24 MB, which a process that imported it never gets back, for five frames.
"""

from __future__ import annotations

import subprocess
import sys
from functools import cache

from kubevip.errors import AnnounceError
from kubevip_announce_arp._frames import Templates

BUILD_SECONDS = 30  # an SD card that reads a hundred modules for the first time


@cache
def load_templates() -> Templates:
    """Have them built; at once when that was done before. Blocks, for at most BUILD_SECONDS.

    :raises AnnounceError: when they cannot be built; asked again, it is tried again.
    """
    command = [sys.executable, "-P", "-m", "kubevip_announce_arp._template_builder"]
    try:
        built = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BUILD_SECONDS, check=True
        )
        return Templates(*map(bytes.fromhex, built.stdout.split()))
    except subprocess.TimeoutExpired:
        raise AnnounceError(f"scapy did not build the frames within {BUILD_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        last = (str(error.stderr).splitlines() or [f"status {error.returncode}"])[-1]
        raise AnnounceError(f"scapy cannot build the frames: {last}") from None
    except (OSError, ValueError, TypeError) as error:  # no process to be had; or it printed something else
        raise AnnounceError(f"scapy cannot be asked to build the frames: {error}") from error
