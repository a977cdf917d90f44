from __future__ import annotations

import enum
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path
from typing import Literal

import attrs
import pytest
from attrs import field, frozen
from hypothesis import given
from hypothesis import strategies as st

from kubevip import Duration, IPAddress, Place, Places, Port, Problem, Section
from kubevip._structure import structure
from kubevip.errors import ConfigError


class Timing(enum.Enum):
    DEFAULT = "default"
    FAST = "fast"


class Mode(enum.StrEnum):
    ARP = "arp"


class Size(enum.IntEnum):
    SMALL = 1


@frozen(kw_only=True)
class CustomTiming:
    heartbeat: Duration
    promise: Duration = Duration(0.18)  # noqa: RUF009 - a NewType makes no object

    def __attrs_post_init__(self) -> None:
        if self.promise <= self.heartbeat:
            raise ValueError("promise must be longer than heartbeat")


@frozen(kw_only=True)
class Peer:
    name: str
    address: IPAddress
    port: Port = Port(10000)  # noqa: RUF009 - a NewType makes no object


@frozen(kw_only=True)
class Everything:
    members: tuple[Peer, ...] = ()
    timing: Timing | CustomTiming = Timing.DEFAULT
    stand_first: bool = False
    pki: Path | None = None
    ratio: float = 1.0
    retries: int = field(default=3, validator=attrs.validators.ge(0))
    four: IPv4Address | None = None
    six: IPv6Address | None = None
    net: IPv4Network | None = None
    mode: Mode = Mode.ARP
    size: Size = Size.SMALL
    level: Literal["low", "high"] = "low"
    labels: Mapping[str, str] = field(factory=dict)
    raw: object = None
    name_or_list: str | tuple[str, ...] = ()
    virtual_ips: tuple[str, ...] = field(default=(), metadata={"key": "virtualIPs"})


def section_of(data: Mapping[str, object]) -> Section:
    return Section(provider="x", data=data, places=Places(root=Place(file="config.yaml", line=7, path=("x",))))


def problems_of(data: Mapping[str, object]) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        structure(section_of(data), Everything)
    return [str(problem).removeprefix("config.yaml:7: x").removeprefix(".") for problem in caught.value.problems]


def test_every_type_is_structured() -> None:
    data: dict[str, object] = {
        "members": [{"name": "n1", "address": "192.168.0.70"}, {"name": "n2", "address": "2001:db8::1", "port": 1}],
        "timing": {"heartbeat": "50ms"},
        "standFirst": True,
        "pki": "/etc/kubevip/pki",
        "ratio": 2,
        "retries": 0,
        "four": "10.0.0.1",
        "six": "::2",
        "net": "10.0.0.0/8",
        "mode": "arp",
        "size": 1,
        "level": "high",
        "labels": {"a": "b"},
        "raw": [1, {"x": None}],
        "nameOrList": ["a", "b"],
        "virtualIPs": ["a"],
    }
    assert structure(section_of(data), Everything) == Everything(
        members=(
            Peer(name="n1", address=IPv4Address("192.168.0.70")),
            Peer(name="n2", address=IPv6Address("2001:db8::1"), port=Port(1)),
        ),
        timing=CustomTiming(heartbeat=Duration(0.05)),
        stand_first=True,
        pki=Path("/etc/kubevip/pki"),
        ratio=2.0,
        retries=0,
        four=IPv4Address("10.0.0.1"),
        six=IPv6Address("::2"),
        net=IPv4Network("10.0.0.0/8"),
        level="high",
        labels={"a": "b"},
        raw=[1, {"x": None}],
        name_or_list=("a", "b"),
        virtual_ips=("a",),
    )


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"standFirst": 1}, "standFirst: expected true or false, got 1"),
        ({"standFirst": "yes"}, 'standFirst: expected true or false, got "yes"'),
        ({"retries": True}, "retries: expected an integer, got true"),
        ({"retries": "3"}, 'retries: expected an integer, got "3"'),
        ({"retries": 3.0}, "retries: expected an integer, got 3.0"),
        ({"retries": -1}, "retries: 'retries' must be >= 0: -1"),
        ({"ratio": float("nan")}, "ratio: expected a number, got nan"),
        ({"timing": "slow"}, 'timing: expected one of default, fast or a mapping, got "slow"'),
        ({"timing": {"heartbeat": 50}}, "timing.heartbeat: expected a duration like 150ms, 5s or 1m30s, got 50"),
        ({"timing": {"heartbeat": "1s"}}, "timing: promise must be longer than heartbeat"),
        ({"timing": {}}, 'timing: missing required key "heartbeat"'),
        ({"members": {}}, "members: expected a list, got a mapping"),
        ({"members": "n1"}, 'members: expected a list, got "n1"'),
        ({"members": ["n1"]}, 'members[0]: expected a mapping, got "n1"'),
        ({"mode": "ARP"}, 'mode: expected one of arp, got "ARP"'),
        ({"size": True}, "size: expected one of 1, got true"),
        ({"level": "mid"}, 'level: expected one of low, high, got "mid"'),
        ({"labels": {"a": 1}}, "labels.a: expected a string, got 1 (quote it)"),
        ({"labels": None}, "labels: expected a mapping, got nothing"),
        ({"nameOrList": 5}, "nameOrList: expected a string or a list, got 5"),
        ({"nameOrList": ["a", 5]}, "nameOrList[1]: expected a string, got 5 (quote it)"),
        ({"four": "::1"}, 'four: expected an IPv4 address, got "::1"'),
        ({"net": "10.0.0.1/8"}, 'net: expected an IPv4 network without host bits, got "10.0.0.1/8"'),
        ({"pki": ""}, 'pki: expected a path, got ""'),
        ({"standfirst": True}, 'standfirst: unknown key, did you mean "standFirst"?'),
        ({"stand_first": True}, 'stand_first: unknown key, did you mean "standFirst"?'),
        ({"virtualIps": []}, 'virtualIps: unknown key, did you mean "virtualIPs"?'),
    ],
)
def test_a_problem_is_told_at_its_path(data: dict[str, object], problem: str) -> None:
    assert problems_of(data) == [problem]


