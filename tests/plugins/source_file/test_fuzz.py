from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubevip import Severity
from kubevip._plugins import PluginRegistry
from kubevip._resolve import resolve
from kubevip._sample import NATIVE, ORIGINAL
from kubevip.errors import ConfigError
from kubevip_source_file._reading import read_configuration

REGISTRY = PluginRegistry.load([])
SAMPLES: list[Any] = [yaml.safe_load(ORIGINAL), yaml.safe_load(NATIVE)]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        [0, -1, 70000, 80, 1e400, "", "x", "all", "::", "10.0.0.1", "a/b", "http://a", "raft", [], {}, [[]], [{}]]
    ),
    st.dictionaries(
        st.sampled_from(["name", "address", "port", "url", "type", "x", "election"]), st.just(1), max_size=2
    ),
)


def places_in(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path] * bool(path) + [found for step, it in inner for found in places_in(it, (*path, step))]


@given(st.data())
def test_a_file_with_anything_anywhere_is_taken_or_refused_with_its_problems(data: st.DataObject) -> None:
    document = copy.deepcopy(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places_in(document)))
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = copy.deepcopy(data.draw(VALUES))  # it may be changed in the next round
    try:
        desired, warnings = read_configuration(yaml.safe_dump(document).encode(), "c.yaml", {})
    except ConfigError as error:
        assert error.problems  # noqa: PT017 - what is taken raises nothing
        assert all(it.place.file == "c.yaml" and it.severity is Severity.ERROR for it in error.problems)  # noqa: PT017
    else:
        assert all(it.severity is Severity.WARNING for it in warnings)
        found = resolve([desired], REGISTRY)
        assert all(str(problem).startswith("c.yaml:") for problem in found.problems)


@given(
    st.dictionaries(
        st.sampled_from(["vip_address", "vip_peers", "vip_localpeer", "lb_port", "lb_backends", "vip_arp"]),
        st.text(max_size=12),
    )
)
def test_an_environment_of_anything_is_taken_or_refused(environment: dict[str, str]) -> None:
    try:
        read_configuration(ORIGINAL.encode(), "c.yaml", environment)
    except ConfigError as error:
        assert {it.place.file for it in error.problems} <= {"environment", "c.yaml"}  # noqa: PT017


@pytest.mark.parametrize("text", [ORIGINAL, NATIVE])
def test_the_samples_themselves_are_taken_without_a_word(text: str) -> None:
    assert read_configuration(text.encode(), "c.yaml", {})[1] == ()
