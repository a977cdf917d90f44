"""The keeper with real processes: each test starts one, with a small control process of the test's own."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the keeper is Linux only")

LIMIT_SECONDS = 20.0

KEEPER = """
import sys
from kubevip_keeper.__main__ import keep
sys.exit(keep([sys.executable, *sys.argv[1:3]], sys.argv[3:]))
"""

# What every control process of these tests begins with. It writes each fact as a line of the file in FACTS.
PRELUDE = """
import base64, json, os, signal, sys, time
read_fd, write_fd, *owed_fds = map(int, os.environ["KUBEVIP_KEEPER"].split(","))
incarnation = int(os.environ["KUBEVIP_INCARNATION"])
def say(**message):
    os.write(write_fd, json.dumps(message).encode() + b"\\n")
def will(order, function, payload):
    say(will={"order": order, "function": function, "payload": base64.b64encode(payload).decode()})
def note(*fact):
    with open(os.environ["FACTS"], "a") as file:
        file.write(json.dumps(fact) + "\\n")
def hear():
    return [json.loads(line) for line in os.read(read_fd, 65536).splitlines()]
def sleep_as_child():
    if (pid := os.fork()) == 0:
        signal.pause()
        os._exit(0)
    return pid
"""


class Daemon:
    """A keeper in a process of its own."""

    def __init__(self, folder: Path, code: str, *arguments: str, **environment: str) -> None:
        self.facts_path = folder / "facts"
        self.state_dir = folder / "state"
        self.log_path = folder / "log"
        script = folder / "control.py"
        script.write_text(PRELUDE + code)
        variables = {**os.environ, "FACTS": str(self.facts_path), **environment}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    KEEPER,
                    "-P",
                    str(script),
                    "run",
                    "--state-dir",
                    str(self.state_dir),
                    *arguments,
                ],
                env=variables,
                stderr=log,
                start_new_session=True,
            )

    def facts(self) -> list[list[object]]:
        if not self.facts_path.exists():
            return []
        return [json.loads(line) for line in self.facts_path.read_text().splitlines(keepends=True) if line[-1] == "\n"]

    def wait_for(self, count: int) -> list[list[object]]:
        wait_until(lambda: len(self.facts()) >= count, lambda: f"{self.facts()}\n{self.log()}")
        return self.facts()

    def log(self) -> str:
        return self.log_path.read_text()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        return self.process.wait(LIMIT_SECONDS)

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in living(self.state_dir):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


def living(state_dir: Path) -> list[int]:
    """The processes that have the folder of a test in their environment or command line."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            if entry.joinpath("stat").read_text().rpartition(")")[2].split()[0] == "Z":
                continue
            text = entry.joinpath("cmdline").read_bytes() + entry.joinpath("environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(state_dir.parent) in text:
            found.append(int(entry.name))
    return found


def wait_until(test: Callable[[], bool], describe: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not test():
        assert time.monotonic() < deadline, describe()
        time.sleep(0.01)  # noqa: TID251 - real processes have no virtual time


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    daemons: list[Daemon] = []

    def started(code: str, *arguments: str, **environment: str) -> Daemon:
        folder = tmp_path / f"daemon{len(daemons)}"
        folder.mkdir()
        daemons.append(Daemon(folder, code, *arguments, **environment))
        return daemons[-1]

    yield started
    for daemon in daemons:
        daemon.clean_up()


OBEDIENT = """
note("started", incarnation, os.getpid())
while True:
    messages = hear()
    for message in messages:
        note(message)
    if not messages or {"stop": True} in messages:
        note("end of stream" if not messages else "stopping")
        sys.exit(0)
"""


def test_a_graceful_stop_is_handed_on_and_ends_with_status_0(start: Callable[..., Daemon]) -> None:
    daemon = start('will(1, "os:mkdir", os.environ["FACTS"].encode() + b".will")\n' + OBEDIENT)
    daemon.wait_for(1)
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert daemon.facts()[1:] == [[{"stop": True}], ["stopping"]]
    assert not Path(f"{daemon.facts_path}.will").exists(), "a will is for those that died"
    assert sorted(path.name for path in daemon.state_dir.iterdir()) == ["incarnation", "lock"]
    assert daemon.state_dir.stat().st_mode & 0o7777 == 0o700
    assert living(daemon.state_dir) == []


def test_a_signal_to_the_whole_group_stops_gracefully(start: Callable[..., Daemon]) -> None:
    daemon = start(OBEDIENT)
    daemon.wait_for(1)
    os.killpg(daemon.process.pid, signal.SIGINT)
    assert daemon.ended() == 0
    assert daemon.facts()[1:] == [[{"stop": True}], ["stopping"]]


def test_reload_and_dumps_are_handed_on(start: Callable[..., Daemon]) -> None:
    daemon = start(OBEDIENT)
    daemon.wait_for(1)
    for count, number in enumerate((signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT), 2):
        daemon.signal(number)
        daemon.wait_for(count)
    assert daemon.facts()[1:] == [[{"reload": True}], [{"dump": "status"}], [{"dump": "tasks"}]]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_a_second_keeper_is_told_which_pid_holds_the_lock(start: Callable[..., Daemon]) -> None:
    first = start(OBEDIENT)
    first.wait_for(1)
    second = start(OBEDIENT, "--state-dir", str(first.state_dir))
    assert second.ended() == 1
    assert f"held by pid {first.process.pid} and {first.facts()[0][2]}" in second.log()
    assert second.facts() == []
    first.signal(signal.SIGTERM)
    assert first.ended() == 0


def test_the_lock_is_held_by_a_control_process_whose_keeper_was_killed(start: Callable[..., Daemon]) -> None:
    first = start('note("started", os.getpid())\nos.read(read_fd, 1)\nnote("alone")\nwhile True: time.sleep(60)')
    first.wait_for(1)
    first.signal(signal.SIGKILL)
    first.ended()
    first.wait_for(2)
    second = start(OBEDIENT, "--state-dir", str(first.state_dir))
    assert second.ended() == 1
    assert f"held by pid {first.facts()[0][1]}:" in second.log()


def test_a_killed_keeper_ends_the_control_process_s_stream(start: Callable[..., Daemon]) -> None:
    daemon = start(OBEDIENT)
    daemon.wait_for(1)
    daemon.signal(signal.SIGKILL)
    daemon.ended()
    assert daemon.wait_for(2)[1:] == [["end of stream"]]
    wait_until(lambda: not living(daemon.state_dir))


def test_a_killed_control_process_is_succeeded_by_the_next_incarnation(start: Callable[..., Daemon]) -> None:
    daemon = start(OBEDIENT)
    (_, _, pid) = daemon.wait_for(1)[0]
    assert (daemon.state_dir / "incarnation").read_text() == "1\n"
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    assert [fact[:2] for fact in daemon.wait_for(2)] == [["started", 1], ["started", 2]]
    assert (daemon.state_dir / "incarnation").read_text() == "2\n"
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert "was ended by signal 9 (Killed)" in daemon.log()


def test_a_disk_that_takes_no_new_incarnation_is_waited_for(start: Callable[..., Daemon]) -> None:
    daemon = start(OBEDIENT)
    (_, _, pid) = daemon.wait_for(1)[0]
    in_the_way = daemon.state_dir / "incarnation.new"
    in_the_way.mkdir()  # as good as a disk that is full: it cannot be written
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "cannot start the control process: state directory" in daemon.log())
    assert re.search(r"state: Is a directory; trying again in [1-9]\.\d s|in 0\.[5-9] s", daemon.log())
    assert (daemon.state_dir / "incarnation").read_text() == "1\n"
    in_the_way.rmdir()
    assert daemon.wait_for(2)[1][:2] == ["started", 2]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_a_keeper_that_waits_for_its_disk_stops_when_asked_to(start: Callable[..., Daemon]) -> None:
    daemon = start(OBEDIENT)
    (_, _, pid) = daemon.wait_for(1)[0]
    (daemon.state_dir / "incarnation.new").mkdir()
    assert isinstance(pid, int)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: "trying again in" in daemon.log())
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_an_incarnation_goes_on_where_the_last_daemon_ended(start: Callable[..., Daemon]) -> None:
    first = start(OBEDIENT)
    first.wait_for(1)
    first.signal(signal.SIGTERM)
    assert first.ended() == 0
    second = start(OBEDIENT, "--state-dir", str(first.state_dir))
    assert second.wait_for(1)[0][:2] == ["started", 2]
    second.signal(signal.SIGTERM)
    assert second.ended() == 0


