from __future__ import annotations

import os
import signal
import subprocess
import sys
from ipaddress import IPv4Interface
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kubevip import Command, Interface, Machine, __version__
from kubevip._cli import main
from kubevip._plugins import PluginRegistry
from kubevip.control import Client
from kubevip.errors import (
    ConfigError,
    ControlError,
    KubevipError,
    NoDaemonError,
    NotPermittedError,
    PluginError,
)

if TYPE_CHECKING:
    import argparse

    from kubevip._options import Options

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubevip._survey.read_machine", lambda: Machine(host_name="elsewhere"))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("KUBEVIP_", "vip_", "lb_")) or name == "NODE_NAME"]:
        monkeypatch.delenv(name)


def fresh_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"kubevip {__version__}\n"


def test_the_module_is_the_command() -> None:
    assert fresh_process("-m", "kubevip", "version").stdout == f"kubevip {__version__}\n"


def test_no_command_is_a_usage_error_that_lists_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr().err
    for name in (
        "run",
        "check",
        "plan",
        "plugins",
        "sample",
        "status",
        "move",
        "drain",
        "reload",
        "cleanup",
        "version",
    ):
        assert f"    {name}" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["version", "extra"],
        ["sample"],
        ["move", "api"],
        ["run", "--conf", "x"],
        ["check", "x", "--instance", "Not/valid"],
        ["run", "--log-level", "loud"],
        ["run", "--log-format", "xml"],
    ],
)
def test_usage_errors_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["status", "--jsn"], ["version", "extra"], ["move", "api"], ["raft", "--bad"]])
def test_a_usage_error_shows_the_usage_of_its_command(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith(f"usage: kubevip {arguments[0]} ")


def test_help_is_good(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--help"]) == 0
    assert "--node" in capsys.readouterr().out


def test_a_wrong_variable_is_a_usage_error_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBEVIP_LOG_LEVEL", "loud")
    assert main(["version"]) == 2
    assert "KUBEVIP_LOG_LEVEL: expected one of debug, info, warning, error, got 'loud'" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--native"]])
def test_the_samples_are_accepted_by_check(form: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", "config", *form]) == 0
    file = tmp_path / "config.yaml"
    file.write_text(capsys.readouterr().out)
    assert main(["check", str(file)]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith(f"ok: config.yaml: {'native' if form else 'original'}, 1 group, 1 virtual IP, 2 load balan")


@pytest.mark.parametrize("name", ["config.yaml", "address.yaml", "original.yaml"])
def test_the_examples_are_accepted_by_check(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLES / name)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"ok: {name}: ")


def test_check_prints_every_problem_at_its_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("vip: 10.0.0.9/32\nloadBalancers:\n- {type: tcp, port: 70000}\n- {typ: tcp, port: 80}\n")
    assert main(["check", str(file)]) == 78
    assert capsys.readouterr().out.splitlines() == [
        f'{file}:1: vip: expected an IPv4 or IPv6 address, got "10.0.0.9/32" (without a prefix length)',
        f"{file}:3: loadBalancers[0].port: expected an integer 1-65535, got 70000",
        f'{file}:4: loadBalancers[1]: missing required key "type"',
        f'{file}:4: loadBalancers[1].typ: unknown key, did you mean "type"?',
        "refused: 4 problems",
    ]


def test_check_tells_problems_of_items_and_of_sections_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(
        "apiVersion: kubevip/v1\n"
        "elections: {single: {speed: 3}}\n"
        "announcers: {arp: {count: many}}\n"
        "loadBalancers: [{name: a, type: tpc, port: 80, bindTo: all, backends: [{address: 10.0.0.1, port: 81}]}]\n"
    )
    assert main(["check", str(file)]) == 78
    shown = capsys.readouterr().out
    assert f"{file}:2: elections.single.speed: unknown key\n" in shown
    assert f'{file}:3: announcers.arp.count: expected an integer, got "many"\n' in shown
    assert f"{file}:4: loadBalancers[0].type: no plugin provides the proxy 'tpc' (there is tcp)\n" in shown


def test_an_interface_that_is_missing_here_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("vip: 192.0.2.9\nsingleNode: true\ninterface: nosuch0\n")
    assert main(["check", str(file)]) == 0
    shown = capsys.readouterr().out
    assert f"{file}:3: interface: warning: nosuch0 does not exist on this machine" in shown
    assert "\nok: " in shown


def test_check_and_plan_read_the_environment_where_there_is_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("vip_interface", "lo")
    assert main(["check", "--plugins", "k8s,arp,tcp"]) == 0
    assert capsys.readouterr().out.startswith("ok: environment: no groups")
    assert main(["plan", "--plugins", "k8s,arp,tcp"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("environment: ")
    assert "sources     k8s  the entries of ConfigMap default/plndr\n" in printed
    assert "held by Lease default/plunder-lock; announced by address; balanced by kubevip's listeners" in printed


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_a_configuration_that_is_not_there_is_refused(command: str, tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    arguments = [command, str(path)] if command != "run" else [command, "--config", str(path)]
    found = fresh_process("-c", f"import sys; from kubevip._cli import main; sys.exit(main({arguments!r}))")
    assert found.returncode == 78
    assert f"{path}: cannot be read: No such file or directory" in found.stdout + found.stderr


def test_without_a_name_the_configuration_has_its_usual_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kubevip._options.DEFAULT_CONFIG", tmp_path / "none")
    assert main(["check"]) == 78
    assert f"{tmp_path / 'none'}: cannot be read" in capsys.readouterr().out


def test_the_configuration_may_be_named_by_the_environment(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBEVIP_CONFIG", str(EXAMPLES / "config.yaml"))
    assert main(["check"]) == 0
    assert "config.yaml: native" in capsys.readouterr().out


def test_only_selected_plugins_are_used(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLES / "config.yaml"), "--plugins", "raft,arp"]) == 78
    assert "proxy 'tcp' is installed but not loaded; add it to --plugins" in capsys.readouterr().out
    assert main(["check", str(EXAMPLES / "config.yaml"), "--plugins", "raft,arp,tcp"]) == 0


def test_an_unknown_plugin_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(EXAMPLES / "config.yaml"), "--plugins", "rats"]) == 78
    assert "'rats'" in capsys.readouterr().err


def test_plugins_lists_what_is_provided(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "--check"]) == 0
    rows = [line.split()[:3] for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["KIND", "NAME", "DISTRIBUTION"]
    assert ["election", "single", "kubevip-core"] in rows
    assert ["source", "file", "kubevip-source-file"] in rows


def test_plugins_tells_of_broken_ones(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    error = PluginError("bad", "someone-else", "cannot be imported: ImportError: x")
    monkeypatch.setattr(PluginRegistry, "load", classmethod(lambda cls, select=None: cls([], [error])))
    assert main(["plugins"]) == 0
    assert main(["plugins", "--check"]) == 78
    assert "broken: plugin 'bad' of someone-else: cannot be imported: ImportError: x\n" in capsys.readouterr().out


def test_plan_shows_what_would_be_here(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(EXAMPLES / "config.yaml"), "--node", "n2"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("config.yaml: native, 1 group, 2 virtual IPs, 2 load balancers. Node n2 (192.168.0.71, ")
    for words in (
        "\nelections   raft  n2 of n1 n2 n3, quorum 2",
        "\nwhile leading api   ",
        "6443/tcp",
        "\nfirewall    in 10000/tcp",
    ):
        assert words in shown


def test_plan_refuses_to_guess_which_node_this_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(EXAMPLES / "config.yaml")]) == 78
    shown = capsys.readouterr().out
    assert "n1 192.168.0.70, n2 192.168.0.71, n3 192.168.0.72" in shown
    assert "--node" in shown


def test_keys_with_which_the_daemon_here_would_not_start_are_an_error_of_check_and_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    n1 = Machine(interfaces=(Interface(name="e0", addresses=(IPv4Interface("192.168.0.70/24"),)),))
    monkeypatch.setattr("kubevip._survey.read_machine", lambda: n1)
    text = (EXAMPLES / "address.yaml").read_text().replace("members:", f"pki: {tmp_path}\n    members:")
    (tmp_path / "local.yaml").write_text(text)
    file = str(tmp_path / "local.yaml")
    for command in ("check", "plan"):
        assert main([command, file, "--node", "n1"]) == 78
        assert "there are no keys" in capsys.readouterr().out
        assert main([command, file, "--node", "n1", "--insecure"]) == 0
    capsys.readouterr()
    assert main(["check", file, "--node", "n2"]) == 0  # whose keys are not here
    assert "warning: " in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["status"], ["status", "--json"], ["move", "api", "n2"], ["drain"], ["drain", "--undo"], ["reload"]]
)
def test_without_a_daemon_its_commands_exit_with_69(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--state-dir", str(tmp_path)]) == 69
    assert "no daemon answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["move", "api", "n2"], ("move", {"group": "api", "to": "n2"})),
        (["drain"], ("drain", {"undo": False})),
        (["drain", "--undo"], ("drain", {"undo": True})),
        (["reload"], ("reload", {})),
    ],
)
def test_commands_ask_the_daemon_of_the_instance(
    arguments: list[str],
    request_: tuple[str, dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[object] = []

    def request(self: Client, verb: str, args: object) -> str:
        asked.append((str(self.path), verb, args))
        return "as you wish"

    monkeypatch.setattr(Client, "request", request)
    assert main([*arguments, "--instance", "web"]) == 0
    assert asked == [("/var/lib/kubevip-web/control.sock", *request_)]
    assert capsys.readouterr().out == "as you wish\n"


def test_cleanup_of_nothing_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cleanup", "--plugins", "raft", "--state-dir", str(tmp_path / "none")]) == 0
    assert capsys.readouterr().out == "instance default left nothing behind\n"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError([]), 78),
        (PluginError("a", "b", "c"), 78),
        (NotPermittedError("no"), 77),
        (NoDaemonError("no"), 69),
        (ControlError("no"), 1),
        (KubevipError("no"), 1),
        (BrokenPipeError(), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_have_their_exit_statuses(error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(parsed: argparse.Namespace, options: Options) -> int:
        raise error

    monkeypatch.setattr("kubevip._commands.version", fail)
    monkeypatch.setattr("os.dup2", lambda old, new: new)
    assert main(["version"]) == status


def test_a_daemon_that_cannot_have_its_control_socket_says_so_in_one_line_and_may_be_started_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.yaml").write_text("apiVersion: kubevip/v1\n")
    (tmp_path / "control.sock").write_text("")
    code = (
        "import os, sys; from kubevip._cli import main; (heard, _), (_, said) = os.pipe(), os.pipe()\n"
        "owed, owes = os.pipe(); os.environ['KUBEVIP_KEEPER'] = f'{heard},{said},{owed},{owes}'\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    found = fresh_process(
        "-c", code, "run", "--config", str(tmp_path / "config.yaml"), "--state-dir", str(tmp_path), "--node", "n1"
    )
    assert found.returncode == 1  # 77 and 78 would keep it down for good
    assert "kubevip: control socket" in found.stderr
    assert "something else is there; remove it" in found.stderr
    assert "Traceback" not in found.stderr


def test_a_daemon_without_a_keeper_ends_although_something_of_it_hangs(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("apiVersion: kubevip/v1\n")
    code = """
import os, sys
from anyio import CancelScope, sleep_forever
import kubevip._app as app
from kubevip._cli import main

async def hang(reconciler, wanted):
    with CancelScope(shield=True):
        await sleep_forever()

app.Reconciler.run, app.HARD_STOP_SECONDS = hang, 1
(heard, keeper), (_, said), (owed, owes) = os.pipe(), os.pipe(), os.pipe()
os.close(keeper)
os.environ["KUBEVIP_KEEPER"] = f"{heard},{said},{owed},{owes}"
sys.exit(main(sys.argv[1:]))
"""
    found = fresh_process(
        "-c", code, "run", "--config", str(tmp_path / "config.yaml"), "--state-dir", str(tmp_path), "--node", "n1"
    )
    assert found.returncode == -signal.SIGALRM
    assert "the keeper is gone" in found.stderr


def test_plugins_add_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def say(parsed: argparse.Namespace, client: Client) -> int:
        print(parsed.word, client.path)
        return 3

    def take_word(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("word")

    hello = Command(name="hello", summary="say a word", configure=take_word, run=say)
    clash = Command(name="run", summary="run away", configure=lambda it: None, run=say)
    monkeypatch.setattr(PluginRegistry, "commands", lambda self: {"hello": hello, "run": clash})
    assert main(["hello", "there", "--state-dir", "/tmp/x"]) == 3
    shown = capsys.readouterr()
    assert shown.out == "there /tmp/x/control.sock\n"
    assert "'run' is left out" in shown.err


def test_the_cheap_commands_import_nothing_heavy() -> None:
    code = (
        "import sys; from kubevip._cli import main; main(['version']); main(['sample', 'config'])\n"
        "heavy = {'cattrs', 'yaml', 'pyroute2', 'scapy', 'kubevip._app', 'kubevip._plugins'} & set(sys.modules)\n"
        "print('heavy:', *sorted(heavy - {'cattrs'}))"
    )
    assert fresh_process("-c", code).stdout.endswith("heavy:\n")


def test_a_reader_that_leaves_is_no_traceback() -> None:
    command = f"{sys.executable} -m kubevip sample config | head -c 1"
    found = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert found.stderr == ""
