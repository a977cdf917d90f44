"""`python -m kubevip` is the command `kubevip`.

`run` becomes the keeper, which starts this module again as its child, the control process.
"""

from __future__ import annotations

import os
import sys

from kubevip_keeper._protocol import KEEPER_VARIABLE


def main() -> int:
    """Run the command line of this process; return its exit status."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and KEEPER_VARIABLE not in os.environ:
        # Executed, not called: the keeper outlives everything and is to be as small as it is without this module.
        os.execv(sys.executable, [sys.executable, "-P", "-m", "kubevip_keeper", *arguments])
    from kubevip._cli import main as run_command

    return run_command(arguments)


if __name__ == "__main__":
    sys.exit(main())