def test_what_a_killed_control_process_left_is_dead_before_its_wills(start: Callable[..., Daemon]) -> None:
    daemon = start(
        """
if incarnation == 1:
    child = sleep_as_child()
    if (middle := os.fork()) == 0:  # an orphan in a session of its own, which no group signal reaches
        os.setsid()
        note("orphan", sleep_as_child())
        os._exit(0)
    os.waitpid(middle, 0)
    will(1, "_kubevip_test_will:look", os.environ["FACTS"].encode())
    note("child", child)
    os.kill(os.getpid(), signal.SIGKILL)
note("second")
"""
        + OBEDIENT,
        PYTHONPATH=str(Path(__file__).parent / "wills"),
    )
    facts = daemon.wait_for(4)
    pids = {fact[0]: fact[1] for fact in facts if fact[0] in ("orphan", "child")}
    assert facts[2] == ["will sees", {"orphan": False, "child": False}]
    assert set(pids) == {"orphan", "child"}
    assert facts[3] == ["second"]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert living(daemon.state_dir) == []


def test_nothing_is_said_of_a_process_whose_pipes_have_ended_before_it_is_reaped(start: Callable[..., Daemon]) -> None:
    daemon = start(
        """
if incarnation == 1:
    for order in (10, 100):
        will(order, "_kubevip_test_will:note", json.dumps([os.environ["FACTS"], str(order)]).encode())
    for fd in (read_fd, write_fd, *owed_fds, *map(int, os.environ["KUBEVIP_KEPT"].split(","))):
        os.close(fd)
    time.sleep(0.3)  # a keeper that took this for its end would act now
    note("lived until here")
    os.kill(os.getpid(), signal.SIGKILL)
"""
        + OBEDIENT,
        PYTHONPATH=str(Path(__file__).parent / "wills"),
    )
    assert daemon.wait_for(4)[:3] == [["lived until here"], ["will", "10"], ["will", "100"]]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_what_a_killed_control_process_had_kept_is_released_after_its_wills(start: Callable[..., Daemon]) -> None:
    """So the kernel's releasing of it delays neither the reaping nor what peers are told."""
    daemon = start(
        """
import socket
fifo = os.environ["FACTS"] + ".fifo"
if incarnation == 1:
    os.mkfifo(fifo)
    sending = socket.socket(fileno=int(os.environ["KUBEVIP_KEPT"].split(",")[0]))
    socket.send_fds(sending, [b"0"], [os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)])
    will(100, "_kubevip_test_will:note_whether_read", json.dumps([os.environ["FACTS"], fifo]).encode())
    os.kill(os.getpid(), signal.SIGKILL)
try:
    os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
except OSError as error:
    note("then", error.strerror)
"""
        + OBEDIENT,
        PYTHONPATH=str(Path(__file__).parent / "wills"),
    )
    assert daemon.wait_for(2)[:2] == [["will", "is read"], ["then", os.strerror(errno.ENXIO)]]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_wills_run_in_order_and_one_that_fails_does_not_stop_the_others(start: Callable[..., Daemon]) -> None:
    daemon = start(
        """
if incarnation == 1:
    for order, function, text in (
        (30, "note", "third"), (10, "note", "first"), (20, "fail", "second"), (40, "leave", "fourth"),
        (50, "note", "fifth"), (60, "note", "withdrawn"), (100, "note", "a statement that rests on the others"),
    ):
        will(order, "_kubevip_test_will:" + function, json.dumps([os.environ["FACTS"], text]).encode())
    will(50, "_kubevip_test_will:note", json.dumps([os.environ["FACTS"], "replaced"]).encode())
    say(will={"order": 60, "function": "_kubevip_test_will:note", "payload": None})
    os.kill(os.getpid(), signal.SIGKILL)
"""
        + OBEDIENT,
        PYTHONPATH=str(Path(__file__).parent / "wills"),
    )
    facts = daemon.wait_for(4)
    assert facts[:3] == [["will", "first"], ["will", "third"], ["will", "replaced"]]
    assert facts[3][:2] == ["started", 2]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert "a will failed: RuntimeError: second function=_kubevip_test_will:fail order=20" in daemon.log()
    assert "left out a will that rests on one that failed" in daemon.log()


