"""The control socket: the real server and the real client, and what others might send."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import create_task_group, fail_after, to_thread
from hypothesis import given
from hypothesis import strategies as st

from kubevip import _control
from kubevip._control import Request, parse_request, serve
from kubevip.control import REQUEST_LIMIT, Client
from kubevip.errors import ControlError, ElectionError, NoDaemonError
from kubevip_keeper._lines import LineBuffer, LineError

if TYPE_CHECKING:
    from collections.abc import Callable

anyio_test = pytest.mark.anyio


async def in_thread(call: Callable[[], object]) -> object:
    with fail_after(20):
        return await to_thread.run_sync(call)


async def echo(request: Request) -> object:
    match request.verb:
        case "refuse":
            raise ElectionError("group 'api': nobody else is fit")
        case "break":
            raise LookupError("secret detail")
        case "unserialisable":
            return object()
        case "hang":
            await anyio.sleep_forever()
        case "large":
            return ["x" * 1000] * 5000
    return {"verb": request.verb, "args": dict(request.args), "kind": request.kind, "name": request.name}


@anyio_test
async def test_a_request_reaches_the_instance_that_it_names(tmp_path: Path) -> None:
    async with serve(tmp_path / "control.sock", echo):
        client = Client(tmp_path)
        answer = await in_thread(lambda: client.request("add", {"member": "n4"}, ("election", "raft")))
        assert answer == {"verb": "add", "args": {"member": "n4"}, "kind": "election", "name": "raft"}
        assert await in_thread(lambda: client.request("status")) == {
            "verb": "status",
            "args": {},
            "kind": None,
            "name": None,
        }


@anyio_test
async def test_the_socket_is_private_and_gone_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    umask = os.umask(0)
    try:
        async with serve(path, echo):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    finally:
        os.umask(umask)
    assert os.listdir(tmp_path) == []


@anyio_test
async def test_a_refusal_is_the_daemon_s_own_words(tmp_path: Path) -> None:
    async with serve(tmp_path / "control.sock", echo):
        with pytest.raises(ControlError, match=r"^group 'api': nobody else is fit$"):
            await in_thread(lambda: Client(tmp_path).request("refuse"))


@anyio_test
@pytest.mark.parametrize("verb", ["break", "unserialisable"])
async def test_a_request_that_breaks_is_logged_and_the_daemon_goes_on(
    tmp_path: Path, verb: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(tmp_path / "control.sock", echo):
        with caplog.at_level(logging.ERROR, "kubevip.control"), pytest.raises(ControlError) as caught:
            await in_thread(lambda: Client(tmp_path).request(verb))
        assert "internal error" in str(caught.value)
        assert "secret detail" not in str(caught.value)
        assert [record.exc_info is not None for record in caplog.records] == [True]
        assert await in_thread(lambda: Client(tmp_path).request("next"))


def test_a_daemon_that_is_stopped_is_no_daemon_that_answers_and_its_process_is_named(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as stopped:
        stopped.bind(str(tmp_path / "control.sock"))
        stopped.listen()
        message = rf"not answered within 0\.05 s; its process, pid {os.getpid()}, may be stopped"
        with pytest.raises(NoDaemonError, match=message):
            Client(tmp_path, timeout_seconds=0.05).request("status")


@anyio_test
async def test_a_request_that_hangs_is_ended(tmp_path: Path) -> None:
    async with serve(tmp_path / "control.sock", echo, answer_seconds=0.05):
        with pytest.raises(ControlError, match=r"^hang: not done within 0.05 s$"):
            await in_thread(lambda: Client(tmp_path).request("hang"))


@anyio_test
async def test_requests_that_hang_are_cancelled_when_the_server_ends(tmp_path: Path) -> None:
    outcomes: list[str] = []

    async def ask() -> None:
        try:
            await in_thread(lambda: Client(tmp_path).request("hang"))
        except (ControlError, NoDaemonError) as exc:
            outcomes.append(str(exc))

    began = anyio.Event()

    async def hang(request: Request) -> object:
        began.set()
        return await echo(request)

    async with create_task_group() as tg:
        async with serve(tmp_path / "control.sock", hang):
            tg.start_soon(ask)
            with fail_after(10):
                await began.wait()
    assert len(outcomes) == 1


@anyio_test
async def test_an_answer_may_be_larger_than_a_socket_s_buffer(tmp_path: Path) -> None:
    async with serve(tmp_path / "control.sock", echo):
        answer = await in_thread(lambda: Client(tmp_path).request("large"))
        assert answer == ["x" * 1000] * 5000


@anyio_test
async def test_clients_are_served_side_by_side_and_more_than_the_limit_wait(tmp_path: Path) -> None:
    count = _control.CONNECTION_LIMIT + 5
    meeting, busy, most = anyio.Event(), 0, 0

    async def meet(request: Request) -> object:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        if busy == _control.CONNECTION_LIMIT:
            meeting.set()
        await meeting.wait()
        busy -= 1
        return request.args["number"]

    answers: set[object] = set()

    async def ask(number: int) -> None:
        answers.add(await in_thread(lambda: Client(tmp_path).request("meet", {"number": number})))

    async with serve(tmp_path / "control.sock", meet), create_task_group() as tg:
        for number in range(count):
            tg.start_soon(ask, number)
    assert answers == set(range(count))
    assert most == _control.CONNECTION_LIMIT


def test_a_client_beyond_all_queues_is_told_to_try_again(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as full, socket.socket(socket.AF_UNIX) as first:
        full.bind(str(path))
        full.listen(0)
        first.connect(str(path))
        with pytest.raises(ControlError, match="is busy: too many clients wait; try again"):
            Client(tmp_path, timeout_seconds=5).request("status")


@anyio_test
async def test_without_descriptors_a_client_waits_and_the_daemon_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept, left = socket.socket.accept, [2]

    def exhausted(listening: socket.socket) -> tuple[socket.socket, object]:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(listening)

    monkeypatch.setattr(_control, "EXHAUSTED_SECONDS", 0.01)
    monkeypatch.setattr(socket.socket, "accept", exhausted)
    async with serve(tmp_path / "control.sock", echo):
        assert await in_thread(lambda: Client(tmp_path).request("status"))
    assert "Too many open files" in caplog.text


@anyio_test
async def test_a_silent_client_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serve(path, echo, idle_seconds=0.05):
        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(str(path))
            silent.settimeout(10)
            silent.sendall(b'{"verb":')
            assert await in_thread(lambda: silent.recv(1)) == b""


@anyio_test
async def test_a_line_that_is_too_long_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    def ask() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            try:
                client.sendall(b"x" * (REQUEST_LIMIT * 4))
            except ConnectionError:
                pass
            return client.recv(4096)

    async with serve(path, echo):
        answer = await in_thread(ask)
        assert isinstance(answer, bytes)
        assert json.loads(answer) == {"error": f"the request is refused: a line is longer than {REQUEST_LIMIT} bytes"}


def test_a_request_that_is_too_large_is_refused_by_the_client(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="larger than 65536 bytes"):
        Client(tmp_path).request("add", {"x": "x" * REQUEST_LIMIT})


@anyio_test
async def test_a_path_that_no_socket_address_can_hold_works(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    async with serve(folder / "control.sock", echo):
        assert (folder / "control.sock").is_socket()
        assert await in_thread(lambda: Client(folder).request("status"))
        with pytest.raises(ControlError, match="another daemon answers there"):
            async with serve(folder / "control.sock", echo):
                pass
    with pytest.raises(NoDaemonError):
        await in_thread(lambda: Client(folder).request("status"))


@anyio_test
async def test_the_socket_of_a_dead_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NoDaemonError, match="is `kubevip run` running"):
        await in_thread(lambda: Client(tmp_path).request("status"))
    async with serve(path, echo):
        assert await in_thread(lambda: Client(tmp_path).request("status"))


@anyio_test
async def test_the_socket_of_a_living_process_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serve(path, echo):
        with pytest.raises(ControlError, match="another daemon answers there"):
            async with serve(path, echo):
                pass
        assert await in_thread(lambda: Client(tmp_path).request("status"))


@anyio_test
async def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(ControlError, match="something else is there"):
        async with serve(path, echo):
            pass
    assert path.read_text() == "mine"


@anyio_test
async def test_the_file_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with serve(path, echo):
        path.unlink()
        path.write_text("successor")
    assert path.read_text() == "successor"


@anyio_test
@pytest.mark.skipif(os.geteuid() != 0, reason="another user is needed")
async def test_another_user_is_refused_by_the_kernel_s_word(tmp_path: Path) -> None:
    """The file is opened to all, so that the credentials alone decide."""
    path = tmp_path / "control.sock"
    for folder in (path.parent, *path.parents):
        if folder.is_relative_to("/tmp") and folder != Path("/tmp"):
            folder.chmod(0o755)

    def ask_as_nobody() -> bytes:
        received, sent = os.pipe()
        if (pid := os.fork()) == 0:
            try:
                os.setresuid(65534, 65534, 65534)
                with socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(10)
                    client.connect(f"/proc/self/fd/{folder_fd}/control.sock")
                    os.write(sent, client.recv(4096))
            except OSError as exc:
                os.write(sent, str(exc).encode())
            finally:
                os._exit(0)
        os.close(sent)
        try:
            os.waitpid(pid, 0)
            return os.read(received, 4096)
        finally:
            os.close(received)

    async with serve(path, echo):
        path.chmod(0o666)
        folder_fd = os.open(path.parent, os.O_RDONLY)
        try:
            answer = await in_thread(ask_as_nobody)
        finally:
            os.close(folder_fd)
    assert answer == b'{"error":"only root and the daemon\'s own user may use the control socket"}\n'


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
REQUEST_LIKE = st.fixed_dictionaries(
    {},
    optional={
        "verb": st.text() | JSON,
        "args": JSON,
        "target": JSON | st.fixed_dictionaries({}, optional={"kind": st.text() | JSON, "name": st.text() | JSON}),
    },
)


@given(st.binary(max_size=200) | (JSON | REQUEST_LIKE).map(lambda value: json.dumps(value).encode()))
def test_any_line_is_a_request_or_refused(line: bytes) -> None:
    try:
        request = parse_request(line)
    except ControlError:
        return
    assert request.verb
    assert (request.kind is None) == (request.name is None)
    assert all(isinstance(key, str) for key in request.args)


@pytest.mark.parametrize(
    "line", [b"[" * 60_000, b'{"verb":' * 8_000, b'{"verb":"a","args":{"n":' + b"9" * 5_000 + b"}}"]
)
def test_lines_that_exhaust_a_parser_are_refused(line: bytes) -> None:
    with pytest.raises(ControlError):
        parse_request(line)


@given(st.lists(st.binary(max_size=12).filter(lambda line: b"\n" not in line), max_size=8), st.data())
def test_lines_are_the_same_however_the_stream_is_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    buffer, received, at = LineBuffer(12), list[bytes](), 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        received += buffer.feed(stream[at : at + size])
        at += size
    assert received == lines


@given(st.binary(max_size=60), st.integers(1, 10), st.integers(1, 7))
def test_a_line_above_the_limit_is_never_kept(stream: bytes, limit: int, size: int) -> None:
    is_too_long = any(len(line) > limit for line in stream.split(b"\n"))
    buffer = LineBuffer(limit)
    try:
        for at in range(0, len(stream), size):
            buffer.feed(stream[at : at + size])
    except LineError:
        assert is_too_long
    else:
        assert not is_too_long