@pytest.mark.parametrize("port", [0, 65536, -1, "80", True, 80.0, None, "http"])
def test_a_port_is_an_integer_from_1_to_65535(port: object) -> None:
    (problem,) = problems_of({"members": [{"name": "n", "address": "10.0.0.1", "port": port}]})
    assert problem.startswith("members[0].port: expected an integer 1-65535, got ")


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "10.0.0",
        "10.0.0.1/24",
        "fe80::1%eth0",
        "010.0.0.1",
        "::ffff:10.0.0.1",
        "10.0.0.1 ",
        "host",
        167772161,
        None,
    ],
)
def test_an_address_is_written_in_one_way_only(address: object) -> None:
    (problem,) = problems_of({"members": [{"name": "n", "address": address}]})
    assert problem.startswith("members[0].address: expected an IPv4 or IPv6 address, got ")


@pytest.mark.parametrize(
    ("text", "seconds"), [("150ms", 0.15), ("5s", 5.0), ("1m30s", 90.0), ("1h", 3600.0), ("0.5s", 0.5), ("0s", 0.0)]
)
def test_durations_have_units(text: str, seconds: float) -> None:
    assert structure(section_of({"timing": {"heartbeat": text, "promise": "2h"}}), Everything).timing == CustomTiming(
        heartbeat=Duration(seconds), promise=Duration(7200.0)
    )


@pytest.mark.parametrize("text", ["", "5", "s", "-5s", "5 s", "5sec", "1.s", "٣s", "9" * 400 + "h", "1e3s"])
def test_what_has_no_clear_unit_is_no_duration(text: str) -> None:
    (problem,) = problems_of({"timing": {"heartbeat": text}})
    assert problem.startswith("timing.heartbeat: expected a duration like 150ms, 5s or 1m30s, got ")


def test_all_problems_are_told_at_once_in_file_order() -> None:
    places = Places(
        root=Place(file="c.yaml", line=1),
        inner={
            ("members", 0, "port"): Place(file="c.yaml", line=9, path=("members", 0, "port")),
            ("members", 1): Place(file="c.yaml", line=10, path=("members", 1)),
            ("extra",): Place(file="c.yaml", line=3, path=("extra",)),
        },
    )
    data = {"members": [{"name": "n", "address": "10.0.0.1", "port": 0}, {"name": "m"}], "extra": 1, "ratio": "x"}
    with pytest.raises(ConfigError) as caught:
        structure(Section(provider="x", data=data, places=places), Everything)
    assert [str(problem).partition(" (known")[0] for problem in caught.value.problems] == [
        'c.yaml:1: ratio: expected a number, got "x"',
        "c.yaml:3: extra: unknown key",
        "c.yaml:9: members[0].port: expected an integer 1-65535, got 0",
        'c.yaml:10: members[1]: missing required key "address"',
    ]


def test_an_exception_of_a_class_of_a_plugin_is_a_problem_of_the_object() -> None:
    @frozen
    class Broken:
        def __attrs_post_init__(self) -> None:
            raise ZeroDivisionError("oops")

    with pytest.raises(ConfigError, match=r"config.yaml:7: x: ZeroDivisionError: oops"):
        structure(section_of({}), Broken)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
PLAIN = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=4), SCALARS, max_size=2)
KEYS = st.sampled_from(["members", "timing", "pki", "ratio", "retries", "four", "net", "size", "labels", "nameOrList"])


@given(st.dictionaries(KEYS, PLAIN, max_size=4))
def test_whatever_is_written_is_structured_or_refused_with_problems(data: dict[str, object]) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        structure(section_of(data), Everything)
    except ConfigError as error:
        problems = error.problems
        assert problems
    assert all(problem.message and problem.place.file == "config.yaml" for problem in problems)
