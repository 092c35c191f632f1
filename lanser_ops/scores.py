"""Stored entailment scores: sets of hypotheses that were scored together, a file a unit.

A score depends on the model, what entailment is weighed against, the transcript and the hypothesis, so it is kept
by these: another taxonomy that shares hypotheses, another prior or another threshold asks the model nothing twice.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from lanser_ops import dataset, storage, weak_labels
from lanser_ops.dataset import LabelSpec
from lanser_ops.plan import Unit

SCORE_SCHEMA = pa.schema([("key", pa.string()), ("scores", pa.list_(pa.float32())), ("truncated", pa.bool_())])


@dataclass(frozen=True, order=True)
class Rule:
    """What turns a pair of texts into a score: the NLI model's content, and one of `entailment.AGAINST`."""

    nli_sha256: str
    against: str


@dataclass(frozen=True)
class ScoreSet:
    """Hypotheses that were scored together; ``name`` is their folder below scores/."""

    name: str
    hypotheses: tuple[str, ...]

    def file(self, unit: Unit) -> str:
        return f"{dataset.SCORES}/{self.name}/{unit.part}"

    @property
    def null_file(self) -> str:
        """Where the scores of the empty premise are, which a null prior takes off."""
        return f"{dataset.SCORES}/{self.name}/{dataset.NULL_FILE}"


def make_set(rule: Rule, hypotheses: Collection[str]) -> tuple[ScoreSet, bytes]:
    """The set of these hypotheses and the content of its sentences.json, whose hash is its name."""
    ordered = sorted(set(hypotheses))
    content = {**asdict(rule), "hypotheses": ordered}
    text = json.dumps(content, ensure_ascii=False, indent=1).encode()
    return ScoreSet(hashlib.sha256(text).hexdigest()[:16], tuple(ordered)), text


def add_set(output: str, rule: Rule, hypotheses: Collection[str]) -> ScoreSet:
    """The set of these hypotheses, which ``output`` has from now on."""
    made, text = make_set(rule, hypotheses)
    storage.write_bytes(output, f"{dataset.SCORES}/{made.name}/{dataset.SENTENCES_FILE}", text)
    return made


def needed_sets(output: str, spec: LabelSpec) -> tuple[ScoreSet, ...]:
    """The stored sets that hold hypotheses of ``spec``, and a new one for those that none holds."""
    rule = Rule(spec.nli_model.sha256, spec.against)
    needed = {sentence for row in weak_labels.sentences(spec.taxonomy, spec.templates) for sentence in row}
    sets = []
    for path in sorted(storage.list_files(storage.join(output, dataset.SCORES))):
        if posixpath.basename(path) != dataset.SENTENCES_FILE:
            continue
        content = json.loads(storage.read_bytes(path))
        useful = needed.intersection(content["hypotheses"])
        if Rule(content["nli_sha256"], content["against"]) == rule and useful:
            sets.append(ScoreSet(posixpath.basename(posixpath.dirname(path)), tuple(content["hypotheses"])))
            needed -= useful
    if needed:
        sets.append(add_set(output, rule, needed))
    return tuple(sets)


def write_scores(output: str, name: str, keys: Sequence[str], entailment: np.ndarray, truncated: np.ndarray) -> None:
    """Write ``entailment``, float32 (utterances, hypotheses), and which premises were cut, bool (utterances,)."""
    offsets = pa.array(np.arange(len(entailment) + 1, dtype=np.int32) * entailment.shape[1])
    rows = pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(entailment).reshape(-1)))
    table = pa.table([pa.array(keys, pa.string()), rows, pa.array(truncated)], schema=SCORE_SCHEMA)
    storage.write_table(output, name, table)


def read_scores(
    output: str, names: Sequence[str], sets: Sequence[ScoreSet], spec: LabelSpec
) -> tuple[np.ndarray, np.ndarray]:
    """Stored scores, float32 (templates, utterances, labels), and which premises were cut, bool (utterances,).

    ``names`` are the files to read, one for every set.
    """
    columns: dict[str, np.ndarray] = {}
    truncated: np.ndarray | bool = False
    for name, one in zip(names, sets, strict=True):
        table = storage.read_table(storage.join(output, name))
        scores = table.column("scores").combine_chunks().flatten().to_numpy()
        scores = scores.reshape(len(table), len(one.hypotheses))
        columns |= {hypothesis: scores[:, index] for index, hypothesis in enumerate(one.hypotheses)}
        truncated = truncated | table.column("truncated").to_numpy()
    return weak_labels.stack(columns, weak_labels.sentences(spec.taxonomy, spec.templates)), truncated
