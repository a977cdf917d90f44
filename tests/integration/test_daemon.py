"""`kubevip run` on hosts of the lab, as an operator runs it: real keeper, kernel, sockets, files.

Each body runs in a sandbox of its own (namespaces that vanish with it) and returns what it saw.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.integration import looking

from kubevip.control import Client
from kubevip_lab import _sandbox
from kubevip_lab._daemon import Daemon
from kubevip_lab._host import DEVICE, Host
from kubevip_lab._kubevip import Kubevip, prepare_kubevip
from kubevip_lab._lab import BACKEND_PORT, VIP_PORT, Lab, open_lab
from kubevip_lab._lab import plan as lab_plan

pytestmark = [pytest.mark.netns, pytest.mark.slow]

VIP = "10.77.0.100"
DEADLINE_SECONDS = 20.0
eventually = partial(looking.eventually, seconds=DEADLINE_SECONDS)


def get(host: Host, port: int, address: str = VIP) -> str:
    """Ask over a new connection and return the body of the answer."""
    with host.entered(), socket.create_connection((address, port), timeout=2) as connection:
        return ask(connection)


def ask(connection: socket.socket) -> str:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: vip\r\nConnection: keep-alive\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.partition(b"\r\n\r\n")[2]:
        if not (data := connection.recv(4096)):
            break
        answer += data
    return answer.partition(b"\r\n\r\n")[2].decode().strip()


def addresses(host: Host) -> list[str]:
    return [
        entry["local"]
        for device in json.loads(looking.output(host, "ip", "-j", "address", "show"))
        for entry in device["addr_info"]
        if entry.get("family") == "inet"
    ]


def holders(lab: Lab) -> list[str]:
    return [name for name in lab.nodes if VIP in addresses(lab.network.hosts[name])]


def single(directory: Path, text: str) -> Callable[[Any, Any], Kubevip]:
    """One node with `text` as its file, which can be rewritten while it runs."""

    def make(network: Any, plan: Any) -> Kubevip:
        (directory / "config.yaml").write_text(text)
        return prepare_kubevip(network, plan, directory, config=directory / "config.yaml")

    return make


@contextmanager
def lab_of(nodes: int, directory: Path, text: str = "") -> Generator[tuple[Lab, Kubevip]]:
    subject: list[Kubevip] = []

    def make(network: Any, plan: Any) -> Kubevip:
        made = single(directory, text)(network, plan) if text else prepare_kubevip(network, plan, directory)
        subject.append(made)
        return made

    with open_lab(lab_plan(nodes=nodes, backends=2), make) as lab:
        yield lab, subject[0]


def status(subject: Kubevip, node: str = "n1") -> Any:
    return Client(subject.state[node]).request("status")


def balancer(name: str, port: int, *backends: int) -> str:
    listed = ", ".join(f"{{address: 10.77.0.{host}, port: {BACKEND_PORT}}}" for host in backends)
    return f"- {{name: {name}, type: tcp, port: {port}, bindTo: [web], backends: [{listed}]}}\n"


SINGLE = f"""\
apiVersion: kubevip/v1
elections: {{single: {{}}}}
virtualIPs:
- {{name: web, address: {VIP}, interface: {DEVICE}}}
loadBalancers:
"""


def test_a_new_file_changes_what_changed_and_a_bad_one_nothing(tmp_path: Path) -> None:
    """Scenarios 109, 110, 111, 114, 118: connections of what did not change go on, whatever the file does."""

    def body() -> dict[str, Any]:
        seen: dict[str, Any] = {}
        with lab_of(1, tmp_path, SINGLE + balancer("one", 80, 21)) as (lab, subject):
            file = tmp_path / "config.yaml"
            eventually(lambda: get(lab.client, 80), "an answer")
            with lab.client.entered():
                kept = socket.create_connection((VIP, 80), timeout=5)
            seen["before"] = ask(kept)
            since = status(subject)["vips"][0]["held_since"]

            replacement = tmp_path / "new.yaml"
            replacement.write_text(SINGLE + balancer("one", 80, 22) + balancer("two", 81, 21))
            replacement.rename(file)
            seen["added"] = eventually(lambda: get(lab.client, 81), "the added listener")
            seen["live"] = eventually(lambda: get(lab.client, 80), "the new backend")

            file.write_text(SINGLE + "- {name: one, type: tcp, port: seventy}\n")
            seen["refused"] = eventually(lambda: status(subject)["config"]["refused"], "a refusal")["problems"]
            seen["still"] = get(lab.client, 81)

            file.write_text(SINGLE + balancer("one", 80, 22))
            eventually(lambda: len(status(subject)["listeners"]) == 1, "the removal")
            seen["after"] = ask(kept)
            seen["since"] = status(subject)["vips"][0]["held_since"] == since
            kept.close()
        return seen

    seen = _sandbox.call(body)
    assert any("config.yaml:6: loadBalancers[0].port: expected an integer" in text for text in seen.pop("refused"))
    assert seen == {
        "before": "b1",
        "added": "b1",
        "live": "b2",
        "still": "b1",
        "after": "b1",
        "since": True,
    }


def test_a_changed_address_is_up_before_the_old_one_is_gone(tmp_path: Path) -> None:
    """Scenario 115."""

    def body() -> list[list[str]]:
        with lab_of(1, tmp_path, SINGLE + balancer("one", 80, 21)) as (lab, _):
            eventually(lambda: get(lab.client, 80), "an answer")
            file = tmp_path / "config.yaml"
            file.write_text(file.read_text().replace(VIP, "10.77.0.101"))
            node = lab.network.hosts["n1"]
            seen: list[list[str]] = []
            while not seen or seen[-1] != ["10.77.0.101"]:
                now = [address for address in addresses(node) if address.startswith("10.77.0.10")]
                if not seen or seen[-1] != now:
                    seen.append(now)
                assert len(seen) < 10
            eventually(lambda: get(lab.client, 80, "10.77.0.101"), "an answer from the new address")
        return seen

    seen = _sandbox.call(body)
    assert seen[0] == [VIP]
    assert [] not in seen


def test_a_stop_leaves_nothing_but_the_state_directory(tmp_path: Path) -> None:
    """Promise 3."""

    def body() -> dict[str, Any]:
        with lab_of(1, tmp_path, SINGLE + balancer("one", 80, 21)) as (lab, subject):
            eventually(lambda: get(lab.client, 80), "an answer")
            node, daemon = lab.network.hosts["n1"], subject.daemons["n1"]
            pids = daemon.tree()
            assert daemon.pid is not None
            signal.pidfd_send_signal(_pidfd(daemon.pid), signal.SIGTERM)
            exit_status = daemon.wait(10)
            return {
                "exit": exit_status,
                "addresses": VIP in addresses(node),
                "tables": looking.output(node, "nft", "list", "ruleset"),
                "sockets": looking.output(node, "ss", "-Hltn"),
                "processes": [pid for pid in pids if Path(f"/proc/{pid}").exists()],
                "socket file": (tmp_path / "n1" / "control.sock").exists(),
            }

    assert _sandbox.call(body) == {
        "exit": 0,
        "addresses": False,
        "tables": "",
        "sockets": "",
        "processes": [],
        "socket file": False,
    }


def test_what_counts_in_milliseconds_is_in_real_time_and_nothing_else_is(tmp_path: Path) -> None:
    """Every thread of a control process that keeps raft's default time; no worker, and not the keeper."""

    def policies(pid: int) -> list[str]:
        tasks = os.listdir(f"/proc/{pid}/task")
        real_time = {os.sched_getscheduler(int(task)) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO for task in tasks}
        return ["real time" if each else "ordinary" for each in real_time]

    def body() -> Any:
        with lab_of(3, tmp_path) as (lab, subject):
            eventually(lambda: get(lab.client, VIP_PORT), "an answer")
            control = subject.control_process("n1")
            assert control is not None
            eventually(lambda: policies(control) == ["real time"], "real time, as here it is permitted")

            def others() -> list[object]:
                pids = [pid for pid in subject.daemons["n1"].tree() if pid != control]
                return [(policies(pid), os.getpriority(os.PRIO_PROCESS, pid)) for pid in pids]

            return eventually(others, "none of them ending meanwhile")

    keeper, *workers = _sandbox.call(body)
    assert [keeper, *workers] == [[["ordinary"], 0]] * (1 + len(workers))
    assert workers


