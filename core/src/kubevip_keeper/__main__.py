"""Where `kubevip` starts: `run` becomes the keeper, every other command is the client's."""

from __future__ import annotations

import errno
import os
import sys

TYPE_CHECKING = False  # the module typing is not worth its memory here
if TYPE_CHECKING:
    from collections.abc import Sequence


def main() -> int:
    """Run the command line of this process; return its exit status."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"] and not {"-h", "--help"}.intersection(arguments):
        # -P: the directory in which a daemon happens to be started does not decide which code it runs.
        return keep([sys.executable, "-P", "-m", "kubevip", *arguments], arguments)
    from kubevip._cli import main as run_client

    return run_client(arguments)


def keep(command: Sequence[str], arguments: Sequence[str]) -> int:
    """Keep `command`, the control process, running; return the exit status.

    :param arguments: the command line, from which instance, state directory and the form of the log are taken.
    """
    from kubevip_keeper._exit_status import BAD_RESULT, NOT_PERMITTED
    from kubevip_keeper._incarnation import IncarnationError
    from kubevip_keeper._keeper import Keeper
    from kubevip_keeper._lock import Lock, LockHeldError
    from kubevip_keeper._log import Log
    from kubevip_keeper._notify import Notify
    from kubevip_keeper._place import (
        PlaceError,
        describe_trouble,
        instance_name,
        make_state_dir,
        option,
        state_dir_path,
    )

    environment = dict(os.environ)
    notify = Notify.taken_from(environment)
    log = Log.from_command_line(arguments, environment)
    state_dir = "."  # from where a relative one is found, until it is
    try:
        instance = instance_name(option(arguments, "--instance"), environment)
        state_dir = state_dir_path(option(arguments, "--state-dir"), environment, instance)
        make_state_dir(state_dir)
        lock = Lock(os.path.join(state_dir, "lock"))
        return Keeper(command, environment, state_dir, lock, log, notify).run()
    except PlaceError as exc:
        log.error("%s", exc)
        return exc.exit_status
    except PermissionError as exc:
        log.error("%s; run as root, or name a state directory of your own with --state-dir", exc)
        return NOT_PERMITTED
    except OSError as exc:  # a full disk, say: the error itself may name no file
        log.error("%s", describe_trouble(state_dir, exc))
        return NOT_PERMITTED if exc.errno == errno.EROFS else BAD_RESULT
    except (LockHeldError, IncarnationError) as exc:
        log.error("%s", exc)
        return BAD_RESULT


if __name__ == "__main__":
    sys.exit(main())
