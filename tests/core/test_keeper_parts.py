"""The parts of the keeper that need no process of their own, and what it tells the service manager."""

from __future__ import annotations

import binascii
import errno
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubevip_keeper import _processes
from kubevip_keeper.__main__ import keep
from kubevip_keeper._backoff import Backoff
from kubevip_keeper._incarnation import IncarnationError, next_incarnation
from kubevip_keeper._lock import Lock
from kubevip_keeper._log import Log
from kubevip_keeper._notify import Notify
from kubevip_keeper._place import PlaceError, describe_trouble, instance_name, make_state_dir, option, state_dir_path
from kubevip_keeper._processes import end_children
from kubevip_keeper._protocol import PAYLOAD_LIMIT, read_will, will_message
from kubevip_keeper._wills import COUNT_LIMIT, FIRST_STATEMENT, TOTAL_LIMIT, Wills

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT_SECONDS = 20


def test_the_first_restart_after_a_long_run_is_at_once_and_others_wait_longer_and_longer() -> None:
    backoff = Backoff()
    assert [backoff.after(ran, 0) for ran in (30, 1, 1, 1, 1, 1, 1, 1, 1, 10, 1)] == [
        0, 1, 2, 4, 8, 16, 32, 60, 60, 0, 1,
    ]  # fmt: skip


@given(st.floats(0, 1))
def test_chance_shortens_a_pause_by_half_at_most(chance: float) -> None:
    assert 0.5 <= Backoff().after(0, chance) <= 1


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["run", "--instance", "a"], "a"),
        (["run", "--instance=a"], "a"),
        (["run", "--instance=a", "--instance", "b"], "b"),
        (["run", "--instance"], None),
        (["run", "--instances", "a"], None),
        (["run", "--", "--instance", "a"], None),
        (["run", "--instance="], ""),
    ],
)
def test_an_option_is_found_as_argparse_would(arguments: list[str], value: str | None) -> None:
    assert option(arguments, "--instance") == value


def test_the_command_line_comes_before_the_environment_and_that_before_the_default() -> None:
    environment = {"KUBEVIP_INSTANCE": "env", "KUBEVIP_STATE_DIR": "/env"}
    assert instance_name("given", environment) == "given"
    assert instance_name(None, environment) == "env"
    assert instance_name(None, {"KUBEVIP_INSTANCE": ""}) == "default"
    assert state_dir_path("/given/", environment, "default") == "/given"
    assert state_dir_path(None, environment, "default") == "/env"
    assert state_dir_path(None, {}, "default") == "/var/lib/kubevip"
    assert state_dir_path(None, {}, "apps") == "/var/lib/kubevip-apps"


def test_a_container_that_variables_configure_has_the_name_of_its_namespace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("kubevip_keeper._place.NAMESPACE_FILE", str(tmp_path / "namespace"))
    assert instance_name(None, {"vip_interface": "eth0"}) == "default"
    (tmp_path / "namespace").write_text("shop\n")
    assert instance_name(None, {"vip_interface": "eth0"}) == "shop"
    assert instance_name(None, {"vip_configmap": "plndr"}) == "shop"
    assert instance_name(None, {"vip_configmap": "plndr", "KUBEVIP_INSTANCE": "given"}) == "given"
    assert instance_name(None, {}) == "default"
    (tmp_path / "namespace").write_bytes(b"\xff")
    assert instance_name(None, {"vip_interface": "eth0"}) == "default"


def test_a_long_instance_is_cut_and_hashed_so_that_it_stays_its_own() -> None:
    one, other = instance_name("control-plane-east", {}), instance_name("control-plane-west", {})
    assert one != other
    assert {len(one), len(other)} == {12}
    assert one.startswith("control-")


@pytest.mark.parametrize("name", ["Default", "a_b", "a/b", "a b", "ä"])
def test_an_instance_with_other_characters_is_refused(name: str) -> None:
    with pytest.raises(PlaceError, match="use lower-case letters, digits and dashes only") as caught:
        instance_name(name, {})
    assert caught.value.exit_status == 2


