from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubevip.errors import ConfigError
from kubevip_source_file._yaml import DEEPEST, LARGEST_BYTES, read_yaml


def problems_of(data: bytes | str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_yaml(data if isinstance(data, bytes) else data.encode(), "c.yaml")
    return [str(problem) for problem in caught.value.problems]


def value_of(text: str) -> object:
    return read_yaml(text.encode(), "c.yaml").value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("yes", "yes"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("010", 10),
        ("0o17", 15),
        ("0xff", 255),
        ("-3", -3),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        ("-.inf", -math.inf),
        ("52:54:00:12:34:56", "52:54:00:12:34:56"),
        ("2026-11-23", "2026-11-23"),
        ("192.168.0.75", "192.168.0.75"),
        ("2001:db8::75", "2001:db8::75"),
        ("'true'", "true"),
        ("!!str 5", "5"),
        ("! 5", "5"),
        ("!!int '5'", 5),
        ("|\n a\n b\n", "a\nb\n"),
        ("[1, [a], {}]", [1, ["a"], {}]),
        ("{a: {b: , c: 1}}", {"a": {"b": None, "c": 1}}),
        ("a: &x [1, 2]\nb: *x\n", {"a": [1, 2], "b": [1, 2]}),
        ("<<: {a: 1}", {"<<": {"a": 1}}),
        ("\ufeffa: 1", {"a": 1}),
        ("---\na: 1\n...\n", {"a": 1}),
    ],
)
def test_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    found = value_of(text)
    assert found == value
    assert type(found) is type(value)


def test_every_value_knows_its_line_and_path() -> None:
    document = read_yaml(b"\n# c\na:\n- x: 1\n  y:\n   - 2\n   - 3\nb: {c: 4}\n", "c.yaml")
    places = document.places
    assert str(places.at("a")) == "c.yaml:3: a"
    assert str(places.at("a", 0, "x")) == "c.yaml:4: a[0].x"
    assert str(places.at("a", 0, "y", 1)) == "c.yaml:7: a[0].y[1]"
    assert str(places.at("b", "c")) == "c.yaml:8: b.c"
    assert str(places.at("b", "missing")) == "c.yaml:8: b.missing"


def test_an_alias_stands_where_it_is_used_with_the_lines_of_what_it_stands_for() -> None:
    places = read_yaml(b"a: &x\n  b: 1\nc: *x\n", "c.yaml").places
    assert str(places.at("c", "b")) == "c.yaml:2: c.b"


def test_every_duplicate_key_is_told() -> None:
    assert problems_of("a: 1\nb:\n  c: 1\n  c: 2\na: 2\n") == [
        "c.yaml:4: b.c: duplicate key",
        "c.yaml:5: a: duplicate key",
    ]


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (BOMB, "c.yaml:6: more than 200,000 values, aliases counted as what they stand for"),
        (CHAIN, f"c.yaml:{DEEPEST}: nested deeper than {DEEPEST} levels by alias *a{DEEPEST - 2}"),
        ("[" * 100_000, f"c.yaml:1: nested deeper than {DEEPEST} levels"),
        ("- " * 10_000, f"c.yaml:1: nested deeper than {DEEPEST} levels"),
        ("{a: " * 10_000, f"c.yaml:1: nested deeper than {DEEPEST} levels"),
        ("a: &a [*a]", "c.yaml:1: alias *a stands for nothing that was complete before it"),
        (b"x" * (LARGEST_BYTES + 1), "c.yaml: larger than 1 MiB, which no configuration is"),
        (b"a: 1\nb: \xff\n", "c.yaml:2: not UTF-8: byte 0xff; save the file as UTF-8"),
        ("a: 1\n---\nb: 1\n", "c.yaml:2: a second document begins here; a configuration is one document"),
        ("1: a", "c.yaml:1: a key is not a string; quote it"),
        ("true: a", "c.yaml:1: a key is not a string; quote it"),
        ("? [a]\n: b", "c.yaml:1: a key is not a string; quote it"),
        ("!!python/object:os.system {}", "c.yaml:1: tag tag:yaml.org,2002:python/object:os.system is not allowed"),
        ("!mine x", "c.yaml:1: tag !mine is not allowed"),
        ("!!int x", "c.yaml:1: 'x' is no int"),
        ("!!binary aGk=", "c.yaml:1: tag tag:yaml.org,2002:binary is not allowed"),
    ],
)
def test_what_is_out_of_bounds_is_refused(data: bytes | str, problem: str) -> None:
    assert problems_of(data) == [problem]


@pytest.mark.parametrize(
    "text", ["a: [", "a: b: c", "\ta: 1", "a: 'x", "*", "%YAML 9.9\n---\na", "a: \x00", "a: \x01", "@a"]
)
def test_what_is_not_yaml_is_refused_with_its_line(text: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith("c.yaml:")
    assert "not YAML: " in problem


MARKS = st.sampled_from(
    [
        "a",
        "1",
        ":",
        " ",
        "\n",
        "- ",
        "[",
        "]",
        "{",
        "}",
        ",",
        "&x ",
        "*x",
        "!",
        "!!int",
        "'",
        '"',
        "?",
        "|",
        "#",
        "---\n",
        "%",
    ]
)


@given(
    st.lists(MARKS, max_size=40).map("".join).map(str.encode)
    | st.binary(max_size=80)
    | st.text(max_size=80).map(str.encode)
)
@example(b"? ")
@example(b"...")
def test_reading_raises_nothing_but_config_errors(data: bytes) -> None:
    try:
        read_yaml(data, "c.yaml")
    except ConfigError as error:
        told = error.problems
        assert told