@pytest.mark.parametrize(
    "last",
    [
        'say(will={"order": 10, "function": "no function", "payload": ""})',
        'os.write(write_fd, b\'{"will": {"order": 10\')',
        "os.write(write_fd, b'no message\\n')",
        "os.write(owed_fds[1], b'!')",
    ],
    ids=["refused", "cut short", "not understood", "waiting in a process whose pipe was full"],
)
def test_no_statement_is_made_when_a_will_was_not_understood(start: Callable[..., Daemon], last: str) -> None:
    """It may have been the one that takes an address down."""
    daemon = start(
        f"""
if incarnation == 1:
    for order, text in ((10, "a deed"), (100, "a statement")):
        will(order, "_kubevip_test_will:note", json.dumps([os.environ["FACTS"], text]).encode())
    {last}
    os.kill(os.getpid(), signal.SIGKILL)
"""
        + OBEDIENT,
        PYTHONPATH=str(Path(__file__).parent / "wills"),
    )
    facts = daemon.wait_for(2)
    assert facts[0] == ["will", "a deed"]
    assert facts[1][:2] == ["started", 2]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert "left out a will that rests on one that failed" in daemon.log()


def test_a_statement_is_made_when_all_deeds_worked(start: Callable[..., Daemon]) -> None:
    daemon = start(
        """
if incarnation == 1:
    for order, text in ((100, "statement"), (10, "deed")):
        will(order, "_kubevip_test_will:note", json.dumps([os.environ["FACTS"], text]).encode())
    os.kill(os.getpid(), signal.SIGKILL)
"""
        + OBEDIENT,
        PYTHONPATH=str(Path(__file__).parent / "wills"),
    )
    assert daemon.wait_for(3)[:2] == [["will", "deed"], ["will", "statement"]]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