def test_a_state_directory_is_made_with_its_parents_and_is_private(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b"
    make_state_dir(str(path))
    make_state_dir(str(path))
    assert path.stat().st_mode & 0o7777 == 0o700


def test_a_state_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = os.geteuid()
    if own == 0:
        os.chown(tmp_path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: own + 1)
    tmp_path.chmod(0o700)
    with pytest.raises(PlaceError, match=r"belongs to another user \(uid \d+, .*chown") as caught:
        make_state_dir(str(tmp_path))
    assert caught.value.exit_status == 78
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("name", ["lock", "incarnation.new"])
def test_a_link_in_the_state_directory_is_not_followed(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    (tmp_path / name).symlink_to(target)
    with pytest.raises(OSError, match="symbolic links") as caught:
        Lock(str(tmp_path / name)) if name == "lock" else next_incarnation(str(tmp_path))
    assert caught.value.filename == str(tmp_path / name)
    assert target.read_text() == "precious"


def test_a_state_directory_that_cannot_be_made_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PlaceError, match="name another with --state-dir") as caught:
        make_state_dir(str(tmp_path / "file" / "state"))
    assert caught.value.exit_status == 77
    with pytest.raises(PlaceError, match="is not a directory") as caught:
        make_state_dir(str(tmp_path / "file"))
    assert caught.value.exit_status == 78


@pytest.mark.parametrize(
    ("code", "remedy"),
    [(errno.ENOSPC, "free space there"), (errno.EDQUOT, "free space there"), (errno.EROFS, "mount it for writing")],
)
def test_what_to_do_about_a_disk_is_said(code: int, remedy: str) -> None:
    told = describe_trouble("/state", OSError(code, os.strerror(code)))
    assert told.startswith(f"state directory /state: {os.strerror(code)}; {remedy}")


def test_a_disk_that_is_read_only_is_a_machine_that_does_not_permit_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("kubevip_keeper._place.make_state_dir", refuse)
    assert keep(["/bin/true"], ["run", "--state-dir", str(tmp_path / "state")]) == 77


def test_incarnations_count_up_and_survive_a_crash_between_write_and_rename(tmp_path: Path) -> None:
    assert [next_incarnation(str(tmp_path)) for _ in range(3)] == [1, 2, 3]
    (tmp_path / "incarnation.new").write_bytes(b"")  # what such a crash leaves
    assert next_incarnation(str(tmp_path)) == 4
    assert os.listdir(tmp_path) == ["incarnation"]


def test_an_incarnation_is_synced_with_its_folder_before_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, rename = os.fsync, os.rename

    def record_fsync(fd: int) -> None:
        steps.append(f"sync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")
        fsync(fd)

    def record_rename(source: str, target: str) -> None:
        steps.append("rename")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "rename", record_rename)
    next_incarnation(str(tmp_path))
    assert steps == ["sync incarnation.new", "rename", f"sync {tmp_path.name}"]


@pytest.mark.parametrize("content", [b"", b"7", b"-1\n", b"7\n8\n", b"x\n", b"9" * 40 + b"\n", b"\0" * 8])
def test_a_damaged_incarnation_is_never_guessed(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "incarnation").write_bytes(content)
    with pytest.raises(IncarnationError, match="is damaged"):
        next_incarnation(str(tmp_path))
    assert (tmp_path / "incarnation").read_bytes() == content


@given(st.integers(), st.none() | st.binary(max_size=100))
def test_a_will_arrives_as_it_was_left(order: int, payload: bytes | None) -> None:
    fields = json.loads(json.dumps(will_message(order, "a.b:c", payload)))["will"]
    assert read_will(fields) == (order, "a.b:c", payload)


FIELD = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("a:b") | st.just("YQ==")


@given(st.fixed_dictionaries({}, optional={"order": FIELD, "function": FIELD, "payload": FIELD}))
def test_a_will_of_another_form_is_refused_and_nothing_else_happens(fields: dict[str, object]) -> None:
    try:
        order, function, payload = read_will(fields)
    except ValueError:
        return
    assert isinstance(order, int)
    assert ":" in function
    assert payload is None or len(payload) <= PAYLOAD_LIMIT


def test_wills_are_bounded_in_number_and_size() -> None:
    wills = Wills()
    for number in range(COUNT_LIMIT):
        wills.leave(number, "a:b", b"")
    with pytest.raises(ValueError, match="too much"):
        wills.leave(COUNT_LIMIT, "a:b", b"")
    wills.leave(0, "a:b", None)
    wills.leave(COUNT_LIMIT, "a:b", b"")
    with pytest.raises(ValueError, match="too much"):
        wills.leave(1, "a:b", bytes(TOTAL_LIMIT + 1))


