"""From plain values (what YAML and JSON have) to the types of configuration classes, strictly.

Nothing is guessed: "6443" is not a port, 1 is not true, "yes" is a string. What is expected is said in one phrase per
type, so that every refusal reads "expected <phrase>, got <value>".
"""

from __future__ import annotations

import enum
import math
import re
import types
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs
from cattrs import cols

from kubevip._model import Duration, IPAddress, Port

#: Longest part of a value that a message repeats.
LONGEST_SHOWN = 60

SECONDS_PER_UNIT = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?(?:us|ms|s|m|h))+")
_DURATION_PART = re.compile(r"([0-9.]+)(us|ms|s|m|h)")

#: What is expected where a type of this table is due.
_PHRASES: Mapping[object, str] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    type(None): "nothing",
    Port: "an integer 1-65535",
    Duration: "a duration like 150ms, 5s or 1m30s",
    IPv4Address: "an IPv4 address",
    IPv6Address: "an IPv6 address",
    IPAddress: "an IPv4 or IPv6 address",
    IPv4Network: "an IPv4 network without host bits",
    IPv6Network: "an IPv6 network without host bits",
    Path: "a path",
}


class Unexpected(ValueError):
    """A value that is not what is due; the message says both."""

    def __init__(self, expected: str, value: object, reason: str = "") -> None:
        super().__init__(f"expected {expected}, got {show_value(value)}" + (f" ({reason})" if reason else ""))


def show_value(value: object) -> str:
    """Show a value of the user's in a message, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value[:LONGEST_SHOWN]}..."' if len(value) > LONGEST_SHOWN else f'"{value}"'
    if isinstance(value, int | float):
        return str(value)[:LONGEST_SHOWN]
    return "a mapping" if isinstance(value, Mapping) else "a list"


def phrase(wanted: Any) -> str:  # Any: a type form, for which there is no type yet
    """Say what is expected where `wanted` is due."""
    if (known := _PHRASES.get(wanted)) is not None:
        return known
    if is_union(wanted):
        members = [member for member in get_args(wanted) if member is not type(None)]
        if {IPv4Address, IPv6Address} <= set(members):
            members = [IPAddress, *(member for member in members if member not in (IPv4Address, IPv6Address))]
        return " or ".join(phrase(member) for member in members)
    if is_enum(wanted):
        return "one of " + ", ".join(str(member.value) for member in wanted)
    if is_literal(wanted):
        return "one of " + ", ".join(str(value) for value in get_args(wanted))
    if cols.is_mapping(wanted) or is_class(wanted):
        return "a mapping"
    return "a list" if get_origin(wanted) is tuple else "a value"


def parse_address(value: object, wanted: Any = IPAddress) -> Any:  # Any: a type form, and what it is the form of
    """Read an IP address as people write it; no prefix, no zone, no leading zeros, not IPv4 in IPv6 clothing.

    :raises Unexpected: with what was expected and why `value` is not it.
    """
    if not isinstance(value, str):
        raise Unexpected(phrase(wanted), value)
    if "/" in value:
        raise Unexpected(phrase(wanted), value, "without a prefix length")
    if "%" in value:
        raise Unexpected(phrase(wanted), value, "without a zone id")
    try:
        address = ip_address(value)
    except ValueError as error:
        leading_zeros = "leading zeros" in str(error).lower()
        raise Unexpected(phrase(wanted), value, "leading zeros are ambiguous" if leading_zeros else "") from None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        raise Unexpected(phrase(wanted), value, f"write it as {address.ipv4_mapped}")
    if not isinstance(address, wanted):
        raise Unexpected(phrase(wanted), value)
    return address


def parse_duration(value: object) -> Duration:
    """Read a time span ("150ms", "1m30s") as seconds.

    :raises Unexpected: for anything else, a bare number too: its unit would be a guess.
    """
    if not isinstance(value, str) or not _DURATION.fullmatch(value):
        raise Unexpected(_PHRASES[Duration], value)
    return Duration(sum(float(number) * SECONDS_PER_UNIT[unit] for number, unit in _DURATION_PART.findall(value)))


def parse_string(value: object) -> str:
    if not isinstance(value, str):
        raise Unexpected("a string", value, "quote it" if isinstance(value, bool | int | float) else "")
    return value


def parse_integer(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unexpected("an integer", value)
    return value


def parse_number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Unexpected("a number", value)
    return float(value)


def parse_bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise Unexpected("true or false", value)
    return value


def parse_port(value: object) -> Port:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 65535:
        raise Unexpected(_PHRASES[Port], value)
    return Port(value)


def parse_network(value: object, wanted: type) -> IPv4Network | IPv6Network:
    try:
        network = ip_network(parse_string(value))
    except ValueError:
        raise Unexpected(phrase(wanted), value) from None
    if not isinstance(network, wanted):
        raise Unexpected(phrase(wanted), value)
    return network


def parse_path(value: object) -> Path:
    text = parse_string(value)
    if not text or "\0" in text:
        raise Unexpected("a path", value)
    return Path(text)


def parse_enum(value: object, wanted: type[enum.Enum]) -> enum.Enum:
    for member in wanted:
        if type(member.value) is type(value) and member.value == value:
            return member
    raise Unexpected(phrase(wanted), value)


def parse_literal(value: object, wanted: Any) -> object:  # Any: a type form
    for allowed in get_args(wanted):
        if type(allowed) is type(value) and allowed == value:
            return allowed
    raise Unexpected(phrase(wanted), value)


def is_union(wanted: object) -> bool:
    return get_origin(wanted) in (Union, types.UnionType)


def is_enum(wanted: object) -> bool:
    return isinstance(wanted, type) and issubclass(wanted, enum.Enum)


def is_class(wanted: object) -> bool:
    return isinstance(wanted, type) and attrs.has(wanted)


def is_list(wanted: object) -> bool:
    return get_origin(wanted) is tuple and get_args(wanted)[-1] is Ellipsis


def is_literal(wanted: object) -> bool:
    return get_origin(wanted) is Literal