def test_a_node_whose_log_nobody_reads_goes_on_and_stops_as_asked(tmp_path: Path) -> None:
    """Its stderr is a pipe that was full before it began; neither keeper nor control process waits for room."""

    def body() -> dict[str, Any]:
        with lab_of(1, tmp_path, SINGLE + balancer("one", 80, 21)) as (lab, subject):
            node, daemon = lab.network.hosts["n1"], subject.daemons["n1"]
            daemon.kill()
            readable, writable = os.pipe()
            fcntl.fcntl(writable, fcntl.F_SETPIPE_SZ, 4096)
            os.write(writable, bytes(4096))
            process = node.start([*daemon.arguments, "--log-level", "debug"], output=writable)
            try:
                eventually(lambda: get(lab.client, 80), "an answer")
                for _ in range(400):  # each has the keeper and the control process say more than any pipe holds
                    process.send_signal(signal.SIGUSR1)
                    time.sleep(0.002)  # noqa: TID251 -- signals of one kind that wait are one signal
                answer = get(lab.client, 80)
                process.terminate()
                return {"answer": answer, "exit": process.wait(10), "held": VIP in addresses(node)}
            finally:
                process.kill()
                os.close(readable)
                os.close(writable)

    assert _sandbox.call(body) == {"answer": "b1", "exit": 0, "held": False}


