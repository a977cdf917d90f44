from __future__ import annotations

from contextlib import asynccontextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest
from attrs import frozen

from kubevip import Command, Kind, Provider, hookimpl
from kubevip._plugin import Origin, installed, load_plugin
from kubevip._plugins import PluginRegistry, installable
from kubevip.errors import PluginError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Callable

    from kubevip import Host
    from kubevip.control import Client


@frozen
class Config:
    """Nothing to configure."""


@asynccontextmanager
async def open_nothing(config: Config, host: Host) -> AsyncGenerator[Any]:
    yield None


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--loud", action="store_true")


def say_hello(args: argparse.Namespace, client: Client) -> int:
    return 0


def provider(name: str = "x", **fields: Any) -> Provider[Any, Any]:
    values: dict[str, Any] = {"name": name, "summary": name, "config": Config, "open": open_nothing} | fields
    return Provider(**values)


def module(**hooks: Callable[[], Any]) -> ModuleType:
    made = ModuleType("made")
    for name, function in hooks.items():
        setattr(made, name, hookimpl(function))
    return made


def origin(name: str, loaded: object, distribution: str = "") -> Origin:
    def load() -> object:
        if isinstance(loaded, Exception):
            raise loaded
        return loaded

    return Origin(name=name, distribution=distribution or f"dist-{name}", load=load)


RAFT = origin("raft", module(kubevip_elections=lambda: [provider("raft")]))
ARP = origin("arp", module(kubevip_announcers=lambda: (provider(name) for name in ("address", "arp"))))
HELLO = origin(
    "hello",
    module(
        kubevip_commands=lambda: [Command(name="hello", summary="Say hello", configure=configure, run=say_hello)],
        kubevip_observers=lambda: [provider("hello")],
    ),
)
BROKEN = origin("broken", ImportError("no module named scapy"))


def test_providers_are_found_by_kind_and_name() -> None:
    registry = PluginRegistry.load(origins=[RAFT, ARP, HELLO])
    assert set(registry.providers(Kind.ELECTION)) == {"single", "raft"}
    assert set(registry.providers(Kind.ANNOUNCER)) == {"address", "arp"}
    assert set(registry.providers(Kind.SOURCE)) == {"static"}
    assert registry.provider(Kind.PROXY, "raft") is None
    found = registry.provider(Kind.ELECTION, "raft")
    assert found is not None
    assert found.name == "raft"
    assert set(registry.commands()) == {"hello"}
    assert registry.broken == ()


def test_a_broken_plugin_that_nobody_asked_for_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    registry = PluginRegistry.load(origins=[BROKEN, RAFT])
    assert registry.provider(Kind.ELECTION, "raft") is not None
    assert [str(error) for error in registry.broken] == [
        "plugin 'broken' of dist-broken: cannot be imported: ImportError: no module named scapy"
    ]
    assert "dist-broken" in caplog.text
    assert "no module named scapy" in registry.why_missing(Kind.ANNOUNCER, "broken")
    assert (
        registry.why_missing(Kind.ANNOUNCER, "x")
        == "no plugin provides the announcer 'x' (there is none; broken: broken)"
    )


def test_a_broken_plugin_that_was_selected_is_fatal() -> None:
    with pytest.raises(PluginError, match="no module named scapy"):
        PluginRegistry.load(["raft", "broken"], origins=[BROKEN, RAFT])


def test_only_what_is_selected_is_imported() -> None:
    registry = PluginRegistry.load(["raft"], origins=[BROKEN, RAFT, ARP])
    assert set(registry.providers(Kind.ANNOUNCER)) == set()
    assert registry.broken == ()
    assert (
        registry.why_missing(Kind.ANNOUNCER, "arp")
        == "announcer 'arp' is installed but not loaded; add it to --plugins"
    )
    assert registry.why_missing(Kind.ANNOUNCER, "address").endswith("(there is none; not loaded: broken, arp)")


def test_a_name_selects_every_entry_point_called_so() -> None:
    election = origin("k8s", module(kubevip_elections=lambda: [provider("k8s")]), "kubevip-election-k8s")
    source = origin("k8s", module(kubevip_config_sources=lambda: [provider("k8s")]), "kubevip-source-k8s")
    registry = PluginRegistry.load(["k8s"], origins=[election, source, RAFT])
    assert registry.provider(Kind.ELECTION, "k8s") is not None
    assert registry.provider(Kind.SOURCE, "k8s") is not None
    assert registry.provider(Kind.ELECTION, "raft") is None


def test_an_implied_name_is_loaded_beside_a_selection_and_may_be_named_too() -> None:
    file = origin("file", module(kubevip_config_sources=lambda: [provider("file")]))
    for select in (["raft"], ["raft", "file"], []):
        registry = PluginRegistry.load(select, also=["file"], origins=[file, RAFT])
        assert registry.provider(Kind.SOURCE, "file") is not None
    assert PluginRegistry.load([], also=["file"], origins=[RAFT]).provider(Kind.SOURCE, "file") is None