STATEMENT = """
if incarnation == 1:
    for order, function, text in ((100, "say", "statement"), (10, "DEED", "deed")):
        will(order, "_kubevip_test_will:" + function, json.dumps([os.environ["FACTS"], text]).encode())
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_statement_is_prepared_beside_the_deeds_and_made_after_them(start: Callable[..., Daemon]) -> None:
    daemon = start(
        STATEMENT.replace("DEED", "wait_for_preparations") + OBEDIENT,
        PYTHONPATH=str(Path(__file__).parent / "wills"),
    )
    assert daemon.wait_for(4)[:3] == [["will prepares", "statement"], ["will", "deed"], ["will", "statement"]]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_a_statement_that_was_prepared_is_left_out_when_a_deed_failed(start: Callable[..., Daemon]) -> None:
    daemon = start(
        STATEMENT.replace("DEED", "fail_at_last") + OBEDIENT, PYTHONPATH=str(Path(__file__).parent / "wills")
    )
    facts = daemon.wait_for(3)
    assert facts[:2] == [["will prepares", "statement"], ["will", "deed"]]
    assert facts[2][0] == "started"
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert ["will", "statement"] not in daemon.facts()
    assert "left out a will that rests on one that failed function=_kubevip_test_will:say order=100" in daemon.log()


def test_a_will_that_hangs_is_killed(start: Callable[..., Daemon]) -> None:
    daemon = start(
        """
if incarnation == 1:
    will(2, "_kubevip_test_will:hang", b"")
    will(3, "_kubevip_test_will:note", json.dumps([os.environ["FACTS"], "after"]).encode())
    os.kill(os.getpid(), signal.SIGKILL)
"""
        + OBEDIENT,
        PYTHONPATH=str(Path(__file__).parent / "wills"),
    )
    facts = daemon.wait_for(2)
    assert facts[0] == ["will", "after"]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert "not done within 3 s function=_kubevip_test_will:hang" in daemon.log()


@pytest.mark.parametrize("status", [2, 77, 78])
def test_a_final_status_at_the_start_is_passed_through(start: Callable[..., Daemon], status: int) -> None:
    daemon = start(f'note("started")\nsys.exit({status})')
    assert daemon.ended() == status
    assert daemon.facts() == [["started"]]


def test_a_status_that_is_final_at_the_start_only_restarts_a_control_process_that_was_ready(
    start: Callable[..., Daemon],
) -> None:
    daemon = start("if incarnation == 1:\n    say(ready=True)\n    sys.exit(78)\n" + OBEDIENT)
    assert daemon.wait_for(1)[0][:2] == ["started", 2]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_a_second_signal_kills_at_once_and_the_wills_are_still_carried_out(start: Callable[..., Daemon]) -> None:
    daemon = start(
        """
