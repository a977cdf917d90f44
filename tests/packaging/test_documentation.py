"""The documentation says what is there: links lead somewhere, examples work, no key, hook or option is left out."""

from __future__ import annotations

import argparse
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from kubevip import Desired, Kind, hookspecs
from kubevip._cli import _make_parser
from kubevip._conversion import key_of
from kubevip._plugins import PluginRegistry
from kubevip_keeper._exit_status import BAD_RESULT, NO_DAEMON, NOT_PERMITTED, REFUSED, USAGE
from kubevip_source_file import _environment, _native, _original
from kubevip_source_file._reading import read_configuration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kubevip.abc import AnyProvider

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")])

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(page: str, language: str) -> list[str]:
    return [body for found, body in _FENCED.findall(text_of(page)) if found == language]


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def code_words(page: str) -> set[str]:
    """Everything that stands in backquotes, taken apart: `vip`, `loadBalancers[].port`."""
    quoted = re.findall(r"`([^`\n]+)`", _FENCED.sub("", text_of(page)))
    return {word for part in quoted for word in re.findall(r"[A-Za-z][\w-]*", part)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    broken: list[str] = []
    for target in _LINK.findall(_FENCED.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path) if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            broken.append(target)
    assert broken == []


def test_every_page_can_be_reached_from_the_index() -> None:
    linked = set(_LINK.findall(text_of("docs/index.md")))
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages <= linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_has_a_place_left_to_fill(page: Path) -> None:
    # a mark stands right above the block that it was filled with
    assert re.findall(r"<!--.*?-->(?!\n+```)", page.read_text()) == []


# Configuration


def whole_files(page: str) -> Iterator[str]:
    for block in blocks(page, "yaml"):
        if re.search(r"^(apiVersion|localPeer|singleNode|vip):", block, re.MULTILINE):
            yield block


@pytest.mark.parametrize(
    "page", ["docs/configuration.md", "docs/getting-started.md", "docs/kubernetes.md", "README.md"]
)
def test_configuration_files_in_the_documentation_are_accepted(page: str) -> None:
    files = list(whole_files(page))
    assert files
    for text in files:
        desired, warnings = read_configuration(text.encode(), "example.yaml", {})
        assert isinstance(desired, Desired)
        assert desired.vips
        assert warnings == ()


def keys_of(cls: type) -> set[str]:
    return {key_of(field) for field in attrs.fields(attrs.resolve_types(cls)) if field.init}


@pytest.mark.parametrize(
    "cls",
    [
        _original.OriginalFile,
        _original.OriginalPeer,
        _original.OriginalLoadBalancer,
        _native.NativeFile,
        _native.NativeGroup,
        _native.NativeVirtualIP,
        _native.NativeBackend,
        _native.NativeLoadBalancer,
    ],
    ids=lambda cls: cls.__name__,
)
def test_every_key_of_both_formats_is_documented(cls: type[Any]) -> None:
    assert keys_of(cls) - code_words("docs/configuration.md") == set()


def test_every_variable_of_the_original_format_is_documented() -> None:
    names = {*_environment.OVERRIDES, *_environment.OBSOLETE}
    assert names - code_words("docs/configuration.md") == set()


def test_every_key_that_comes_later_is_documented() -> None:
    assert {key[-1] for key in _native.LATER} - code_words("docs/configuration.md") == set()


def providers() -> list[tuple[Kind, AnyProvider]]:
    registry = PluginRegistry.load()
    return [(kind, provider) for kind in Kind for provider in registry.providers(kind).values()]


@pytest.mark.parametrize(
    ("kind", "provider"), providers(), ids=lambda it: it.value if isinstance(it, Kind) else it.name
)
def test_every_key_of_every_provider_is_documented(kind: Kind, provider: AnyProvider) -> None:
    words = code_words("docs/configuration.md")
    if kind is Kind.SOURCE:
        return  # the file is named on the command line
    keys = keys_of(provider.config) | (keys_of(provider.options) if provider.options is not None else set())
    assert keys - words == set()
    assert provider.name in words


# Commands


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every subcommand of the core and of the installed plugins, and theirs, each with its parser."""
    waiting = [("kubevip", _make_parser().whole)]
    for name, command in PluginRegistry.load().commands().items():
        parser = argparse.ArgumentParser(name)
        command.configure(parser)
        waiting.append((f"kubevip {name}", parser))
    while waiting:
        name, parser = waiting.pop()
        yield name, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += [(f"{name} {inner}", made) for inner, made in action.choices.items()]


def test_every_command_is_documented() -> None:
    page = text_of("docs/commands.md")
    assert [name for name, _ in parsers() if name not in page] == []


def test_every_option_is_documented() -> None:
    documented = set(re.findall(r"--[a-z][a-z-]*", text_of("docs/commands.md")))
    options = {
        (name, option)
        for name, parser in parsers()
        for action in parser._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    assert options
    assert sorted((name, option) for name, option in options if option not in documented) == []


def test_no_option_is_documented_that_is_not_there() -> None:
    existing = {option for _, parser in parsers() for action in parser._actions for option in action.option_strings}
    assert set(re.findall(r"--[a-z][a-z-]*", text_of("docs/commands.md"))) - existing == set()


def test_every_variable_of_the_environment_is_documented() -> None:
    source = "".join(file.read_text() for file in (ROOT / "core" / "src").glob("*/*.py"))
    internal = set(re.findall(r'"(KUBEVIP_[A-Z_]+)"', (ROOT / "core/src/kubevip_keeper/_protocol.py").read_text()))
    names = {name for name in re.findall(r'"(KUBEVIP_[A-Z_]+)"', source)} - internal
    assert names
    assert names - code_words("docs/commands.md") == set()


def test_exit_statuses_are_documented_as_they_are() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (.*?) \|$", text_of("docs/commands.md"), re.MULTILINE))
    assert set(table) == {"0", *map(str, (BAD_RESULT, USAGE, NO_DAEMON, NOT_PERMITTED, REFUSED))}


# Plugins


def test_every_hook_is_documented() -> None:
    hooks = {name for name, _ in inspect.getmembers(hookspecs, inspect.isfunction) if name.startswith("kubevip_")}
    assert hooks
    assert hooks - code_words("docs/plugins.md") == set()


def test_the_plugin_of_the_documentation_is_one(tmp_path: Path) -> None:
    package = tmp_path / "kubevip_agent_heartbeat"
    package.mkdir()
    (package / "__init__.py").touch()
    page = text_of("docs/plugins.md")
    written = re.findall(
        r"`src/(\S+?\.py)`[^`]*(?:`[^`\n]+`[^`]*)*```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL
    )
    assert [path for path, _ in written] == [
        "kubevip_agent_heartbeat/plugin.py",
        "kubevip_agent_heartbeat/_heartbeat.py",
    ]
    for path, code in written:
        (tmp_path / path).write_text(code)
    (tmp_path / "test_it.py").write_text(blocks("docs/plugins.md", "python")[-1])
    (tmp_path / "run_it.py").write_text(
        """
import sys
from pathlib import Path
import anyio, yaml
from kubevip import Section, structure
from kubevip.testing import make_host
from kubevip_agent_heartbeat.plugin import HEARTBEAT
import test_it

test_it.test_plugin()
data = yaml.safe_load(sys.stdin)["agents"]["heartbeat"]
path = Path("alive").absolute()
config = structure(Section(provider="heartbeat", data={**data, "path": str(path)}), HEARTBEAT.config)

async def main():
    health = []
    async with HEARTBEAT.open(config, make_host(Path.cwd())) as agent:
        with anyio.move_on_after(5):
            async with anyio.create_task_group() as tg:
                def report(now):
                    health.append(now)
                    tg.cancel_scope.cancel()
                tg.start_soon(agent.run, report)
        assert path.exists()
    assert not path.exists() and health and not health[0].reason

anyio.run(main)
"""
    )
    (configured,) = (block for block in blocks("docs/plugins.md", "yaml") if "heartbeat" in block)
    result = subprocess.run(
        [sys.executable, "run_it.py"],
        input=configured,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
