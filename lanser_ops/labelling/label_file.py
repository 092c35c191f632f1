"""Labels and scores from elsewhere, such as people or a language model, in the place of a labeller's (--labels-from).

The file has one row per utterance, or per recording, named by ``key`` or by ``path`` with ``start_s`` and ``end_s``,
and a column ``label``, or a column of scores per label that has the label's name. Scores are stored as if a labeller of
the file's hash had given them, so everything after scoring is that of any build.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa

from lanser_ops import storage
from lanser_ops.backends import BUNDLED
from lanser_ops.common.errors import InputError
from lanser_ops.corpus.manifests import READERS, read_columns, resolve_paths
from lanser_ops.corpus.plan import read_unit
from lanser_ops.labelling.human_labels import label_advice
from lanser_ops.labelling.score_store import write_scores
from lanser_ops.output.dataset import recording_path
from lanser_ops.output.directory import OutputDir
from schemas.records import Transcript, utterance_key
from schemas.specs import NO_PRIOR, LabelSpec, ModelRef, ScoreSet
from schemas.strict_yaml import fold
from schemas.taxonomy import MAX, Label, TaxonomyError, load_taxonomy
from schemas.units import Unit

OPTION = "--labels-from"
KEY = re.compile(r"[0-9a-f]{16}")
NAME_COLUMNS = pa.schema(
    [
        ("key", pa.string()),
        ("path", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("label", pa.string()),
    ]
)
# What ``against`` is for scores that no labeller gave, and the template that makes a label's name its hypothesis.
AGAINST, TEMPLATE = "labels", "{}"


@dataclass(frozen=True)
class LabelFile:
    """``scores`` is float32 (rows, labels); ``row_of`` has the row of every key and of every path that a row names.

    ``numbers`` has the number of each of these rows in the file, from 1; a row of the file with neither label nor
    scores is not among them.
    """

    sha256: str
    scores: np.ndarray
    row_of: Mapping[str, int]
    numbers: Sequence[int]

    def row(self, transcript: Transcript, path: str) -> int | None:
        """The row of an utterance whose recording lies at ``path``: its own, or that of the whole recording."""
        times = transcript.start_s, transcript.end_s
        names = [(transcript.source, times), (path, times), (transcript.source, None), (path, None)]
        keys = [transcript.key, *(utterance_key(name, *(span or (None, None))) for name, span in names)]
        return next((self.row_of[key] for key in keys if key in self.row_of), None)


def file_label_spec(args: argparse.Namespace) -> LabelSpec:
    """The label stage of ``--labels-from``. Raises InputError for a bad taxonomy or file, and for labeller options."""
    labeller_options = ("template", "against", "prior_strength", "neutral_threshold", "temperature", "calibration")
    without_use = [name for name in labeller_options if getattr(args, name) is not None]
    defaults = {"nli_model": BUNDLED, "prior": LabelSpec.prior, "context": LabelSpec.context}
    without_use += [name for name, default in defaults.items() if getattr(args, name) != default]
    if without_use:
        raise InputError(f"--{without_use[0].replace('_', '-')}: no labeller runs with {OPTION}; leave one of them out")
    try:
        taxonomy = load_taxonomy(args.taxonomy)
    except TaxonomyError as error:
        raise InputError(str(error)) from None
    path = storage.absolute(args.labels_from)
    labels = tuple(Label(label.name, (label.name,)) for label in taxonomy.labels)
    name = posixpath.basename(path)
    return LabelSpec(
        taxonomy=replace(taxonomy, labels=labels, template=None, aggregate=MAX),
        templates=(TEMPLATE,),
        nli_model=ModelRef(f"labels:{name}", read_label_file(path, taxonomy.label_names).sha256, path),
        against=AGAINST,
        prior=NO_PRIOR,
        prior_strength=0.0,
        label_source=name,
    )


def import_scores(
    out: OutputDir, unit: Unit, roots: Sequence[str], path: str, spec: LabelSpec, sets: Sequence[ScoreSet]
) -> None:
    """Write the scores that the file at ``path`` has for the unit's transcripts; all 0 where it has none.

    Raises InputError if the file is not the one that ``spec`` names.
    """
    names = spec.taxonomy.label_names
    label_file = read_label_file(path, names)
    if label_file.sha256 != spec.nli_model.sha256:
        raise InputError(f"{OPTION} {path}: has changed since the job began; run the same command again")
    column_of = {name: column for column, name in enumerate(names)}
    transcripts = out.read_transcripts(unit)
    rows = _rows(out, unit, roots, label_file, transcripts)
    for score_set in sets:
        if out.exists(out.scores(score_set, unit)):
            continue
        scores = np.zeros((len(rows), len(score_set.hypotheses)), np.float32)
        columns = [column_of[name] for name in score_set.hypotheses]
        for number, row in enumerate(rows):
            if row is not None:
                scores[number] = label_file.scores[row, columns]
        keys = [transcript.key for transcript in transcripts]
        write_scores(out, out.scores(score_set, unit), keys, scores, np.zeros(len(rows), dtype=bool))


def unmatched_rows(
    out: OutputDir, units: Sequence[Unit], roots: Sequence[str], path: str, labels: tuple[str, ...]
) -> list[int]:
    """The numbers, from 1, of the rows of the file at ``path`` that name no transcript of ``units``."""
    label_file = read_label_file(path, labels)
    matched = {row for unit in units for row in _rows(out, unit, roots, label_file, out.read_transcripts(unit))}
    return [number for row, number in enumerate(label_file.numbers) if row not in matched]


def _rows(
    out: OutputDir, unit: Unit, roots: Sequence[str], label_file: LabelFile, transcripts: Sequence[Transcript]
) -> list[int | None]:
    paths = {row.source: recording_path(row, roots) for row in read_unit(out, unit)}
    return [label_file.row(transcript, paths[transcript.source]) for transcript in transcripts]


@lru_cache(maxsize=1)
def read_label_file(path: str, labels: tuple[str, ...]) -> LabelFile:
    """The file at ``path``; a label without scores counts as a score of 1 for it and 0 for the others.

    Rows with neither label nor scores are left out. Raises InputError, one line, with the row where there is one: for
    a file that cannot be read or lacks columns, an unknown label, a score outside 0 to 1, a label that has not the
    highest score, an incomplete name, and a second row for the same utterance.
    """
    where = f"{OPTION} {path}"
    extension = posixpath.splitext(path)[1].lower().lstrip(".")
    if extension not in READERS:
        raise InputError(f"{where}: not a {', '.join(f'.{name}' for name in READERS)} file; convert it to one of them")
    try:
        content = storage.read_bytes(path)
    except OSError as error:
        raise InputError(f"{where}: cannot be read ({error.strerror or ' '.join(str(error).split())})") from None
    schema = pa.schema([*NAME_COLUMNS, *((label, pa.float64()) for label in labels if label not in NAME_COLUMNS.names)])
    table, present = read_columns(io.BytesIO(content), extension, schema, where)
    scored = [label for label in labels if label in present and label not in NAME_COLUMNS.names]
    if not {"key", "path"} & set(present):
        raise InputError(f"{where}: needs a column 'key' or 'path' (it has: {', '.join(present)})")
    if not scored and "label" not in present:
        raise InputError(f"{where}: needs a column 'label', or scores in columns named {', '.join(labels)}")
    if scored and len(scored) < len(labels):
        missing = next(label for label in labels if label not in scored)
        raise InputError(f"{where}: has scores of {scored[0]} but none of {missing}; add the column {missing!r}")
    resolved = resolve_paths(table.column("path"), posixpath.dirname(path)).to_pylist()
    indices = {fold(label): index for index, label in enumerate(labels)}
    scores: list[list[float]] = []
    row_numbers: list[int] = []
    row_of: dict[str, int] = {}
    for number, (row, full) in enumerate(zip(table.to_pylist(), resolved, strict=True), start=1):
        at_row = f"{where}: row {number}"
        values = _scores(row, scored, indices, labels, at_row)
        if values is None:
            continue
        keys = _keys(row, full, at_row)
        repeated = next((row_numbers[row_of[key]] for key in keys if key in row_of), None)
        if repeated is not None:
            raise InputError(f"{at_row}: names the same utterance as row {repeated}; remove one of them")
        row_numbers.append(number)
        row_of |= dict.fromkeys(keys, len(scores))
        scores.append(values)
    return LabelFile(
        sha256=hashlib.sha256(content).hexdigest(),
        scores=np.array(scores, np.float32).reshape(len(scores), len(labels)),
        row_of=row_of,
        numbers=row_numbers,
    )


def _keys(row: Mapping[str, Any], full: str | None, where: str) -> list[str]:
    """The keys under which an utterance finds the row."""
    if row["key"]:
        if not KEY.fullmatch(row["key"]):
            raise InputError(f"{where}: its key is {row['key']!r}, not the 16 hex digits of an utterance's key")
        return [row["key"]]
    if not row["path"] or not full:
        raise InputError(f"{where}: has neither a key nor a path")
    if (row["start_s"] is None) != (row["end_s"] is None):
        raise InputError(f"{where}: has one of start_s and end_s; give both, or neither for the whole recording")
    return [utterance_key(path, row["start_s"], row["end_s"]) for path in (full, row["path"])]


def _scores(
    row: Mapping[str, Any], scored: Sequence[str], indices: Mapping[str, int], labels: Sequence[str], where: str
) -> list[float] | None:
    """The row's score of every label, None where it has neither label nor scores."""
    name = (row["label"] or "").strip()
    if name and fold(name) not in indices:
        raise InputError(f"{where}: {name!r} is not a label of the taxonomy; {label_advice(name, labels)}")
    values = [row[label] for label in scored]
    if all(value is None for value in values):
        return [float(index == indices[fold(name)]) for index in range(len(labels))] if name else None
    for label, value in zip(scored, values, strict=True):
        if value is None or not 0 <= value <= 1:
            raise InputError(f"{where}: its score of {label} is {value}, which must be a number from 0 to 1")
    best = int(np.argmax(np.array(values, np.float32)))
    if not values[best]:
        raise InputError(f"{where}: no score is above 0; leave the scores of an utterance without a label empty")
    if name and indices[fold(name)] != best:
        raise InputError(f"{where}: its label is {name}, but {labels[best]} has the highest score; mend one of them")
    return values