def test_after_a_crash_nothing_answers_and_cleanup_removes_what_is_left(tmp_path: Path) -> None:
    """Scenario 36: the whole tree is killed; the kernel's fence shuts, whatever address is still there."""

    def body() -> dict[str, Any]:
        with lab_of(1, tmp_path, SINGLE + balancer("one", 80, 21)) as (lab, subject):
            eventually(lambda: get(lab.client, 80), "an answer")
            node, daemon = lab.network.hosts["n1"], subject.daemons["n1"]
            kubevip = [sys.executable, "-m", "kubevip"]
            place = ["--state-dir", str(tmp_path / "n1")]
            while_running = node.start([*kubevip, "cleanup", *place]).wait(20)
            daemon.kill()
            time.sleep(2.2)  # noqa: TID251 -- the longest lease of the election "single"
            with lab.client.entered():
                answer = subprocess.run(["ping", "-c", "2", "-W", "1", VIP], capture_output=True, check=False)
            left = looking.output(node, "nft", "list", "tables")
            said = looking.output(node, *kubevip, "cleanup", *place)
            return {
                "while running": while_running,
                "silent": answer.returncode != 0,
                "left": "kubevip_fence" in left,
                "said": "kubevip_fence" in said,
                "tables": looking.output(node, "nft", "list", "ruleset"),
                "address": VIP in addresses(node),
            }

    assert _sandbox.call(body) == {
        "while running": 1,
        "silent": True,
        "left": True,
        "said": True,
        "tables": "",
        "address": False,
    }


