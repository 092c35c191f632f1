"""Emotion taxonomies: the labels, and the words that fill a hypothesis template for each of them.

A taxonomy file is YAML:

    name: ekman
    labels:
      - name: joy
        hypothesis: happy                 # what fills the template; default: the name
      - anger                             # short for {name: anger}
    template: "This person feels {}."     # optional
    source: Ekman (1992)                  # optional

Format version 2 adds, with a line `version: 2`:

    labels:
      - name: anger
        hypotheses: [angry, annoyed]      # several; the label's score is their aggregate
    aggregate: max                        # or mean, or odds; default: max
    neutral: absence                      # the label "neutral" has no hypothesis: no other label is above a threshold

and the labels of another taxonomy in groups:

    group: goemotions                     # a shipped name, or a path relative to this file
    labels:
      - name: anger
        members: [anger, annoyance]       # its hypotheses are theirs; every label belongs to one group

The template of a grouped taxonomy is the default of its groups.

The order of the labels is their class index. Files come from users: see `schemas.strict_yaml`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import yaml

from schemas.strict_yaml import (
    MAX_BYTES,
    YamlError,
    at,
    clean,
    fold,
    kind_of,
    mapping,
    node_error,
    read_root,
    show,
    text_of,
)
from schemas.suggestions import did_you_mean

DEFAULT_TEMPLATE = "This person feels {}."

# Of labels and of all their hypotheses: a sample's JSON has every one of them.
MAX_LABELS = 1000
MAX_SOURCE_CHARACTERS = 2000

NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

# The keys of a file and of a label, each with the version of the format that introduced it.
TAXONOMY_KEYS = {"name": 1, "labels": 1, "template": 1, "source": 1, "version": 1}
TAXONOMY_KEYS |= {"aggregate": 2, "neutral": 2, "group": 2}
LABEL_KEYS = {"name": 1, "hypothesis": 1, "hypotheses": 2, "members": 2}
VERSIONS = ("1", "2")

# How the scores of a label's hypotheses become its score: see `lanser_ops.common.label_scores.aggregated`.
MAX, MEAN, ODDS = AGGREGATES = ("max", "mean", "odds")
ABSENCE, NEUTRAL = "absence", "neutral"


@dataclass(frozen=True)
class Label:
    """A class of a taxonomy, and the words that name it in hypotheses; no words for the absence of all others."""

    name: str
    hypotheses: tuple[str, ...]


@dataclass(frozen=True)
class Taxonomy:
    """Labels in class-index order; ``template`` is None where the file has none."""

    name: str
    labels: tuple[Label, ...]
    template: str | None
    source: str
    aggregate: str = MAX

    @property
    def label_names(self) -> tuple[str, ...]:
        """The names of all labels, in class-index order."""
        return tuple(label.name for label in self.labels)

    @property
    def hypotheses(self) -> tuple[str, ...]:
        """The words of all labels, in label order."""
        return tuple(hypothesis for label in self.labels for hypothesis in label.hypotheses)

    @property
    def label_of(self) -> tuple[int, ...]:
        """The index of the label that each of `hypotheses` belongs to."""
        return tuple(index for index, label in enumerate(self.labels) for _ in label.hypotheses)

    @property
    def absence(self) -> int | None:
        """The index of the label without hypotheses, if there is one."""
        return next((index for index, label in enumerate(self.labels) if not label.hypotheses), None)


# One line with file, label and reason, about a taxonomy or template that cannot be used.
TaxonomyError = YamlError


def shipped_taxonomies() -> list[str]:
    """The names of the taxonomies in this package, sorted."""
    files = (resources.files("schemas") / "taxonomies").iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def load_taxonomy(name_or_path: str, grouped_by: tuple[str, ...] = ()) -> Taxonomy:
    """The shipped taxonomy of that name, or the one in a local YAML file.

    A shipped name wins over a file of that name in the working directory; write ``./ekman`` for the file.
    For a remote file, read the bytes and pass them to `parse_taxonomy`. ``grouped_by``: see there.

    Raises:
        TaxonomyError: no such taxonomy or file, or a file that `parse_taxonomy` refuses.
    """
    shipped = shipped_taxonomies()
    if name_or_path in shipped:
        resource = resources.files("schemas") / "taxonomies" / f"{name_or_path}.yaml"
        return parse_taxonomy(resource.read_bytes(), resource.name, grouped_by)
    looks_like_path = "/" in name_or_path or name_or_path.lower().endswith((".yaml", ".yml"))
    if not looks_like_path and not os.path.isfile(name_or_path):
        raise TaxonomyError(
            f"unknown taxonomy {show(name_or_path)}; use one of {', '.join(shipped)}, or give the path of a YAML file"
            f"{did_you_mean(name_or_path, shipped)}"
        )
    if os.path.exists(name_or_path) and not os.path.isfile(name_or_path):  # reading a pipe might never end
        raise TaxonomyError(f"{name_or_path}: is not a regular file; save the taxonomy as one")
    try:
        with open(name_or_path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise TaxonomyError(f"{name_or_path}: cannot be read: {getattr(error, 'strerror', error)}") from None
    return parse_taxonomy(data, name_or_path, grouped_by)


def parse_taxonomy(text: str | bytes, where: str, grouped_by: tuple[str, ...] = ()) -> Taxonomy:
    """The taxonomy in ``text``, the content of a taxonomy file; ``where`` names that file in messages.

    Names, hypotheses, template and source are stripped and normalised to Unicode NFC, so that the same word typed on
    two systems is the same label. ``grouped_by`` has the files that led here through their ``group``, none of which
    may be grouped again.

    Raises:
        TaxonomyError: not UTF-8, not YAML, over 1 MB, or not a taxonomy as described at the top of this module.
    """
    root = read_root(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, where)
    if root is None:
        raise TaxonomyError(f"{where}: is empty; write at least 'name:' and 'labels:'")
    entries = mapping(root, "the file", tuple(TAXONOMY_KEYS))
    version = _version(entries)
    _check_keys(entries, TAXONOMY_KEYS, version, "the file")
    if "name" not in entries:
        raise TaxonomyError(f"{where}: has no name; add a line such as 'name: my-taxonomy'")
    name = text_of(entries["name"], "name")
    if not NAME_PATTERN.fullmatch(name):
        raise node_error(
            entries["name"],
            f"name {show(name)} cannot be the name of a directory; use 1 to 64 of the characters "
            "A-Z a-z 0-9 . _ -, beginning with a letter or digit",
        )
    if "labels" not in entries:
        raise TaxonomyError(f"{where}: has no labels; list at least two under 'labels:'")
    group = _group(entries["group"], where, grouped_by) if "group" in entries else None
    template = group.template if group else None
    if "template" in entries:
        node = entries["template"]
        template = check_template(text_of(node, "template"), at(node, "template"))
    source = text_of(entries["source"], "source", limit=MAX_SOURCE_CHARACTERS) if "source" in entries else ""
    labels = _labels(entries["labels"], version, group)
    if "neutral" in entries:
        labels = _without_neutral(entries["neutral"], labels, group)
    aggregate = _choice(entries["aggregate"], "aggregate", AGGREGATES) if "aggregate" in entries else MAX
    return Taxonomy(name, labels, template, source, aggregate)


def _version(entries: dict[str, yaml.Node]) -> int:
    node = entries.get("version")
    if node is None:
        return 1
    if not isinstance(node, yaml.ScalarNode) or node.value not in VERSIONS:
        value = f" {show(node.value)}" if isinstance(node, yaml.ScalarNode) else ""
        versions = " and ".join(VERSIONS)
        raise node_error(node, f"version{value} is none of {versions}, which this lanser reads; update lanser")
    return int(node.value)


def _check_keys(entries: dict[str, yaml.Node], keys: dict[str, int], version: int, what: str) -> None:
    for key, node in entries.items():
        if keys[key] > version:
            raise node_error(node, f"{what} has the key {show(key)}, which needs a line 'version: {keys[key]}'")


def _choice(node: yaml.Node, what: str, choices: tuple[str, ...]) -> str:
    value = text_of(node, what)
    if value not in choices:
        raise node_error(node, f"{what} is {show(value)}; it must be {' or '.join(choices)}")
    return value


def _group(node: yaml.Node, where: str, grouped_by: tuple[str, ...]) -> Taxonomy:
    """The taxonomy whose labels the file ``where`` groups."""
    name = text_of(node, "group")
    path = name if name in shipped_taxonomies() else str(Path(where).parent / name)
    files = (*grouped_by, os.path.realpath(where))
    if os.path.realpath(path) in files:
        raise node_error(node, f"group {show(name)}: the files group each other in a circle")
    try:
        taxonomy = load_taxonomy(path, files)
    except TaxonomyError as error:
        raise node_error(node, f"group: {error}") from None
    if taxonomy.absence is not None:
        raise node_error(node, f"group {show(name)}: has a label without hypotheses, which cannot be a member")
    return taxonomy


def _without_neutral(node: yaml.Node, labels: tuple[Label, ...], group: Taxonomy | None) -> tuple[Label, ...]:
    """``labels``, the one called neutral without hypotheses; in a group, those of its members are left out."""
    _choice(node, "neutral", (ABSENCE,))
    neutral = next((label for label in labels if label.name == NEUTRAL), None)
    if neutral is None:
        raise node_error(node, f"neutral is {ABSENCE}, but no label is called {NEUTRAL!r}; add one")
    if len(labels) < 3:
        raise node_error(node, f"neutral is {ABSENCE}, so at least two other labels are needed")
    if group is None and neutral.hypotheses != (NEUTRAL,):
        raise node_error(node, f"neutral is {ABSENCE}, but the label {NEUTRAL!r} has hypotheses; remove either")
    return tuple(replace(label, hypotheses=()) if label is neutral else label for label in labels)


def check_template(template: str, what: str = "template") -> str:
    """The template, stripped and in Unicode NFC, if it has exactly one ``{}`` and no other brace.

    ``what`` begins the error message: where the template comes from, such as ``--template``.

    Raises:
        TaxonomyError: any other template.
    """
    template = clean(template, what)
    count = template.count("{}")
    if re.search(r"[{}]", template.replace("{}", "")):
        fault = "braces other than {}"
    elif count != 1:
        fault = "no {}" if count == 0 else f"{{}} {count} times"
    else:
        return template
    advice = f"put one {{}} where the emotion goes, as in {show(DEFAULT_TEMPLATE)}"
    raise TaxonomyError(f"{what} {show(template)} has {fault}; {advice}")


def _labels(node: yaml.Node, version: int, group: Taxonomy | None) -> tuple[Label, ...]:
    if kind_of(node) == "null":
        raise node_error(node, "labels is empty; at least two are needed")
    if not isinstance(node, yaml.SequenceNode):
        raise node_error(node, f"labels is {kind_of(node)}; it must be a list, one '- name' per line")
    if len(node.value) < 2:
        count = "one label" if node.value else "no labels"
        raise node_error(node, f"labels holds {count}; at least two are needed")
    if len(node.value) > MAX_LABELS:
        raise node_error(node, f"labels holds {len(node.value)} labels; at most {MAX_LABELS} are allowed")
    members = {fold(label.name): label for label in group.labels} if group else {}
    labels = []
    by_name: dict[str, str] = {}
    by_hypothesis: dict[str, str] = {}
    for number, item in enumerate(node.value, start=1):
        label = _member_label(item, number, version, members) if group else _label(item, number, version)
        this = f"label {number} {show(label.name)}"
        # Case does not count: many NLI models are uncased, and would score two such labels alike.
        other = by_name.setdefault(fold(label.name), this)
        if other is not this:
            raise node_error(item, f"{this} has the same name as {other}, ignoring case; remove or rename one")
        for hypothesis in label.hypotheses:
            if fold(hypothesis) in by_hypothesis:
                other = by_hypothesis[fold(hypothesis)]
                twice = f"the hypothesis {show(hypothesis)} twice" if other is this else ""
                same = twice or f"the same hypothesis {show(hypothesis)} as {other}"
                raise node_error(item, f"{this} has {same}, ignoring case; give each its own")
            by_hypothesis[fold(hypothesis)] = this
        labels.append(label)
    if len(by_hypothesis) > MAX_LABELS:
        raise node_error(node, f"labels holds {len(by_hypothesis)} hypotheses; at most {MAX_LABELS} are allowed")
    if members:
        missing = ", ".join(label.name for label in members.values())
        raise node_error(node, f"no label has the members {missing}; every label of the grouped taxonomy must be one")
    return tuple(labels)


def _label(node: yaml.Node, number: int, version: int) -> Label:
    what = f"label {number}"
    if not isinstance(node, yaml.MappingNode):
        name = text_of(node, what)
        return Label(name, (name,))
    name, entries = _entries(node, what, version)
    this = f"{what} {show(name)}"
    if "members" in entries:
        raise node_error(entries["members"], f"{this} has members, but the file has no 'group:' to take them from")
    if "hypotheses" in entries:
        if "hypothesis" in entries:
            raise node_error(entries["hypothesis"], f"{this} has both hypothesis and hypotheses; remove one")
        return Label(name, _texts(entries["hypotheses"], f"{this}: hypotheses"))
    return Label(name, (text_of(entries["hypothesis"], f"{this}: hypothesis") if "hypothesis" in entries else name,))


def _member_label(node: yaml.Node, number: int, version: int, members: dict[str, Label]) -> Label:
    """The label that a group of ``members`` makes; they are removed from the dictionary."""
    what = f"label {number}"
    if not isinstance(node, yaml.MappingNode):
        raise node_error(node, f"{what} has no members; write it as {{name: …, members: […]}}")
    name, entries = _entries(node, what, version)
    this = f"{what} {show(name)}"
    if entries.keys() != {"name", "members"}:
        raise node_error(node, f"{this} must have members and nothing else beside its name, as the file has 'group:'")
    hypotheses: list[str] = []
    for member in _texts(entries["members"], f"{this}: members"):
        label = members.pop(fold(member), None)
        if label is None:
            fault = f"is no label of the grouped taxonomy, or is a member twice{did_you_mean(member, members)}"
            raise node_error(node, f"{this}: {show(member)} {fault}")
        hypotheses.extend(label.hypotheses)
    return Label(name, tuple(hypotheses))


def _entries(node: yaml.MappingNode, what: str, version: int) -> tuple[str, dict[str, yaml.Node]]:
    """The name of a label and all its entries."""
    entries = mapping(node, what, tuple(LABEL_KEYS))
    _check_keys(entries, LABEL_KEYS, version, what)
    if "name" not in entries:
        raise node_error(node, f"{what} has no name; write '- name: …'")
    return text_of(entries["name"], f"{what}: name"), entries


def _texts(node: yaml.Node, what: str) -> tuple[str, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise node_error(node, f"{what} is {kind_of(node)}; it must be a list, such as [angry, annoyed]")
    if not node.value:
        raise node_error(node, f"{what} is an empty list; at least one text is needed")
    return tuple(text_of(item, what) for item in node.value)