def test_a_selected_name_that_is_not_installed_is_refused_with_what_there_is() -> None:
    with pytest.raises(PluginError, match=r"plugin 'ratf' of .*--plugins; installed: arp, raft"):
        PluginRegistry.load(["ratf"], origins=[RAFT, ARP])


def test_a_known_extra_is_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubevip._plugins.installable", lambda: frozenset({"raft"}))
    with pytest.raises(PluginError, match=r"pip install 'kubevip\[raft\]'"):
        PluginRegistry.load(["raft"], origins=[ARP])
    assert PluginRegistry.load(origins=[]).why_missing(Kind.ELECTION, "raft") == (
        "election 'raft' is not installed; pip install 'kubevip[raft]'"
    )


def test_the_extras_come_from_the_metadata_of_the_root_distribution() -> None:
    assert {"raft", "arp", "tcp"} <= installable()


def test_a_name_that_two_distributions_provide_is_refused_and_both_are_named() -> None:
    other = origin("bgp", module(kubevip_announcers=lambda: [provider("arp"), provider("bgp")]), "someone-else")
    message = "plugin 'bgp' of someone-else: provides the announcer 'arp', which dist-arp provides too"
    with pytest.raises(PluginError, match=message):
        PluginRegistry.load(["arp", "bgp"], origins=[ARP, other])
    registry = PluginRegistry.load(origins=[ARP, other])
    assert set(registry.providers(Kind.ANNOUNCER)) == {"address", "bgp"}
    assert message in registry.why_missing(Kind.ANNOUNCER, "arp")


def unmarked() -> ModuleType:
    made = ModuleType("made")
    made.kubevip_elections = lambda: [provider()]  # type: ignore[attr-defined]
    return made


@frozen
class Unresolvable:
    field: Nowhere  # type: ignore[name-defined]  # noqa: F821


def none() -> None:
    return None


def failing() -> list[Any]:
    raise RuntimeError("boom")


@pytest.mark.parametrize(
    ("loaded", "message"),
    [
        (SyntaxError("bad"), "cannot be imported: SyntaxError: bad"),
        (module(kubevip_elektions=none), "hook that does not exist, or with other parameters: .*kubevip_elektions"),
        (module(kubevip_elections=lambda config: []), "hook that does not exist, or with other parameters"),  # type: ignore[misc, arg-type]
        (unmarked(), r"kubevip_elections\(\) lacks the @hookimpl marker"),
        (module(kubevip_elections=lambda: provider()), r"kubevip_elections\(\) raised TypeError: .*not iterable"),
        (module(kubevip_elections=lambda: ["raft"]), r"kubevip_elections\(\) yielded 'raft', expected a Provider"),
        (module(kubevip_elections=none), r"kubevip_elections\(\) returned None, expected an iterable of Provider"),
        (module(kubevip_commands=lambda: [provider()]), r"kubevip_commands\(\) yielded .*, expected a Command"),
        (module(kubevip_elections=failing), r"kubevip_elections\(\) raised RuntimeError: boom"),
        (module(kubevip_elections=lambda: [provider("Raft!")]), "yielded the name 'Raft!'"),
        (module(kubevip_elections=lambda: [provider(name=7)]), "yielded the name 7"),  # type: ignore[arg-type]
        (
            module(kubevip_elections=lambda: [provider(config=dict)]),
            "config of 'x' is <class 'dict'>, expected an attrs",
        ),
        (module(kubevip_elections=lambda: [provider(options="a")]), "options of 'x' is 'a', expected an attrs class"),
        (module(kubevip_elections=lambda: [provider(config=Unresolvable)]), "'Nowhere' is not defined; types of its"),
        (module(kubevip_elections=lambda: [provider(open=None)]), "open of 'x' is None, expected a function"),
        (module(kubevip_elections=lambda: [provider(), provider()]), "provides the election 'x' 2 times"),
    ],
)
def test_a_plugin_that_breaks_the_interface_is_named_with_hook_and_value(loaded: object, message: str) -> None:
    with pytest.raises(PluginError, match=message) as caught:
        load_plugin(origin("bad", loaded))
    assert (caught.value.plugin, caught.value.distribution) == ("bad", "dist-bad")


def test_a_module_without_hooks_provides_nothing() -> None:
    assert load_plugin(origin("empty", ModuleType("empty"))).names == ()


def test_tracing_says_what_each_plugin_registered(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "kubevip.plugins")
    PluginRegistry.load(origins=[ARP], trace=True)
    assert "registered plugin=arp distribution=dist-arp provides=announcer address, announcer arp" in caplog.text


def test_what_this_repository_provides_is_installed() -> None:
    assert {"file", "raft", "arp", "tcp"} <= {found.name for found in installed()}