will(1, "_kubevip_test_will:note", json.dumps([os.environ["FACTS"], "done"]).encode())
note("started")
while True:
    note(hear()[0])
"""
        + OBEDIENT,
        PYTHONPATH=str(Path(__file__).parent / "wills"),
    )
    daemon.wait_for(1)
    daemon.signal(signal.SIGTERM)
    daemon.wait_for(2)
    daemon.signal(signal.SIGINT)
    assert daemon.ended() == 0
    assert daemon.facts() == [["started"], [{"stop": True}], ["will", "done"]]
    assert living(daemon.state_dir) == []


def test_a_signal_while_waiting_for_the_next_start_ends_it(start: Callable[..., Daemon]) -> None:
    daemon = start('note("started")\nsys.exit(1)')
    wait_until(lambda: "starting the control process again" in daemon.log())
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_a_control_process_that_breaks_the_protocol_is_stopped_and_replaced(start: Callable[..., Daemon]) -> None:
    daemon = start('if incarnation == 1:\n    os.write(write_fd, b"[1]\\n")\n' + OBEDIENT)
    facts = daemon.wait_for(4)
    assert [fact[0] for fact in facts] == ["started", {"stop": True}, "stopping", "started"]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert "it breaks the protocol: a line is not a JSON object" in daemon.log()


def test_a_damaged_incarnation_is_refused(start: Callable[..., Daemon], tmp_path: Path) -> None:
    state_dir = tmp_path / "given"
    state_dir.mkdir(mode=0o700)
    (state_dir / "incarnation").write_text("seven\n")
    daemon = start(OBEDIENT, "--state-dir", str(state_dir))
    assert daemon.ended() == 1
    assert "incarnation is damaged: write a number into it" in daemon.log()
    assert daemon.facts() == []


def test_an_error_of_the_state_directory_names_it(start: Callable[..., Daemon], tmp_path: Path) -> None:
    state_dir = tmp_path / "given"
    (state_dir / "incarnation").mkdir(parents=True)  # read(2) says no more than EISDIR, like write(2) ENOSPC
    state_dir.chmod(0o700)
    daemon = start(OBEDIENT, "--state-dir", str(state_dir))
    assert daemon.ended() == 1
    assert f"state directory {state_dir}: Is a directory" in daemon.log()


def test_a_state_directory_that_others_may_write_to_is_refused(start: Callable[..., Daemon], tmp_path: Path) -> None:
    state_dir = tmp_path / "shared"
    state_dir.mkdir()
    state_dir.chmod(0o1777)
    daemon = start(OBEDIENT, "--state-dir", str(state_dir))
    assert daemon.ended() == 78
    assert "may be written by others (mode 1777)" in daemon.log()
    assert state_dir.stat().st_mode & 0o7777 == 0o1777


def test_the_control_process_has_only_its_own_descriptors(start: Callable[..., Daemon]) -> None:
    daemon = start(
        """
lock = int(os.environ["KUBEVIP_LOCK"])
kept_fds = map(int, os.environ["KUBEVIP_KEPT"].split(","))
note(sorted({int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)})
     == sorted({0, 1, 2, read_fd, write_fd, *owed_fds, *kept_fds, lock}), os.readlink(f"/proc/self/fd/{lock}"))
"""
        + OBEDIENT
    )
    assert daemon.wait_for(1)[0] == [True, str(daemon.state_dir / "lock")]
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0


def test_the_keeper_imports_only_the_standard_library_and_stays_small(start: Callable[..., Daemon]) -> None:
    daemon = start(OBEDIENT)
    daemon.wait_for(1)
    lines = Path(f"/proc/{daemon.process.pid}/smaps_rollup").read_text().splitlines()
    private_kib = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
    maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 0
    assert private_kib < 15 * 1024
    assert "site-packages" not in maps
