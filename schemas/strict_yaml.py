"""YAML files of users, read without trust: composed into nodes only, and checked node by node.

No Python object is ever built from a file, and every error names file and line. Text is stripped and normalised to
Unicode NFC, so that the same word typed on two systems is the same text.
"""

from __future__ import annotations

import math
import unicodedata

import yaml

from schemas.suggestions import did_you_mean

MAX_BYTES = 1_000_000
# The longest text of a file, unless its reader allows more: a longer hypothesis would leave little room for the
# transcript in an NLI model's input.
MAX_CHARACTERS = 200
# A taxonomy has five levels (file, labels, label, hypotheses, text); a file much deeper would only use up the stack.
MAX_DEPTH = 8

KINDS = {
    "str": "text",
    "map": "a mapping",
    "seq": "a list",
    "int": "a number",
    "float": "a number",
    "bool": "a boolean",
    "null": "null",
    "timestamp": "a date",
    "merge": "a merge key",
    "value": "a default key",
}


class YamlError(ValueError):
    """A file that cannot be used: one line with file, line, place and reason."""


def read_root(data: bytes, where: str) -> yaml.Node | None:
    """The root node of a file's content, None for an empty file; ``where`` names the file in messages.

    Raises:
        YamlError: not UTF-8, not YAML, or over 1 MB.
    """
    if len(data) > MAX_BYTES:
        raise YamlError(f"{where}: is larger than {MAX_BYTES:,} bytes, too large for a list of labels")
    try:
        return _compose(data.decode("utf-8"), where)
    except UnicodeDecodeError as error:
        raise YamlError(f"{where}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


class _Composer(yaml.SafeLoader):
    """Composes nodes, and refuses what could expand a small file, nest it deeply or construct objects from it."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise node_error(
                event,
                "YAML anchors (&), aliases (*) and tags (!) are not allowed; write the values out, "
                "and put text that begins with one of these signs in quotes",
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise node_error(event, "the file is nested too deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, where: str) -> yaml.Node | None:
    try:
        composer = _Composer(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"has the control character U+{error.character:04X}; remove it"
        raise YamlError(f"{where}:{line}: {reason}") from None
    composer.name = where  # which every mark, and so every message, contains
    try:
        return composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise YamlError(f"{where}:{line}: is not valid YAML: {reason}") from None
    except YamlError:
        raise
    except (ValueError, OverflowError):  # raised by chr() for the escape "\UFFFFFFFF"
        line = composer.line + 1
        raise YamlError(f"{where}:{line}: is not valid YAML: an escape is not a Unicode character") from None
    finally:
        composer.dispose()


def mapping(node: yaml.Node, what: str, keys: tuple[str, ...]) -> dict[str, yaml.Node]:
    """The values of a mapping by key; keys that are not in ``keys``, and repeated keys, are refused."""
    known = ", ".join(keys)
    if not isinstance(node, yaml.MappingNode):
        raise node_error(node, f"{what} is {kind_of(node)}; it must be a mapping with the keys {known}")
    entries: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise node_error(key, f"{what} has {kind_of(key)} for a key; the keys are {known}")
        if key.value not in keys:
            hint = did_you_mean(key.value, keys)
            raise node_error(key, f"{what} has the unknown key {show(key.value)}; the keys are {known}{hint}")
        if key.value in entries:
            raise node_error(key, f"{what} has the key {show(key.value)} twice; remove one")
        entries[key.value] = value
    return entries


def text_of(node: yaml.Node, what: str, limit: int = MAX_CHARACTERS) -> str:
    """The cleaned text of a node that YAML reads as text."""
    kind = kind_of(node)
    if not isinstance(node, yaml.ScalarNode):
        raise node_error(node, f"{what} is {kind}; it must be text, in quotes if it begins with {{ or [")
    if kind == "null" and not node.value:
        raise node_error(node, f"{what} is empty")
    if kind != "text":
        value = node.value
        raise node_error(node, f'{what} is {value}, which YAML reads as {kind}; put it in quotes: "{value}"')
    return clean(node.value, at(node, what), limit)


def number_of(node: yaml.Node, what: str, low: float, high: float) -> float:
    """The value of a node that is a number from ``low`` to ``high``, both included."""
    try:
        value = float(node.value) if kind_of(node) == "a number" else math.nan
    except ValueError:  # a number that only YAML knows, such as 0x10 or 1:30
        value = math.nan
    if not low <= value <= high:
        shown = show(node.value) if isinstance(node, yaml.ScalarNode) else kind_of(node)
        raise node_error(node, f"{what} is {shown}; it must be a number from {low:g} to {high:g}")
    return value


def clean(text: str, what: str, limit: int = MAX_CHARACTERS) -> str:
    """The text stripped and in NFC, if it is a single line of at most ``limit`` readable characters."""
    text = text.strip()
    if not text:
        raise YamlError(f"{what} is empty")
    # Checked before normalising, which takes quadratic time in a run of combining marks.
    if len(text) > limit:
        raise YamlError(f"{what} {show(text)} has {len(text)} characters; at most {limit} are allowed")
    text = unicodedata.normalize("NFC", text)
    for character in text:
        # Cc: control, Cs: half a surrogate pair (not encodable), Zl and Zp: line and paragraph separators.
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            fault = f"a line break or control character (U+{ord(character):04X})"
            raise YamlError(f"{what} {show(text)} has {fault}; remove it")
    return text


def fold(text: str) -> str:
    """The text in a form in which texts that differ only in case are equal."""
    return unicodedata.normalize("NFC", text.casefold())


def kind_of(node: yaml.Node) -> str:
    """What YAML reads the node as, for error messages."""
    return KINDS[node.tag.removeprefix("tag:yaml.org,2002:")]


def at(marked: yaml.Node | yaml.Event, message: str) -> str:
    """The message after the file and line of a node or event."""
    mark = marked.start_mark
    assert mark is not None, "nodes and events that were parsed from text have marks"
    return f"{mark.name}:{mark.line + 1}: {message}"


def node_error(marked: yaml.Node | yaml.Event, message: str) -> YamlError:
    return YamlError(at(marked, message))


def show(text: str) -> str:
    """The text quoted, on one line, and shortened if it is long."""
    return repr(text if len(text) <= 60 else text[:59] + "…")