def test_two_instances_of_one_host_do_not_touch_each_other(tmp_path: Path) -> None:
    """Promise 4: one stops, the other's address, tables and connections stay."""

    def body() -> dict[str, Any]:
        with lab_of(1, tmp_path, SINGLE + balancer("one", 80, 21)) as (lab, subject):
            node = lab.network.hosts["n1"]
            second_file = tmp_path / "second.yaml"
            second_file.write_text(
                SINGLE.replace(VIP, "10.77.0.102").replace("web", "api")
                + balancer("other", 80, 22).replace("[web]", "[api]")
            )
            arguments = [sys.executable, "-m", "kubevip_keeper", "run", "--config", str(second_file)]
            arguments += ["--instance", "services", "--state-dir", str(tmp_path / "second"), "--plugins", "arp,tcp"]
            second = Daemon(host=node, arguments=arguments, log=tmp_path / "second.log")
            second.start()
            try:
                answers = [
                    eventually(lambda: get(lab.client, 80), "the first"),
                    eventually(lambda: get(lab.client, 80, "10.77.0.102"), "the second"),
                ]
                since = status(subject)["vips"][0]["held_since"]
                tables = looking.output(node, "nft", "list", "tables")
                assert second.pid is not None
                signal.pidfd_send_signal(_pidfd(second.pid), signal.SIGTERM)
                second.wait(10)
            finally:
                second.kill()
            return {
                "answers": answers,
                "tables": [name in tables for name in ("kubevip_fence_default", "kubevip_fence_services")],
                "first": get(lab.client, 80),
                "since": status(subject)["vips"][0]["held_since"] == since,
                "after": "kubevip_fence_services" in looking.output(node, "nft", "list", "tables"),
            }

    assert _sandbox.call(body) == {
        "answers": ["b1", "b2"],
        "tables": [True, True],
        "first": "b1",
        "since": True,
        "after": False,
    }


def test_an_address_that_is_removed_by_hand_comes_back(tmp_path: Path) -> None:
    """Scenario 39."""

    def body() -> bool:
        with lab_of(1, tmp_path, SINGLE + balancer("one", 80, 21)) as (lab, _):
            eventually(lambda: get(lab.client, 80), "an answer")
            node = lab.network.hosts["n1"]
            looking.output(node, "ip", "address", "del", f"{VIP}/32", "dev", DEVICE)
            eventually(lambda: VIP in addresses(node), "the address")
            return bool(eventually(lambda: get(lab.client, 80), "an answer"))

    assert _sandbox.call(body)


def test_a_minority_gives_the_address_up_and_one_holder_is_left_after_healing(tmp_path: Path) -> None:
    """Scenarios 4, 6, 34: the holder is cut off from the others, though not from clients."""

    def body() -> dict[str, Any]:
        with lab_of(3, tmp_path) as (lab, _):
            first = eventually(lambda: holders(lab), "a holder")[0]
            others = [name for name in lab.nodes if name != first]
            lab.network.partition(first, others)
            second = eventually(lambda: [name for name in holders(lab) if name != first], "a successor")[0]
            apart = holders(lab)
            lab.network.heal()
            time.sleep(1.5)  # noqa: TID251 -- several election timeouts
            return {"apart": apart == [second], "healed": holders(lab) == [second]}

    assert _sandbox.call(body) == {"apart": True, "healed": True}


def test_successors_that_die_are_succeeded_until_the_majority_is_gone(tmp_path: Path) -> None:
    """Scenarios 25, 27: five nodes, the holder killed again and again; with two left nobody holds."""

    def body() -> dict[str, Any]:
        with lab_of(5, tmp_path) as (lab, subject):
            gone: list[str] = []
            for _ in range(3):
                holder = eventually(
                    lambda: [name for name in holders(lab) if name not in gone], "a holder among the living"
                )[0]
                subject.daemons[holder].kill()
                gone.append(holder)
            time.sleep(3)  # noqa: TID251 -- many election timeouts
            living = [name for name in lab.nodes if name not in gone]
            return {"different": len(set(gone)), "held": [name for name in holders(lab) if name in living]}

    assert _sandbox.call(body) == {"different": 3, "held": []}


def _pidfd(pid: int) -> int:
    return os.pidfd_open(pid)
