"""The converter that structures plain values into configuration classes: cattrs with strict hooks.

A hook takes a value and the type that is due; types are Any here, being type forms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, cast, get_args

import attrs
from cattrs import BaseValidationError, Converter, cols
from cattrs.gen import make_dict_structure_fn, override

from kubevip._model import Duration, Port
from kubevip._scalars import (
    Unexpected,
    is_class,
    is_enum,
    is_list,
    is_literal,
    is_union,
    parse_address,
    parse_bool,
    parse_duration,
    parse_enum,
    parse_integer,
    parse_literal,
    parse_network,
    parse_number,
    parse_path,
    parse_port,
    parse_string,
    phrase,
)

_Hook = Callable[[Any, Any], Any]


def key_of(attribute: attrs.Attribute[Any]) -> str:
    """Return the key that a field of a configuration class has in files: camelCase, or its metadata "key"."""
    if (key := attribute.metadata.get("key")) is not None:
        return str(key)
    head, *tail = attribute.name.strip("_").split("_")
    return head + "".join(word.capitalize() for word in tail)


def _class_hook(wanted: Any, converter: Converter) -> _Hook:
    """Structure an attrs class: camelCase keys, no unknown ones, and each validator at the key of its own field."""

    def hook_of(field: attrs.Attribute[Any]) -> _Hook | None:
        check = field.validator
        if check is None:
            return None

        def hook(value: Any, due: Any) -> Any:
            result = converter.structure(value, due)
            check(None, field, result)
            return result

        return hook

    overrides = {
        field.name: override(rename=key_of(field), struct_hook=hook_of(field))
        for field in attrs.fields(attrs.resolve_types(wanted))
        if field.init
    }
    # Type checkers take the overrides for the function's own options, with which they share the keyword arguments.
    make: Any = make_dict_structure_fn
    inner: _Hook = make(wanted, converter, **overrides)

    def hook(value: Any, due: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Unexpected("a mapping", value)
        return inner(cast("Mapping[str, Any]", value), due)

    return hook


def _union_hook(wanted: Any, converter: Converter) -> _Hook:
    """Structure `A | B`: by the shape of the value where that decides, else by the first member that takes it."""
    members = [member for member in get_args(wanted) if member is not type(None)]
    is_optional = len(members) < len(get_args(wanted))

    def hook(value: Any, due: Any) -> Any:
        if value is None and is_optional:
            return None
        shape = "a mapping" if isinstance(value, Mapping) else "a list" if isinstance(value, list | tuple) else ""
        fitting = [member for member in members if not shape or phrase(member) == shape]
        if len(fitting) == 1 and (shape or len(members) == 1):
            return converter.structure(value, fitting[0])  # its own message says more
        if isinstance(value, str) and set(members) == {IPv4Address, IPv6Address}:
            return parse_address(value)
        for member in fitting:
            try:
                return converter.structure(value, member)
            except (BaseValidationError, ValueError, TypeError):
                continue  # the next member may take it
        raise Unexpected(phrase(due), cast("object", value))

    return hook


def _list_hook(wanted: Any, converter: Converter) -> _Hook:
    inner = cols.homogenous_tuple_structure_factory(wanted, converter)

    def hook(value: Any, due: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise Unexpected("a list", cast("object", value))
        return inner(value, due)

    return hook


def _mapping_hook(wanted: Any, converter: Converter) -> _Hook:
    inner: _Hook = cols.mapping_structure_factory(wanted, converter)  # pyright: ignore[reportUnknownMemberType]

    def hook(value: object, due: Any) -> Any:
        if not isinstance(value, Mapping):
            raise Unexpected("a mapping", value)
        return inner(value, due)  # pyright: ignore[reportUnknownArgumentType] - of whatever it is a mapping

    return hook


def new_converter() -> Converter:
    """Return a converter with these rules and no others."""
    converter = Converter(forbid_extra_keys=True, detailed_validation=True)
    # Registered from the general to the special: the last one that fits is taken.
    converter.register_structure_hook_factory(is_class)(_class_hook)
    converter.register_structure_hook_factory(is_list)(_list_hook)
    converter.register_structure_hook_factory(cols.is_mapping)(_mapping_hook)
    converter.register_structure_hook_factory(is_union)(_union_hook)
    converter.register_structure_hook_func(is_enum, parse_enum)
    converter.register_structure_hook_func(is_literal, parse_literal)
    converter.register_structure_hook_func(lambda wanted: wanted is object, lambda value, _: value)
    # cattrs has converting hooks of its own for these classes, which only hooks of the same form replace.
    for scalar, parse in _SCALARS.items():
        converter.register_structure_hook(scalar, _scalar_hook(parse))
    converter.register_structure_hook_func(lambda wanted: wanted is Port, _without_type(parse_port))
    converter.register_structure_hook_func(lambda wanted: wanted is Duration, _without_type(parse_duration))
    converter.register_structure_hook_func(lambda wanted: wanted in (IPv4Address, IPv6Address), parse_address)
    converter.register_structure_hook_func(lambda wanted: wanted in (IPv4Network, IPv6Network), parse_network)
    return converter


_SCALARS: Mapping[type, Callable[[object], object]] = {
    str: parse_string,
    int: parse_integer,
    float: parse_number,
    bool: parse_bool,
    Path: parse_path,
}


def _scalar_hook(parse: Callable[[object], object]) -> _Hook:
    """Take `parse` for the class itself; a hook of a class is also asked for its subclasses, StrEnum and IntEnum."""
    return lambda value, due: parse_enum(value, due) if is_enum(due) else parse(value)


def _without_type(parse: Callable[[object], object]) -> _Hook:
    return lambda value, _: parse(value)
