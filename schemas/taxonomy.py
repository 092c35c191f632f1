"""Emotion taxonomies: the labels, and the words that fill a hypothesis template for each of them.

A taxonomy file is YAML:

    name: ekman
    labels:
      - name: joy
        hypothesis: happy                 # what fills the template; default: the name
      - anger                             # short for {name: anger}
    template: "This person feels {}."     # optional
    source: Ekman (1992)                  # optional

The order of the labels is their class index. Files come from users, so a file is composed into YAML nodes only and
checked node by node: no Python object is ever built from it, and every message can name the line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from dataclasses import dataclass
from importlib import resources

import yaml

DEFAULT_TEMPLATE = "This person feels {}."

MAX_BYTES = 1_000_000
MAX_LABELS = 1000
# A longer hypothesis would leave little room for the transcript in an NLI model's input.
MAX_CHARACTERS = 200
MAX_SOURCE_CHARACTERS = 2000
# A taxonomy has four levels (file, labels, label, text); parsing a deeper file only uses up the stack.
MAX_DEPTH = 8

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

TAXONOMY_KEYS = ("name", "labels", "template", "source")
LABEL_KEYS = ("name", "hypothesis")

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


@dataclass(frozen=True)
class Label:
    """A class of a taxonomy, and the words that name it in a hypothesis."""

    name: str
    hypothesis: str


@dataclass(frozen=True)
class Taxonomy:
    """Labels in class-index order; ``template`` is None where the file has none."""

    name: str
    labels: tuple[Label, ...]
    template: str | None
    source: str


class TaxonomyError(ValueError):
    """A taxonomy or template that cannot be used: one line with file, label and reason."""


def shipped_taxonomies() -> list[str]:
    """The names of the taxonomies in this package, sorted."""
    files = (resources.files("schemas") / "taxonomies").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_taxonomy(name_or_path: str) -> Taxonomy:
    """The shipped taxonomy of that name, or the one in a local YAML file.

    A shipped name wins over a file of that name in the working directory; write ``./ekman`` for the file.
    For a remote file, read the bytes and pass them to `parse_taxonomy`.

    Raises:
        TaxonomyError: no such taxonomy or file, or a file that `parse_taxonomy` refuses.
    """
    shipped = shipped_taxonomies()
    if name_or_path in shipped:
        resource = resources.files("schemas") / "taxonomies" / f"{name_or_path}.yaml"
        return parse_taxonomy(resource.read_bytes(), resource.name)
    looks_like_path = "/" in name_or_path or name_or_path.lower().endswith((".yaml", ".yml"))
    if not looks_like_path and not os.path.isfile(name_or_path):
        raise TaxonomyError(
            f"unknown taxonomy {_show(name_or_path)}; use one of {', '.join(shipped)}, or give the path of a YAML file"
        )
    try:
        with open(name_or_path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise TaxonomyError(f"{name_or_path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    return parse_taxonomy(data, name_or_path)


def parse_taxonomy(text: str | bytes, where: str) -> Taxonomy:
    """The taxonomy in ``text``, the content of a taxonomy file; ``where`` names that file in messages.

    Names, hypotheses, template and source are stripped and normalised to Unicode NFC, so that the same word typed on
    two systems is the same label.

    Raises:
        TaxonomyError: not UTF-8, not YAML, over 1 MB, or not a taxonomy as described at the top of this module.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_BYTES:
        raise TaxonomyError(f"{where}: is larger than {MAX_BYTES:,} bytes, too large for a list of labels")
    try:
        root = _compose(data.decode("utf-8"), where)
    except UnicodeDecodeError as error:
        raise TaxonomyError(f"{where}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    if root is None:
        raise TaxonomyError(f"{where}: is empty; write at least 'name:' and 'labels:'")
    entries = _mapping(root, "the file", TAXONOMY_KEYS)
    if "name" not in entries:
        raise TaxonomyError(f"{where}: has no name; add a line such as 'name: my-taxonomy'")
    name = _text(entries["name"], "name")
    if not NAME_PATTERN.fullmatch(name):
        raise _error(
            entries["name"],
            f"name {_show(name)} cannot be the name of a directory; use 1 to 64 of the characters "
            "A-Z a-z 0-9 . _ -, beginning with a letter or digit",
        )
    if "labels" not in entries:
        raise TaxonomyError(f"{where}: has no labels; list at least two under 'labels:'")
    template = None
    if "template" in entries:
        node = entries["template"]
        template = check_template(_text(node, "template"), _at(node, "template"))
    source = _text(entries["source"], "source", limit=MAX_SOURCE_CHARACTERS) if "source" in entries else ""
    return Taxonomy(name, _labels(entries["labels"]), template, source)


def check_template(template: str, what: str = "template") -> str:
    """The template, stripped and in Unicode NFC, if it has exactly one ``{}`` and no other brace.

    ``what`` begins the error message: where the template comes from, such as ``--template``.

    Raises:
        TaxonomyError: any other template.
    """
    template = _clean(template, what)
    count = template.count("{}")
    if re.search(r"[{}]", template.replace("{}", "")):
        fault = "braces other than {}"
    elif count != 1:
        fault = "no {}" if count == 0 else f"{{}} {count} times"
    else:
        return template
    advice = f"put one {{}} where the emotion goes, as in {_show(DEFAULT_TEMPLATE)}"
    raise TaxonomyError(f"{what} {_show(template)} has {fault}; {advice}")


def hypotheses(taxonomy: Taxonomy, template: str) -> list[str]:
    """The template filled for each label, in taxonomy order.

    Raises:
        TaxonomyError: a template that `check_template` refuses.
    """
    before, _, after = check_template(template).partition("{}")
    return [before + label.hypothesis + after for label in taxonomy.labels]


def fingerprint(taxonomy: Taxonomy) -> str:
    """SHA-256, as hex, of name, labels, hypotheses and template: everything that decides a label."""
    content = {
        "name": taxonomy.name,
        "labels": [[label.name, label.hypothesis] for label in taxonomy.labels],
        "template": taxonomy.template,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


class _Composer(yaml.SafeLoader):
    """Composes nodes, and refuses what could expand a small file, nest it deeply or construct objects from it."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()
        if event.anchor is not None or getattr(event, "tag", None) is not None:
            raise _error(
                event,
                "YAML anchors (&), aliases (*) and tags (!) are not allowed; write the labels out, "
                "and put text that begins with one of these signs in quotes",
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _error(event, "the file is nested too deep for a taxonomy")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def _compose(text: str, where: str) -> yaml.Node | None:
    try:
        composer = _Composer(text)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        reason = f"has the control character U+{error.character:04X}; remove it"
        raise TaxonomyError(f"{where}:{line}: {reason}") from None
    composer.name = where  # which every mark, and so every message, contains
    try:
        return composer.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise TaxonomyError(f"{where}:{line}: is not valid YAML: {reason}") from None
    except TaxonomyError:
        raise
    except (ValueError, OverflowError):  # raised by chr() for the escape "\UFFFFFFFF"
        line = composer.line + 1
        raise TaxonomyError(f"{where}:{line}: is not valid YAML: an escape is not a Unicode character") from None
    finally:
        composer.dispose()


def _labels(node: yaml.Node) -> tuple[Label, ...]:
    if _kind(node) == "null":
        raise _error(node, "labels is empty; at least two are needed")
    if not isinstance(node, yaml.SequenceNode):
        raise _error(node, f"labels is {_kind(node)}; it must be a list, one '- name' per line")
    if len(node.value) < 2:
        count = "one label" if node.value else "no labels"
        raise _error(node, f"labels holds {count}; at least two are needed")
    if len(node.value) > MAX_LABELS:
        raise _error(node, f"labels holds {len(node.value)} labels; at most {MAX_LABELS} are allowed")
    labels = []
    by_name: dict[str, str] = {}
    by_hypothesis: dict[str, str] = {}
    for number, item in enumerate(node.value, start=1):
        label = _label(item, number)
        this = f"label {number} {_show(label.name)}"
        # Case does not count: many NLI models are uncased, and would score two such labels alike.
        other = by_name.setdefault(_fold(label.name), this)
        if other is not this:
            raise _error(item, f"{this} has the same name as {other}, ignoring case; remove or rename one")
        other = by_hypothesis.setdefault(_fold(label.hypothesis), this)
        if other is not this:
            same = f"the same hypothesis {_show(label.hypothesis)} as {other}, ignoring case"
            raise _error(item, f"{this} has {same}; give each its own")
        labels.append(label)
    return tuple(labels)


def _label(node: yaml.Node, number: int) -> Label:
    what = f"label {number}"
    if not isinstance(node, yaml.MappingNode):
        name = _text(node, what)
        return Label(name, name)
    entries = _mapping(node, what, LABEL_KEYS)
    if "name" not in entries:
        raise _error(node, f"{what} has no name; write '- name: …'")
    name = _text(entries["name"], f"{what}: name")
    if "hypothesis" not in entries:
        return Label(name, name)
    return Label(name, _text(entries["hypothesis"], f"{what} {_show(name)}: hypothesis"))


def _mapping(node: yaml.Node, what: str, keys: tuple[str, ...]) -> dict[str, yaml.Node]:
    """The values of a mapping by key; keys that are not in ``keys``, and repeated keys, are refused."""
    known = ", ".join(keys)
    if not isinstance(node, yaml.MappingNode):
        raise _error(node, f"{what} is {_kind(node)}; it must be a mapping with the keys {known}")
    entries: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise _error(key, f"{what} has {_kind(key)} for a key; the keys are {known}")
        if key.value not in keys:
            raise _error(key, f"{what} has the unknown key {_show(key.value)}; the keys are {known}")
        if key.value in entries:
            raise _error(key, f"{what} has the key {_show(key.value)} twice; remove one")
        entries[key.value] = value
    return entries


def _text(node: yaml.Node, what: str, limit: int = MAX_CHARACTERS) -> str:
    """The cleaned text of a node that YAML reads as text."""
    kind = _kind(node)
    if not isinstance(node, yaml.ScalarNode):
        raise _error(node, f"{what} is {kind}; it must be text, in quotes if it begins with {{ or [")
    if kind == "null" and not node.value:
        raise _error(node, f"{what} is empty")
    if kind != "text":
        value = node.value
        raise _error(node, f'{what} is {value}, which YAML reads as {kind}; put it in quotes: "{value}"')
    return _clean(node.value, _at(node, what), limit)


def _clean(text: str, what: str, limit: int = MAX_CHARACTERS) -> str:
    """The text stripped and in NFC, if it is a single line of at most ``limit`` readable characters."""
    text = text.strip()
    if not text:
        raise TaxonomyError(f"{what} is empty")
    # Checked before normalising, which takes quadratic time in a run of combining marks.
    if len(text) > limit:
        raise TaxonomyError(f"{what} {_show(text)} has {len(text)} characters; at most {limit} are allowed")
    text = unicodedata.normalize("NFC", text)
    for character in text:
        # Cc: control, Cs: half a surrogate pair (not encodable), Zl and Zp: line and paragraph separators.
        if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp"):
            fault = f"a line break or control character (U+{ord(character):04X})"
            raise TaxonomyError(f"{what} {_show(text)} has {fault}; remove it")
    return text


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())


def _kind(node: yaml.Node) -> str:
    return KINDS[node.tag.removeprefix("tag:yaml.org,2002:")]


def _at(marked: yaml.Node | yaml.Event, message: str) -> str:
    mark = marked.start_mark
    assert mark is not None, "nodes and events that were parsed from text have marks"
    return f"{mark.name}:{mark.line + 1}: {message}"


def _error(marked: yaml.Node | yaml.Event, message: str) -> TaxonomyError:
    return TaxonomyError(_at(marked, message))


def _show(text: str) -> str:
    """The text quoted, on one line, and shortened if it is long."""
    return repr(text if len(text) <= 60 else text[:59] + "…")
