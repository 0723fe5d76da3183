"""A YAML file as plain values, each with the line it stands on. Literals only: no anchors, aliases, tags or code."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from memloc.config.written import written
from memloc.errors import UsageError

Where: TypeAlias = tuple[str | int, ...]

MAX_BYTES = 1 << 20  # a sweep file is written by hand; a larger one is a mistake or an attack
MAX_DEPTH = 12
NEEDS = "a sweep file needs `blocks:`"


class Loader(yaml.SafeLoader):
    """Reads decimal numbers, true and false. Everything else that looks like a number or a boolean is text.

    PyYAML reads YAML 1.1, in which `off` is false, `010` is 8, `1:30` is 90 and `1_000` is 1000. Here they are text. The
    check of the field then says what to write.
    """


BOOLEAN, INTEGER, REAL = ("tag:yaml.org,2002:" + kind for kind in ("bool", "int", "float"))
WHOLE = "[-+]?(0|[1-9][0-9]*)"
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag not in (BOOLEAN, INTEGER, REAL)]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(BOOLEAN, re.compile("(true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Loader.add_implicit_resolver(INTEGER, re.compile(f"{WHOLE}$"), list("-+0123456789"))
Loader.add_implicit_resolver(
    REAL,
    re.compile(rf"(({WHOLE}\.[0-9]*|[-+]?\.[0-9]+)([eE][-+][0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Document:
    """The values of a file, and where each of them stands."""

    name: str  # the file's name as the user typed it
    value: Any
    lines: dict[Where, int] = field(default_factory=dict)  # 1-based line of every key and list item
    problems: list[str] = field(default_factory=list)  # keys that stand twice or are not text

    def at(self, *where: str | int) -> str:
        """`file:line:field` of a place. The line is that of the nearest enclosing place that has one."""
        known = where
        while known and known not in self.lines:
            known = known[:-1]
        return ":".join([self.name, str(self.lines.get(known, 1)), *([".".join(map(str, where))] if where else [])])


def read(path: Path, needs: str = NEEDS) -> Document:
    """Reads a file; raises UsageError with one line on what is wrong with it. needs: what an empty file lacks."""
    name = str(path)
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # reading a pipe would wait for ever
            raise UsageError(f"{name}: is no regular file; name a sweep file (*.yaml)")
        raw = path.read_bytes()
    except IsADirectoryError:
        raise UsageError(f"{name}: is a directory; name a sweep file (*.yaml)") from None
    except FileNotFoundError:
        raise UsageError(f"{name}: no such file; `memloc sweep` lists the shipped sweeps") from None
    except OSError as error:
        raise UsageError(f"{name}: cannot be read: {error.strerror}") from None
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{name}: {len(raw)} bytes; a sweep file has at most {MAX_BYTES}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, byte = raw.count(b"\n", 0, error.start) + 1, raw[error.start]
        raise UsageError(
            f"{name}:{line}: byte {error.start + 1} (0x{byte:02x}) is not UTF-8; save the file as UTF-8"
        ) from None
    return parse(text, name, needs)


def parse(text: str, name: str, needs: str = NEEDS) -> Document:
    """Parses the text of one document."""
    try:
        _refuse_what_is_not_literal(text, name)
        node = yaml.compose(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        what = f"{error.context or ''} {error.problem or ''}".strip().replace("'<stream end>'", "the end")
        hint = "; YAML is indented with spaces, not tabs" if "\\t" in what else ""
        raise UsageError(f"{name}:{line}: not YAML: {what}{hint}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{name}: not YAML: {' '.join(str(error).split())}") from None
    if node is None:
        raise UsageError(f"{name}: is empty; {needs}")
    document = Document(name, None)
    value = _construct(node, (), document)
    if document.problems:
        raise UsageError(*document.problems)
    return replace(document, value=value)


def _refuse_what_is_not_literal(text: str, name: str) -> None:
    depth = documents = 0
    for event in yaml.parse(text, Loader=Loader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise UsageError(f"{name}:{line}: anchors and aliases (& and *) are not allowed; write the values out")
        if getattr(event, "tag", None):
            raise UsageError(f"{name}:{line}: tags (!…) are not allowed; only plain values are")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise UsageError(f"{name}:{line}: a second document; a sweep file holds one")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise UsageError(f"{name}:{line}: nested more than {MAX_DEPTH} deep")
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _construct(node: yaml.Node, where: Where, document: Document) -> Any:
    document.lines.setdefault(where, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            key = _construct(key_node, (*where, "?"), document)
            if not isinstance(key, str):
                document.problems.append(f"{document.name}:{line}: {_no_key(key, value_node)}")
                continue
            first = document.lines.get((*where, key), 0) if key in result else 0
            document.lines[(*where, key)] = line
            if first:
                document.problems.append(f"{document.at(*where, key)}: stands twice, in line {first} too")
            result[key] = _construct(value_node, (*where, key), document)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*where, i), document) for i, item in enumerate(node.value)]
    return scalar(node)


def _no_key(key: Any, value_node: yaml.Node) -> str:
    """What is wrong with a key that is not text. `{seed: 0,1}` has the key 1, with nothing after it."""
    if value_node.value == "":
        return f"{written(key)} between braces has no name of its own; a list stands in brackets, as in [0, 1, 2]"
    return f"the key {written(key)} is not text; quote it if it is meant as a name"


def plain(text: str) -> Any:
    """What a text without quotes and brackets means, all of it: neither `#` nor `: ` ends it."""
    loader = Loader("")
    try:
        tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    finally:
        loader.dispose()
    return scalar(yaml.ScalarNode(tag, text))


def scalar(node: yaml.Node) -> Any:
    """None, True, False, a number or text. A date is text here, so the field's own check refuses it."""
    loader = Loader("")
    try:
        value = loader.construct_object(node, deep=True)
    except (ValueError, yaml.YAMLError):
        return node.value  # such as an impossible date, or a number of 5,000 digits
    finally:
        loader.dispose()
    return value if value is None or isinstance(value, bool | int | float | str) else node.value
