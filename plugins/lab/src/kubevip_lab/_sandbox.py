"""Run a function in a child with namespaces of its own, so that nothing it makes outlives it.

`call(body)` forks twice: the caller waits for a keeper, the keeper for the first process of a new PID namespace, which
runs `body` in a new network and mount namespace. When that first process ends, for whatever reason, the kernel kills
every process of the PID namespace, stopped ones too, and with the last of them go the network namespaces, devices,
rules and mounts. Each of the three is killed when the one before it ends, so SIGKILL of the caller removes all as
well. Nothing has a name in the file system, so there is nothing to clean up after a crash.

Without root it is tried in a user namespace, where this user is root. What the machine refuses is a
`NotPermittedError` that names the step and what would help.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab import _kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

ResultT = TypeVar("ResultT")

INTERRUPTED = 128 + signal.SIGINT
"""Exit status after Ctrl-C, as a shell reports it."""

_NAMESPACES = _kernel.CLONE_NEWNET | _kernel.CLONE_NEWNS | _kernel.CLONE_NEWPID | _kernel.CLONE_NEWUTS


class Interrupted(KubevipError):
    """The body was ended by Ctrl-C."""


def call(body: Callable[[], ResultT]) -> ResultT:
    """Run `body` in a sandbox and return what it returns, which must be JSON-compatible.

    The process must have one thread. Signals: SIGINT goes on to the body as KeyboardInterrupt, SIGTERM and SIGHUP end
    the sandbox at once and then this process with status 128 + number. When this returns or raises, no process of the
    sandbox is left.

    :raises NotPermittedError: the machine refuses a step; or the body raised it.
    :raises Interrupted: after Ctrl-C.
    :raises KubevipError: the body raised it, or its process was killed.
    """
    if sys.platform != "linux":
        raise NotPermittedError(f"the lab needs network namespaces, which only Linux has; this is {sys.platform}")
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(reading)
        _keep(body, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as reports:
        result: ResultT = _attend(keeper, reports)
    return result


def _attend(keeper: int, reports: IO[bytes]) -> Any:
    """Wait for the keeper and turn its reports into a result; Any: JSON."""
    first: int | None = None  # a descriptor of it: its number may be another's once the keeper has reaped it

    def forward(number: int, frame: FrameType | None) -> None:
        if first is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(first, number)

    def end(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    signal.signal(signal.SIGINT, forward)
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    outcome: dict[str, Any] = {}
    try:
        for line in reports:
            report = json.loads(line)
            if "first" in report:
                with suppress(ProcessLookupError):
                    first = os.pidfd_open(report.pop("first"))
            outcome.update(report)
    finally:
        if not outcome:
            forward(signal.SIGKILL, None)
        _, status = os.waitpid(keeper, 0)
        if first is not None:
            os.close(first)
        for number, handler in before.items():
            signal.signal(number, handler)
    match outcome:
        case {"result": result}:
            return result
        case {"refused": str(message)}:
            raise NotPermittedError(message)
        case {"interrupted": _}:
            raise Interrupted("interrupted")
        case {"failed": str(message)}:
            raise KubevipError(message)
        case _:
            raise KubevipError(f"the lab's first process ended without a result (wait status {status})")


def _keep(body: Callable[[], object], writing: int) -> None:
    """Make the namespaces, start the first process in them, reap it; never returns."""
    parent = os.getppid()
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_IGN)
        _enter_namespaces()
        _kernel.die_with_parent()  # after the user namespace: a change of credentials clears it
        if os.getppid() != parent:
            os._exit(1)
        tether, held = os.pipe()  # closes when the keeper ends: covers the moment before the child's own prctl
        first = os.fork()
        if first == 0:
            os.close(held)
            _first(body, writing, tether)
        _report(writing, first=first)
        os.close(writing)
        os.waitpid(first, 0)
    except NotPermittedError as error:
        _report(writing, refused=str(error))
    except BaseException:  # a forked child must never return into its parent's code
        traceback.print_exc()
    os._exit(0)


def _first(body: Callable[[], object], writing: int, tether: int) -> None:
    """Run the body as the first process of the PID namespace; never returns."""
    try:
        _kernel.die_with_parent()
        os.set_blocking(tether, False)
        try:
            if os.read(tether, 1) == b"":
                os._exit(1)
        except BlockingIOError:
            pass  # the keeper lives
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, _interrupt)
        with _step("give the namespace its own /proc"):
            _kernel.make_mounts_private()
            _kernel.mount("proc", "/proc")
        _report(writing, result=body())
    except KeyboardInterrupt:
        _report(writing, interrupted=True)
    except NotPermittedError as error:
        _report(writing, refused=str(error))
    except KubevipError as error:
        _report(writing, failed=str(error))
    except BaseException as error:  # as above
        traceback.print_exc()
        _report(writing, failed=f"internal error: {error!r}")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # once: a terminal and the caller both send it
    raise KeyboardInterrupt


def _report(writing: int, **fields: object) -> None:
    os.write(writing, json.dumps(fields).encode() + b"\n")


def _enter_namespaces() -> None:
    try:
        _kernel.unshare(_NAMESPACES)
    except OSError as error:
        if error.errno != errno.EPERM:
            raise _refused("create network, mount and PID namespaces", error) from error
    else:
        return
    user, group = os.geteuid(), os.getegid()
    with _step("create a user namespace"):
        _kernel.unshare(_kernel.CLONE_NEWUSER)
    with _step("map this user to root in a user namespace"):
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    with _step("create network, mount and PID namespaces in a user namespace"):
        _kernel.unshare(_NAMESPACES)


@contextmanager
def _step(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise _refused(what, error) from error


def _refused(what: str, error: OSError) -> NotPermittedError:
    return NotPermittedError("\n".join((f"this machine refuses to {what}: {error.strerror}", *remedies())))


def remedies() -> tuple[str, ...]:
    """Return what would help on this machine to be allowed namespaces, one suggestion a line, the likeliest first."""
    found: list[str] = []
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == "1":
        found.append("sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0")
    if _setting("kernel/unprivileged_userns_clone") == "0":
        found.append("sudo sysctl -w kernel.unprivileged_userns_clone=1")
    if _setting("user/max_user_namespaces") == "0":
        found.append("sudo sysctl -w user.max_user_namespaces=10000")
    if os.geteuid() != 0:
        found.append(f"sudo {_program()} lab demo")
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        found.append("in a container: start it with --privileged")
    if not found:
        found.append("run as root with CAP_SYS_ADMIN and CAP_NET_ADMIN; a container needs --privileged")
    return ("what would help:", *(f"  {line}" for line in found))


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return ""


def _program() -> str:
    program = Path(sys.executable).with_name("kubevip")
    try:
        return str(program.relative_to(Path.cwd()))
    except ValueError:
        return str(program)
