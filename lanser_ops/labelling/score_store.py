"""Stored scores: sets of hypotheses that were scored together, one file per unit.

A score depends on its `ScoringKey`, the transcript and the hypothesis, and is stored under these: another taxonomy that
shares hypotheses, another prior or another threshold never runs the model twice on a pair.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lanser_ops.common.errors import InputError
from lanser_ops.labelling import weak_labels
from lanser_ops.output.directory import SENTENCES, OutputDir
from schemas.records import SCORE_SCHEMA
from schemas.specs import LabelSpec, ScoreSet, ScoringKey


def make_set(key: ScoringKey, hypotheses: Collection[str]) -> tuple[ScoreSet, bytes]:
    """The set of these hypotheses and the content of its sentences.json, whose hash is its name."""
    ordered = sorted(set(hypotheses))
    content = {**key.fields, "hypotheses": ordered}
    text = json.dumps(content, ensure_ascii=False, indent=1).encode()
    return ScoreSet(hashlib.sha256(text).hexdigest()[:16], tuple(ordered)), text


def add_set(out: OutputDir, key: ScoringKey, hypotheses: Collection[str]) -> ScoreSet:
    """The set of these hypotheses, written to ``out``."""
    score_set, text = make_set(key, hypotheses)
    out.write_bytes(out.sentences(score_set), text)
    return score_set


def needed_sets(out: OutputDir, spec: LabelSpec) -> tuple[ScoreSet, ...]:
    """The stored sets that hold hypotheses of ``spec``, and a new set for those that are in none."""
    sets, missing = stored_sets(out, spec)
    return (*sets, add_set(out, spec.key, missing)) if missing else sets


def stored_sets(out: OutputDir, spec: LabelSpec) -> tuple[tuple[ScoreSet, ...], set[str]]:
    """The stored sets that hold hypotheses of ``spec``, and the hypotheses that are in none."""
    needed = {sentence for row in weak_labels.sentences(spec.taxonomy, spec.templates) for sentence in row}
    sets = []
    for name in sorted(out.names("scores")):
        if posixpath.basename(name) != SENTENCES:
            continue
        content = _read_sentences(out, name)
        useful = needed.intersection(content["hypotheses"])
        key = ScoringKey(content["nli_sha256"], content["against"], content.get("context", 0))
        if key == spec.key and useful:
            sets.append(ScoreSet(posixpath.basename(posixpath.dirname(name)), tuple(content["hypotheses"])))
            needed -= useful
    return tuple(sets), needed


def _read_sentences(out: OutputDir, name: str) -> dict[str, Any]:
    """The content of a sentences.json; raises InputError for one whose hash is not the name of its folder."""
    content, folder = out.read_bytes(name), posixpath.dirname(name)
    if hashlib.sha256(content).hexdigest()[:16] != posixpath.basename(folder):
        raise InputError(f"{out.path(name)}: is not what was written; delete {out.path(folder)}, and run the job again")
    return dict(json.loads(content))


def write_scores(out: OutputDir, name: str, keys: Sequence[str], entailment: np.ndarray, truncated: np.ndarray) -> None:
    """Write ``entailment``, float32 (utterances, hypotheses), and which premises were truncated, bool (utterances,)."""
    offsets = pa.array(np.arange(len(entailment) + 1, dtype=np.int32) * entailment.shape[1])
    rows = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(entailment).reshape(-1)))
    table = pa.table([pa.array(keys, pa.string()), rows, pa.array(truncated)], schema=SCORE_SCHEMA)
    out.write_table(name, table)


def read_scores(
    out: OutputDir, names: Sequence[str], sets: Sequence[ScoreSet], spec: LabelSpec, keys: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Stored scores, float32 (templates, utterances, hypotheses), and truncated premises, bool (utterances,).

    ``names`` are the files to read, one per set; ``keys`` are those of the utterances, ("",) for the empty premise.
    Raises InputError for a file that does not have the scores of these.
    """
    columns: dict[str, np.ndarray] = {}
    truncated = np.zeros((), dtype=bool)
    for name, score_set in zip(names, sets, strict=True):
        table = out.read_table(name)
        lengths = pc.unique(pc.list_value_length(table.column("scores"))).to_pylist()
        if table.column("key").to_pylist() != list(keys) or lengths not in ([], [len(score_set.hypotheses)]):
            raise out.damaged(name, "its rows are not those of the transcripts")
        scores = table.column("scores").combine_chunks().flatten().to_numpy()
        scores = scores.reshape(len(table), len(score_set.hypotheses))
        columns |= {hypothesis: scores[:, index] for index, hypothesis in enumerate(score_set.hypotheses)}
        truncated = truncated | table.column("truncated").to_numpy()
    return weak_labels.stack(columns, weak_labels.sentences(spec.taxonomy, spec.templates)), truncated