def test_the_module_of_a_will_is_imported_when_the_will_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A death is no time for it."""
    (tmp_path / "_kubevip_left_will.py").write_text("def do(payload): raise OSError('done')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "_kubevip_left_will", raising=False)
    wills = Wills()
    wills.leave(10, "_kubevip_left_will:do", b"")
    assert "_kubevip_left_will" in sys.modules
    (tmp_path / "_kubevip_left_will.py").unlink()
    assert "a will failed: OSError: done" in logged(lambda log: assert_failed(wills, log))


@pytest.mark.parametrize("source", ["import _kubevip_nowhere", "raise SystemExit('no')", "1/0", "def"])
def test_a_module_that_cannot_be_imported_harms_nobody_before_its_will_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    (tmp_path / "_kubevip_bad_will.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    wills = Wills()
    wills.leave(10, "_kubevip_bad_will:do", b"")
    wills.leave(20, "_kubevip_absent_will:do", b"")
    text = logged(lambda log: assert_failed(wills, log))
    assert text.count("a will failed") == 2
    assert "ModuleNotFoundError: No module named '_kubevip_absent_will'" in text


def test_a_statement_that_nobody_heard_keeps_no_other_from_being_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "_kubevip_said_will.py").write_text("def fail(payload): 1 / 0\ndef say(payload): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    wills = Wills()
    wills.leave(FIRST_STATEMENT, "_kubevip_said_will:fail", b"")
    wills.leave(FIRST_STATEMENT + 1, "_kubevip_said_will:say", b"")
    worked: list[bool] = []
    text = logged(lambda log: worked.append(wills.carry_out(log, LIMIT_SECONDS)))
    assert end_children(lambda seconds: select.poll().poll(seconds * 1000), LIMIT_SECONDS)
    assert worked == [True]  # no deed was left undone
    assert "a will failed: ZeroDivisionError" in text
    assert "carried out a will function=_kubevip_said_will:say" in text


def assert_failed(wills: Wills, log: Log) -> None:
    assert not wills.carry_out(log, LIMIT_SECONDS)
    assert end_children(lambda seconds: select.poll().poll(seconds * 1000), LIMIT_SECONDS)


def logged(write: Callable[[Log], None], **settings: bool | str) -> str:
    read_fd, write_fd = os.pipe()
    try:
        write(Log(fd=write_fd, **settings))  # type: ignore[arg-type]
        os.close(write_fd)
        return os.read(read_fd, 4096).decode()
    finally:
        os.close(read_fd)


def test_a_line_of_the_log_is_as_the_control_process_writes_it() -> None:
    line = logged(lambda log: log.info("started pid=%d\nforged", 7))
    stamp, rest = line.split(" ", 1)
    assert len(stamp) == len("2026-11-22T10:15:02.123Z")
    assert rest == "INFO keeper started pid=7\\nforged\n"


def test_the_journal_gets_priorities_and_no_line_below_the_level() -> None:
    def write(log: Log) -> None:
        log.info("left out")
        log.error("100% broken")

    line = logged(write, has_priorities=True, level="warning")
    assert line.startswith("<3>2")
    assert line.endswith("Z ERROR keeper 100% broken\n")


def test_a_json_log_has_one_object_a_line() -> None:
    line = json.loads(logged(lambda log: log.warning("a %s", '"b"'), is_json=True))
    assert {key: line[key] for key in ("level", "message")} == {"level": "WARNING", "message": 'a "b"'}


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_gets_one_line_a_value(tmp_path: Path, abstract: bool) -> None:
    name = f"kubevip-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": f"@{name}" if abstract else name, "WATCHDOG_USEC": "1", "OTHER": "x"}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}" if abstract else name)
        manager.settimeout(LIMIT_SECONDS)
        Notify.taken_from(environment).send(READY="1", STATUS="holds api\nMAINPID=1")
        assert manager.recv(4096) == b"READY=1\nSTATUS=holds api MAINPID=1"
    assert environment == {"OTHER": "x"}


def test_a_service_manager_that_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    Notify.taken_from({"NOTIFY_SOCKET": str(tmp_path / "nowhere")}).send(READY="1")
    Notify.taken_from({}).send(READY="1")


CONTROL = """
import json, os, sys
read_fd, write_fd, *owed_fds = map(int, os.environ["KUBEVIP_KEEPER"].split(","))
assert "NOTIFY_SOCKET" not in os.environ
os.write(write_fd, b'{"ready":true}\\n{"status":"follows n1"}\\n')
while data := os.read(read_fd, 4096):
    if b"stop" in data:
        sys.exit(0)
"""

STUBBORN = """
import os, time
write_fd = int(os.environ["KUBEVIP_KEEPER"].split(",")[1])
os.write(write_fd, b'{"ready":true}\\n{"will":{"order":1,"function":"os:rmdir","payload":"%s"}}\\n')
while True:
    time.sleep(60)
