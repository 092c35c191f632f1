"""The selection over the units of a job: which utterances are left out of the shards because others score better.

The rules are those of `lanser_ops.common.selection`. The candidates are the utterances that `write.drop_reason` lets
pass. Each unit contributes some twenty bytes for every candidate, from its stored labels and transcripts, so a
selection runs no model and is the same whatever the order of the units.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from lanser_ops.common.selection import CANDIDATE, RULES, SELECTED, select, words_hash
from lanser_ops.output.directory import OutputDir
from lanser_ops.shards.write import choose_samples
from schemas.specs import LabelSpec, ShardSpec
from schemas.units import Unit

# ``rule`` is an index of `RULES`.
LEFT_OUT = np.dtype([("key", "<u8"), ("rule", "u1")])


def read_candidates(out: OutputDir, unit: Unit, spec: LabelSpec, shard_spec: ShardSpec) -> np.ndarray:
    """The unit's candidates, `CANDIDATE` (candidates,), from its stored labels and transcripts."""
    samples, _ = choose_samples(out, unit, spec, shard_spec, out.read_table(out.transcripts(unit)))
    rows = [
        (int(sample["key"], 16), words_hash(sample["text"]), sample["score"], sample["label_index"])
        for sample in samples
    ]
    return np.array(rows, dtype=CANDIDATE)


def left_out(parts: Iterable[tuple[int, bytes]], spec: ShardSpec) -> Iterator[tuple[int, bytes]]:
    """What is left out of every unit that anything is left out of: (unit, bytes of `LEFT_OUT`).

    ``parts`` has (unit, bytes of `CANDIDATE`) for every unit, in any order.
    """
    parts = sorted(parts)
    candidates = np.frombuffer(b"".join(content for _, content in parts), dtype=CANDIDATE)
    rules = select(candidates, spec)
    rows = np.empty(len(candidates), dtype=LEFT_OUT)
    rows["key"], rows["rule"] = candidates["key"], rules
    end = 0
    for unit, content in parts:
        start, end = end, end + len(content) // CANDIDATE.itemsize
        unit_rows = rows[start:end][rules[start:end] != SELECTED]
        if len(unit_rows):
            yield unit, unit_rows.tobytes()


def details(content: bytes, spec: ShardSpec) -> dict[str, str]:
    """Why each utterance is left out, by key; ``content`` is that of a unit from `left_out`."""
    reasons = [f"{rule.detail}; --{rule.option.replace('_', '-')} is {getattr(spec, rule.option)}" for rule in RULES]
    rows = np.frombuffer(content, dtype=LEFT_OUT)
    return {f"{key:016x}": reasons[rule] for key, rule in zip(rows["key"].tolist(), rows["rule"].tolist(), strict=True)}
