"""Reads YAML into plain values with the line of each, within bounds.

YAML 1.2 core schema: `yes` is a string, `010` is ten, 52:54:00:12:34:56 is no number. One document; keys are strings
and unique; tags other than the schema's own are refused. Aliases are allowed but counted as what they stand for, so a
document cannot unfold into more than it may hold.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import yaml
from attrs import Factory, define, frozen

from kubevip import Place, Places, Problem
from kubevip.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Where a value stands: keys and indices.
Path = tuple[str | int, ...]

#: A ConfigMap cannot be larger either.
LARGEST_BYTES = 1 << 20
#: Values of a document, aliases unfolded. Ten thousand load balancers have some 80,000.
MOST_VALUES = 200_000
DEEPEST = 24

_TAG = "tag:yaml.org,2002:"
_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]{1,400}|0o[0-7]{1,400}|0x[0-9a-fA-F]{1,400}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"([-+]?)\.(inf|Inf|INF|nan|NaN|NAN)")

#: The C parser where PyYAML was built with it, else the slow one.
_LOADER: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@frozen(kw_only=True)
class Document:
    """What a file says: mappings, lists, strings, numbers, booleans and None; and where each of them stands."""

    value: object
    places: Places


class _RefusedError(Exception):
    """Reading cannot go on."""


@frozen
class _Node:
    """A value, the lines of what is in it by path relative to it, how many values it is and how deep they nest."""

    value: object
    line: int
    inner: dict[Path, int] = Factory(dict[Path, int])
    count: int = 1
    depth: int = 0


def read_yaml(data: bytes, file: str) -> Document:
    """Read one YAML document.

    :param file: how messages call it.
    :raises ConfigError: with every duplicate key, or with what keeps it from being read.
    """
    if len(data) > LARGEST_BYTES:
        raise _refusal(file, 0, f"larger than {LARGEST_BYTES >> 20} MiB, which no configuration is")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refusal(file, line, f"not UTF-8: byte 0x{data[error.start]:02x}; save the file as UTF-8") from None
    builder = _Builder(yaml.parse(text, Loader=_LOADER))
    try:
        root = builder.document()
    except _RefusedError as error:
        raise _refusal(file, builder.line, str(error)) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = "; ".join(part for part in (error.context, error.problem) if part)
        raise _refusal(file, mark.line + 1 if mark is not None else builder.line, f"not YAML: {message}") from None
    except yaml.YAMLError as error:  # a character that YAML does not allow
        message = str(error).partition("\n")[0]
        raise _refusal(file, builder.line, f"not YAML: {message}") from None
    if builder.duplicates:
        raise ConfigError(
            Problem(place=Place(file=file, line=line, path=path), message="duplicate key")
            for path, line in builder.duplicates
        )
    return Document(
        value=root.value,
        places=Places(
            root=Place(file=file, line=root.line),
            inner={path: Place(file=file, line=line, path=path) for path, line in root.inner.items()},
        ),
    )


def _refusal(file: str, line: int, message: str) -> ConfigError:
    return ConfigError([Problem(place=Place(file=file, line=line), message=message)])


@define
class _Builder:
    """Builds values from the events of a parser, which does not recurse and is stopped at the first excess."""

    events: Iterator[yaml.Event]
    duplicates: list[tuple[Path, int]] = Factory(list[tuple[Path, int]])
    line: int = 1
    _anchors: dict[str, _Node] = Factory(dict[str, _Node])
    _values: int = 0

    def document(self) -> _Node:
        root: _Node | None = None
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                self.line = _line_of(event, self.line)
                if root is not None:
                    raise _RefusedError("a second document begins here; a configuration is one document")
                root = self._node(self._next(), ())
        return _Node(None, 1) if root is None else root

    def _next(self) -> yaml.Event:
        event = next(self.events)
        self.line = _line_of(event, self.line)
        return event

    def _node(self, event: yaml.Event, path: Path) -> _Node:
        if isinstance(event, yaml.AliasEvent):
            node = self._alias(event, path)
            self._count(node.count)
            return node
        self._count(1)
        if isinstance(event, yaml.ScalarEvent):
            node = _Node(_scalar(event), self.line)
        elif len(path) >= DEEPEST:
            raise _RefusedError(f"nested deeper than {DEEPEST} levels")
        elif isinstance(event, yaml.MappingStartEvent):
            _check_tag(event.tag, "map")
            node = self._mapping(path)
        else:
            assert isinstance(event, yaml.SequenceStartEvent)  # the grammar of the parser leaves nothing else
            _check_tag(event.tag, "seq")
            node = self._sequence(path)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _count(self, values: int) -> None:
        self._values += values
        if self._values > MOST_VALUES:
            raise _RefusedError(f"more than {MOST_VALUES:,} values, aliases counted as what they stand for")

    def _alias(self, event: yaml.AliasEvent, path: Path) -> _Node:
        node = self._anchors.get(event.anchor or "")
        if node is None:
            raise _RefusedError(f"alias *{event.anchor} stands for nothing that was complete before it")
        if len(path) + node.depth > DEEPEST:
            raise _RefusedError(f"nested deeper than {DEEPEST} levels by alias *{event.anchor}")
        return node

    def _mapping(self, path: Path) -> _Node:
        line, count, depth = self.line, 1, 1
        value: dict[str, object] = {}
        inner: dict[Path, int] = {}
        while not isinstance(event := self._next(), yaml.MappingEndEvent):
            key_line = self.line
            key = _scalar(event) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                raise _RefusedError("a key is not a string; quote it")
            node = self._node(self._next(), (*path, key))
            if key in value:
                self.duplicates.append(((*path, key), key_line))
            value[key] = node.value
            inner[(key,)] = key_line
            inner.update(((key, *rest), its_line) for rest, its_line in node.inner.items())
            count += node.count
            depth = max(depth, node.depth + 1)
        return _Node(value, line, inner, count, depth)

    def _sequence(self, path: Path) -> _Node:
        line, count, depth = self.line, 1, 1
        value: list[object] = []
        inner: dict[Path, int] = {}
        while not isinstance(event := self._next(), yaml.SequenceEndEvent):
            index = len(value)
            node = self._node(event, (*path, index))
            value.append(node.value)
            inner[(index,)] = node.line
            inner.update(((index, *rest), its_line) for rest, its_line in node.inner.items())
            count += node.count
            depth = max(depth, node.depth + 1)
        return _Node(value, line, inner, count, depth)


def _line_of(event: yaml.Event, known: int) -> int:
    return known if event.start_mark is None else event.start_mark.line + 1


def _check_tag(tag: str | None, own: str) -> None:
    if tag not in (None, "!", _TAG + own):
        raise _RefusedError(f"tag {tag} is not allowed")


def _scalar(event: yaml.ScalarEvent) -> object:
    text, tag = event.value, event.tag
    if tag == _TAG + "str" or tag == "!" or (tag is None and not event.implicit[0]):
        return text
    if tag is not None and tag.removeprefix(_TAG) not in ("null", "bool", "int", "float"):
        raise _RefusedError(f"tag {tag} is not allowed")
    value = _resolve(text)
    if tag is not None and isinstance(value, str):
        raise _RefusedError(f"{text[:40]!r} is no {tag.removeprefix(_TAG)}")
    return value


def _resolve(text: str) -> object:
    """Return what a plain scalar stands for in the core schema (YAML 1.2.2, 10.3.2)."""
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text):
        return int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    if (match := _NOT_FINITE.fullmatch(text)) is not None:
        return float(match[1] + match[2])
    return text