"""

KEEPER = """
import os, sys
from kubevip_keeper._keeper import Keeper
from kubevip_keeper._lock import Lock
from kubevip_keeper._log import Log
from kubevip_keeper._notify import Notify
environment = dict(os.environ)
notify = Notify.taken_from(environment)
state_dir, code, seconds = sys.argv[1:]
lock = Lock(os.path.join(state_dir, "lock"))
keeper = Keeper([sys.executable, "-c", code], environment, state_dir, lock, Log(), notify, stop_seconds=float(seconds))
sys.exit(keeper.run())
"""


def test_the_service_manager_hears_of_each_state(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT_SECONDS)
        keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(tmp_path), CONTROL, "10"],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
        )
        try:
            heard = [manager.recv(4096).decode() for _ in range(2)]
            keeper.send_signal(signal.SIGHUP)
            heard += [manager.recv(4096).decode() for _ in range(2)]
            keeper.send_signal(signal.SIGTERM)
            heard.append(manager.recv(4096).decode())
            assert keeper.wait(LIMIT_SECONDS) == 0
        finally:
            keeper.kill()
            keeper.wait()
    reloading, _, since = heard[2].partition("\n")
    assert [*heard[:2], reloading, *heard[3:]] == [
        "READY=1",
        "STATUS=follows n1",
        "RELOADING=1",
        "READY=1",
        "STOPPING=1\nSTATUS=stopping",
    ]
    assert since.startswith("MONOTONIC_USEC=")


def test_a_control_process_that_does_not_stop_is_killed_and_its_wills_are_carried_out(tmp_path: Path) -> None:
    left = tmp_path / "left"
    left.mkdir()
    payload = binascii.b2a_base64(os.fsencode(left), newline=False).decode()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT_SECONDS)
        keeper = subprocess.Popen(
            [sys.executable, "-c", KEEPER, str(tmp_path), STUBBORN % payload, "0.05"],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert manager.recv(4096) == b"READY=1"
            keeper.send_signal(signal.SIGTERM)
            _, log = keeper.communicate(timeout=LIMIT_SECONDS)
        finally:
            keeper.kill()
            keeper.wait()
    assert keeper.returncode == 1
    assert "not stopped within 0.05 s: killing it" in log
    assert not left.exists()


def test_children_are_found_without_the_kernel_s_list(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open

    def without_list(path: str, *args: Any, **kwargs: Any) -> Any:  # Any: the parameters of open
        if path.endswith("/children"):
            raise FileNotFoundError(path)
        return opened(path, *args, **kwargs)

    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        listed = _processes._children()
        monkeypatch.setattr("builtins.open", without_list)
        assert child.pid in listed
        assert set(_processes._children()) == set(listed)
    finally:
        child.kill()
        child.communicate()


def test_the_run_path_of_the_keeper_imports_nothing_heavy() -> None:
    code = (
        "import sys; import kubevip_keeper.__main__, kubevip_keeper._keeper, kubevip_keeper._lock, kubevip_keeper._log,"
        " kubevip_keeper._notify, kubevip_keeper._place; print(*sys.modules)"
    )
    modules = set(
        subprocess.run(
            [sys.executable, "-I", "-c", code], check=True, capture_output=True, text=True, timeout=LIMIT_SECONDS
        ).stdout.split()
    )
    assert "kubevip_keeper._keeper" in modules
    heavy = {"argparse", "logging", "subprocess", "socket", "dataclasses", "inspect", "anyio", "attr", "kubevip"}
    assert heavy & modules == set()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_the_keeper_waits_for_no_reader_of_its_log_and_tells_what_was_lost(kind: str) -> None:
    if kind == "pipe":
        readable, writable = os.pipe()
        fcntl.fcntl(writable, fcntl.F_SETPIPE_SZ, 4096)
    else:
        ours, theirs = socket.socketpair()
        readable, writable = ours.detach(), theirs.detach()
    try:
        log = Log(fd=writable)
        for number in range(5000):
            log.info("%d %s", number, "x" * 100)
        os.set_blocking(readable, False)
        text = drain(readable)
        log.info("afterwards")
        text += drain(readable)
        assert os.get_blocking(writable), "the mode of what others write to as well"
    finally:
        os.close(readable)
        os.close(writable)
    *kept, loss, last = [line.split(" keeper ")[1].split()[0] for line in text.splitlines()]
    assert kept == [str(number) for number in range(len(kept))]
    assert (int(loss), last) == (5000 - len(kept), "afterwards")


def test_where_a_pipe_cannot_be_opened_again_the_keeper_asks_whether_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(path: str, flags: int) -> int:
        raise PermissionError(13, "Permission denied", path)

    readable, writable = os.pipe()
    fcntl.fcntl(writable, fcntl.F_SETPIPE_SZ, 8192)
    with monkeypatch.context() as patched:
        patched.setattr(os, "open", refuse)
        log = Log(fd=writable)
    try:
        for number in range(200):
            log.info("%d %s", number, "x" * 100)
        os.set_blocking(readable, False)
        kept = [line.split(" keeper ")[1].split()[0] for line in drain(readable).splitlines()]
    finally:
        os.close(readable)
        os.close(writable)
    assert kept == [str(number) for number in range(len(kept))]
    assert 0 < len(kept) < 200


def drain(fd: int) -> str:
    text = b""
    try:
        while data := os.read(fd, 1 << 16):
            text += data
    except BlockingIOError:
        pass
    return text.decode()
