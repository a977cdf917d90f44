"""Values as plain JSON-compatible data and back: what frames and the disk are made of.

An attrs value becomes an object of its fields; a value of a union of several classes a list of its class and its
fields. Unknown fields are ignored, so that a later version may add some; everything else that is not as it should be
raises ShapeError and nothing else.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

_LONGEST_NAME = 253
_LONGEST_LIST = 8192

T = TypeVar("T")
Parser = Callable[[Any], Any]  # takes what JSON gave, which can be anything; hence Any


class ShapeError(ValueError):
    """Data that is not the value that it should be; the message says what is wrong with it."""


def to_plain(value: Any) -> Any:
    """Return a value as JSON-compatible data. Any: whatever messages are made of."""
    kind: type[Any] = value.__class__
    if kind in _PLAIN_PARSERS or value is None:
        return value
    if kind is tuple:
        return [to_plain(item) for item in value]
    if kind is dict:
        return {key: to_plain(item) for key, item in value.items()}
    return {name: write(getattr(value, name)) for name, write in _writers(kind)}  # type: ignore[arg-type]


def parse(cls: type[T], data: Any) -> T:
    """Return the value of `cls` that `data` is.

    :raises ShapeError: when it is none.
    """
    value: T = _object_parser(cls)(data)  # type: ignore[arg-type]
    return value


def parse_name(value: Any) -> str:
    """Return a short string.

    :raises ShapeError: when it is none.
    """
    if isinstance(value, str) and len(value) <= _LONGEST_NAME:
        return value
    raise ShapeError("expected a short string")


def parse_dict(value: Any, what: str) -> dict[str, Any]:
    """Return an object; `what` it is, for the message.

    :raises ShapeError: when it is none.
    """
    if not isinstance(value, dict):
        raise ShapeError(f"{what}: expected an object")
    fields: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]  -- JSON has no other keys
    return fields


def _parse_int(value: Any) -> int:
    if type(value) is int:  # and not bool
        return value
    raise ShapeError("expected an integer")


def _parse_float(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e15 < value < 1e15:
        raise ShapeError("expected a number")
    return float(value)


def _parse_bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ShapeError("expected true or false")
    return value


def _parse_list(value: Any, parse_item: Parser) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise ShapeError("expected a list")
    items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
    if len(items) > _LONGEST_LIST:
        raise ShapeError("expected a shorter list")
    return tuple(map(parse_item, items))


def _parse_mapping(value: Any, parse_item: Parser) -> dict[str, Any]:
    fields = parse_dict(value, "mapping")
    if len(fields) > _LONGEST_LIST:
        raise ShapeError("expected fewer fields")
    return {parse_name(key): parse_item(item) for key, item in fields.items()}


@cache
def _object_parser(cls: type[Any]) -> Parser:
    """Return what makes a value of `cls` of its fields. Put together once, as it takes every heartbeat."""
    hints = get_type_hints(cls)
    fields = tuple(
        (field.name, _parser(hints[field.name]), field.default is attrs.NOTHING)
        for field in attrs.fields(cls)
        if field.init
    )

    def parse_object(value: Any) -> Any:
        given = parse_dict(value, cls.__name__)
        arguments: dict[str, Any] = {}
        for name, parse_field, is_required in fields:
            if name in given:
                arguments[name] = parse_field(given[name])
            elif is_required:
                raise ShapeError(f"{cls.__name__}: {name} is missing")
        try:
            return cls(**arguments)
        except ShapeError:
            raise
        except ValueError as error:  # a validator: out of range
            raise ShapeError(f"{cls.__name__}: {error.args[0] if error.args else error}") from None

    return parse_object


def _parse_kind(value: Any, classes: Mapping[str, type[Any]]) -> Any:
    items = _parse_list(value, lambda item: item)
    if len(items) != 2 or not isinstance(items[0], str) or items[0] not in classes:
        raise ShapeError(f"expected one of {', '.join(classes)}")
    return _object_parser(classes[items[0]])(items[1])  # type: ignore[arg-type]


def _write_kind(value: Any) -> list[Any]:
    return [type(value).__name__, to_plain(value)]


@cache
def _writers(cls: type[Any]) -> tuple[tuple[str, Parser], ...]:
    """Return each field with what writes it."""
    hints = get_type_hints(cls)
    return tuple(
        (field.name, _write_kind if len(_classes_of(hints[field.name])) > 1 else to_plain)
        for field in attrs.fields(cls)
    )


def _parser(wanted: Any) -> Parser:
    origin = get_origin(wanted)
    if origin in (types.UnionType, Union):
        classes = _classes_of(wanted)
        if len(classes) > 1:
            by_name = {cls.__name__: cls for cls in classes}
            return lambda value: _parse_kind(value, by_name)
        inner = _parser(next(iter(classes)))
        return lambda value: None if value is None else inner(value)
    if origin is tuple:
        items: tuple[Any, ...] = get_args(wanted)
        parse_item = _parser(items[0])
        return lambda value: _parse_list(value, parse_item)
    if origin is not None:  # Mapping[str, T] is the only other one
        parse_value = _parser(get_args(wanted)[1])
        return lambda value: _parse_mapping(value, parse_value)
    if attrs.has(wanted):
        return _object_parser(wanted)
    return _PLAIN_PARSERS[wanted]


def _classes_of(wanted: Any) -> tuple[Any, ...]:
    """Return what a union is made of, but for None; of anything else, itself."""
    if get_origin(wanted) not in (types.UnionType, Union):
        return (wanted,)
    return tuple(member for member in get_args(wanted) if member is not type(None))


_PLAIN_PARSERS: Mapping[type, Parser] = {
    str: parse_name,
    int: _parse_int,
    float: _parse_float,
    bool: _parse_bool,
}
