from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve, frozen

from kubevip import Instance, Kind, Provider, Section
from kubevip._bootstrap import load, stand_ins
from kubevip._options import Options
from kubevip._plugin import Origin, Plugin, built_in, load_plugin
from kubevip._plugins import PluginRegistry

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from kubevip import Host
    from kubevip.abc import ConfigSource


@frozen
class Config:
    greeting: str = ""


@asynccontextmanager
async def open_source(config: Config, host: Host) -> AsyncGenerator[ConfigSource]:
    raise AssertionError("nothing is opened before it runs")
    yield  # type: ignore[unreachable] # makes it a generator


def from_environment(environment: Mapping[str, str]) -> Section | None:
    greeting = environment.get("GREETING")
    return Section(provider="greeter", data={"greeting": greeting}) if greeting else None


GREETER = Provider(name="greeter", summary="", config=Config, open=open_source, default=from_environment)
GREETING = Instance(kind=Kind.SOURCE, name="greeter", section=Section(provider="greeter", data={"greeting": "hello"}))


@pytest.fixture
def registry() -> PluginRegistry:
    origin = Origin(name="greeter", distribution="the test", load=lambda: None)
    plugin = Plugin(origin=origin, providers=((Kind.SOURCE, GREETER),))
    return PluginRegistry([load_plugin(built_in()), plugin])


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(config=tmp_path / "config.yaml", is_config_named=False, plugins=("greeter",))


def test_a_source_stands_in_for_the_usual_file_when_that_is_not_there(
    registry: PluginRegistry, options: Options
) -> None:
    assert stand_ins(options, registry, {"GREETING": "hello"}) == (GREETING,)
    assert stand_ins(options, registry, {}) == ()


def test_what_stands_in_is_what_is_loaded(
    registry: PluginRegistry, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREETING", "hello")
    loaded = anyio.run(load, options, registry)
    assert loaded.base.instances == (GREETING,)


def test_a_file_that_is_there_outranks_it(registry: PluginRegistry, options: Options) -> None:
    assert options.config is not None
    options.config.write_text("")
    assert stand_ins(options, registry, {"GREETING": "hello"}) == ()


@pytest.mark.parametrize("change", [{"is_config_named": True}, {"plugins": None}, {"config": None}])
def test_it_takes_no_part_unless_its_plugin_was_named_and_no_file(
    registry: PluginRegistry, options: Options, change: dict[str, Any]
) -> None:
    assert stand_ins(evolve(options, **change), registry, {"GREETING": "hello"}) == ()
