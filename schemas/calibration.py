"""Calibration files: values of label and shard options that were fitted on labels of people, and on which scores.

    version: 1
    fitted_on:
      taxonomy: ekman
      labels: [anger, disgust, fear, joy, sadness, surprise, neutral]
      templates: ['This person feels {}.']
      nli_model: lanser MiniLM-L6 NLI
      nli_sha256: 55f8…
      against: all
      rows: 187
    values:
      prior_strength: 0.25
      temperature: 1.6

``lanser calibrate`` writes them, ``--calibration`` reads them. `RANGES` lists the values that there may be.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

import yaml

from schemas.specs import ModelRef
from schemas.strict_yaml import YamlError, kind_of, mapping, node_error, number_of, read_root, show, text_of
from schemas.taxonomy import Taxonomy

VERSION = "1"
# The values of a calibration and their limits, which are also those of the options of the same name.
RANGES = {
    "prior_strength": (0.0, 1.0),
    "neutral_threshold": (-100.0, 100.0),
    "temperature": (0.05, 20.0),
    "min_score": (0.0, 1.0),
    "min_margin": (0.0, 1.0),
}


@dataclass(frozen=True)
class FittedOn:
    """What scores a calibration belongs to: its values mean nothing for those of another labeller or taxonomy."""

    taxonomy: str
    labels: tuple[str, ...]
    templates: tuple[str, ...]
    nli_model: str
    nli_sha256: str
    against: str

    @classmethod
    def of(cls, taxonomy: Taxonomy, templates: Sequence[str], model: ModelRef, against: str) -> FittedOn:
        labels = taxonomy.label_names
        return cls(taxonomy.name, labels, tuple(templates), model.id, model.sha256, against)


@dataclass(frozen=True)
class Calibration:
    """``values`` by the names of `RANGES`; ``rows`` is the number of labelled rows, ``path`` where it was read."""

    fitted_on: FittedOn
    rows: int
    values: Mapping[str, float]
    path: str = ""


def dump_calibration(calibration: Calibration) -> bytes:
    """The content of the file, which `parse_calibration` reads back."""
    stored = asdict(calibration.fitted_on)
    fitted_on = {name: list(value) if isinstance(value, tuple) else value for name, value in stored.items()}
    content = {
        "version": int(VERSION),
        "fitted_on": {**fitted_on, "rows": calibration.rows},
        "values": dict(calibration.values),
    }
    return yaml.safe_dump(content, allow_unicode=True, sort_keys=False, width=1000).encode()


def parse_calibration(data: bytes, where: str) -> Calibration:
    """The calibration in ``data``; ``where`` names its file in messages.

    Raises:
        YamlError: not a calibration as described at the top of this module, or a value outside its range.
    """
    root = read_root(data, where)
    if root is None:
        raise YamlError(f"{where}: is empty; write it with lanser calibrate")
    entries = _whole(root, "the file", ("version", "fitted_on", "values"))
    version = entries["version"]
    if not isinstance(version, yaml.ScalarNode) or version.value != VERSION:
        raise node_error(version, f"version is not {VERSION}, which this lanser reads; update lanser")
    names = tuple(field.name for field in fields(FittedOn))
    nodes = _whole(entries["fitted_on"], "fitted_on", (*names, "rows"))
    fitted_on = FittedOn(
        taxonomy=text_of(nodes["taxonomy"], "taxonomy"),
        labels=_texts(nodes["labels"], "labels"),
        templates=_texts(nodes["templates"], "templates"),
        nli_model=text_of(nodes["nli_model"], "nli_model"),
        nli_sha256=text_of(nodes["nli_sha256"], "nli_sha256"),
        against=text_of(nodes["against"], "against"),
    )
    rows = int(number_of(nodes["rows"], "rows", 0, 1e9))
    values = mapping(entries["values"], "values", tuple(RANGES))
    return Calibration(
        fitted_on, rows, {name: number_of(node, name, *RANGES[name]) for name, node in values.items()}, where
    )


def _whole(node: yaml.Node, what: str, keys: tuple[str, ...]) -> dict[str, yaml.Node]:
    """The entries of a mapping that has all ``keys`` and no others."""
    entries = mapping(node, what, keys)
    for key in keys:
        if key not in entries:
            raise node_error(node, f"{what} has no {show(key)}; write the file with lanser calibrate")
    return entries


def _texts(node: yaml.Node, what: str) -> tuple[str, ...]:
    if not isinstance(node, yaml.SequenceNode):
        raise node_error(node, f"{what} is {kind_of(node)}; it must be a list")
    return tuple(text_of(item, what) for item in node.value)
