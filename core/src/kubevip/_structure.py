"""Structures what a user wrote for a provider into its configuration class, and reports everything that is wrong.

Keys are camelCase, so that a problem shows the path as the user wrote it. What a configuration class may use: str, int,
float, bool, Port, Duration, pathlib.Path, IPv4Address, IPv6Address, their networks, enums, Literal, tuple[X, ...],
Mapping[str, X], other attrs classes, `X | Y`, `X | None`, and object for "anything". A key that is not the camelCase of
its field is given as `field(metadata={"key": "virtualIPs"})`. A validator of a field sees only the value (its
`instance` is None) and is reported at the field; relations between fields are checked in `__attrs_post_init__`, whose
ValueError is reported at the object.
"""

from __future__ import annotations

import difflib
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import attrs
from cattrs import AttributeValidationNote, BaseValidationError, ForbiddenExtraKeysError, IterableValidationNote

from kubevip._conversion import key_of, new_converter
from kubevip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cattrs import Converter

    from kubevip._model import Path, Problem, Section

T = TypeVar("T")


def structure(section: Section, cls: type[T]) -> T:
    """Return the value of class `cls` that `section` describes.

    :raises ConfigError: with every problem of the section, each at its place, in file order.
    """
    try:
        return _converter().structure(section.data, cls)
    except (BaseValidationError, ValueError) as error:  # a group holds whatever the class's own checks raised
        problems = [section.places.problem(message, *path) for path, message in _walk(error, ())]
        raise ConfigError(in_file_order(problems)) from None


def in_file_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sort problems by file and line, each once; files and equal lines keep the order in which they came."""
    once = list(dict.fromkeys(problems))
    files = {problem.place.file: None for problem in once}
    rank = {file: position for position, file in enumerate(files)}
    return sorted(once, key=lambda problem: (rank[problem.place.file], problem.place.line))


@cache
def _converter() -> Converter:
    return new_converter()


def _walk(error: BaseException, path: Path) -> Iterator[tuple[Path, str]]:
    """Yield each leaf of a group of validation errors with the path that its notes spell."""
    if isinstance(error, BaseValidationError):
        for inner in error.exceptions:
            yield from _walk(inner, path + _step(inner, error.cl))
    elif isinstance(error, ForbiddenExtraKeysError):
        known = [key_of(field) for field in attrs.fields(error.cl) if field.init]
        for key in sorted(map(str, error.extra_fields)):
            yield (*path, key), f"unknown key{did_you_mean(key, known)}"
    elif isinstance(error, KeyError):  # how a generated function meets a key that is not there
        yield path[:-1], f'missing required key "{path[-1]}"' if path else f"missing {error}"
    elif isinstance(error, ValueError | TypeError) and str(error):
        yield path, str(error)
    else:
        yield path, f"{type(error).__name__}: {error}"


def _step(error: BaseException, cls: Any) -> Path:  # Any: a type form
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return (key_of(getattr(attrs.fields(attrs.resolve_types(cls)), note.name)),)
        if isinstance(note, IterableValidationNote):
            return (note.index,)
    return ()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ", did you mean "x"?" for the nearest of `known`, else " (known: ...)"; "" when nothing is known."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    if not by_lower:
        return ""
    if near := difflib.get_close_matches(word.lower(), by_lower, 1):
        return f', did you mean "{by_lower[near[0]]}"?'
    return f" (known: {', '.join(by_lower.values())})"
