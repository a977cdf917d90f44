from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kubevip.errors import KubevipError, NotPermittedError
from kubevip_lab import _kernel, _sandbox
from kubevip_lab._sandbox import Interrupted, call

PATIENCE_SECONDS = 10

# Starts a lab whose processes are as hard to end as can be: stopped, in sessions of their own, deaf to signals.
STUBBORN = """
import os, signal, subprocess, sys, time
from kubevip_lab._network import SUBNET, open_network
from kubevip_lab._sandbox import call

def body():
    with open_network() as network:
        for number, name in enumerate(("n1", "n2")):
            network.add_host(name, SUBNET[11 + number])
        deaf = "trap '' TERM INT HUP; (setsid sleep 300 &); sleep 300"
        network.hosts["n1"].start(["sh", "-c", deaf])
        stopped = network.hosts["n2"].start(["sleep", "300"])
        os.kill(stopped.pid, signal.SIGSTOP)
        time.sleep(0.2)
        print(os.readlink("/proc/self/ns/pid"), flush=True)
        time.sleep(300)

call(body)
"""


def processes_in(pid_namespace: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "ns/pid").readlink() == Path(pid_namespace):
                found.append((path / "cmdline").read_text())
        except OSError:
            continue
    return found


@pytest.mark.netns
def test_the_result_comes_back() -> None:
    assert call(lambda: {"answer": [1, "two", None]}) == {"answer": [1, "two", None]}


@pytest.mark.netns
def test_the_body_is_the_first_process_and_sees_its_own_processes_and_no_device_of_the_machine() -> None:
    def body() -> list[object]:
        return [os.getpid(), os.readlink("/proc/self"), [line.split(":")[0].strip() for line in devices()]]

    def devices() -> list[str]:
        return Path("/proc/net/dev").read_text().splitlines()[2:]

    assert call(body) == [1, "1", ["lo"]]


@pytest.mark.netns
def test_an_error_of_ours_comes_back_with_its_message() -> None:
    def body() -> None:
        raise KubevipError("n1 does not answer")

    with pytest.raises(KubevipError, match=r"^n1 does not answer$"):
        call(body)


@pytest.mark.netns
def test_a_refusal_within_comes_back_as_one() -> None:
    def body() -> None:
        raise NotPermittedError("this machine refuses to create a bridge")

    with pytest.raises(NotPermittedError, match="create a bridge"):
        call(body)


@pytest.mark.netns
def test_an_unforeseen_error_is_shown_where_it_happened_and_reported(capfd: pytest.CaptureFixture[str]) -> None:
    def body() -> None:
        raise ZeroDivisionError("by zero")

    with pytest.raises(KubevipError, match="internal error: ZeroDivisionError"):
        call(body)
    assert "in body" in capfd.readouterr().err


@pytest.mark.netns
def test_a_body_whose_process_ends_is_an_error() -> None:
    with pytest.raises(KubevipError, match="ended without a result"):
        call(lambda: os._exit(0))


@pytest.mark.netns
def test_an_interrupt_of_the_caller_reaches_the_body_and_its_cleanup(tmp_path: Path) -> None:
    caller = os.getpid()

    def body() -> None:
        # A fork without exec, so the caller's number of us is unknown here: a helper outside sends the signal.
        try:
            (tmp_path / "ready").touch()
            time.sleep(PATIENCE_SECONDS)  # noqa: TID251
        finally:
            (tmp_path / "cleaned").touch()

    script = f"while ! [ -e {tmp_path}/ready ]; do sleep 0.02; done; kill -INT {caller}"
    with subprocess.Popen(["sh", "-c", script]), pytest.raises(Interrupted):
        call(body)
    assert (tmp_path / "cleaned").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.netns
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_when_the_caller_is_killed(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, text=True) as caller:
        assert caller.stdout is not None
        namespace = caller.stdout.readline().strip()
        assert len(processes_in(namespace)) >= 4

        caller.send_signal(number)
        caller.wait(PATIENCE_SECONDS)

        end = time.monotonic() + PATIENCE_SECONDS
        while processes_in(namespace) and time.monotonic() < end:
            time.sleep(0.02)  # noqa: TID251
        assert processes_in(namespace) == []


def refuse(refused: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def unshare(flags: int) -> None:
        if flags & refused:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_kernel, "unshare", unshare)


@pytest.mark.parametrize(
    ("refused", "step"),
    [
        (_kernel.CLONE_NEWUSER | _kernel.CLONE_NEWNET, "create a user namespace: Operation not permitted"),
        (_kernel.CLONE_NEWNET, "map this user to root in a user namespace: "),
    ],
)
def test_a_refusal_names_the_step_and_what_would_help(refused: int, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(refused, errno.EPERM, monkeypatch)

    with pytest.raises(NotPermittedError) as refusal:
        call(lambda: None)

    message = str(refusal.value)
    assert f"this machine refuses to {step}" in message
    assert "what would help:" in message


def test_a_kernel_without_namespaces_is_a_refusal_too(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(_kernel.CLONE_NEWNET, errno.EINVAL, monkeypatch)

    with pytest.raises(NotPermittedError, match="create network, mount and PID namespaces: Invalid argument"):
        call(lambda: None)


@pytest.mark.parametrize(
    ("settings", "user", "expected"),
    [
        (
            {"kernel/apparmor_restrict_unprivileged_userns": "1"},
            1000,
            "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"user/max_user_namespaces": "0"}, 1000, "sudo sysctl -w user.max_user_namespaces=10000"),
        ({}, 1000, "/kubevip lab demo"),
        ({}, 0, "--privileged"),
    ],
)
def test_what_would_help_depends_on_what_is_the_matter(
    settings: dict[str, str], user: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sandbox, "_setting", lambda name: settings.get(name, ""))
    monkeypatch.setattr(os, "geteuid", lambda: user)

    assert any(line.endswith(expected) or expected in line for line in _sandbox.remedies())


def test_elsewhere_than_on_linux_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")

    with pytest.raises(NotPermittedError, match="only Linux"):
        call(lambda: None)
