"""The selection over a whole corpus: which utterances are left out of the shards because others score better.

The candidates are the utterances that `write.drop_reason` lets pass. Each unit contributes some twenty bytes for every
candidate, from its stored labels and transcripts, so a selection runs no model and is the same whatever the order of
the units. Equal scores are ordered by key.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from lanser_ops.output.directory import OutputDir
from lanser_ops.shards.write import choose_samples
from schemas.specs import LabelSpec, ShardSpec
from schemas.units import Unit

# ``words`` is the `words_hash` of the transcript, ``label`` the index of the label.
CANDIDATE = np.dtype([("key", "<u8"), ("words", "<u8"), ("score", "<f4"), ("label", "<i4")])
# ``rule`` is an index of `RULES`.
LEFT_OUT = np.dtype([("key", "<u8"), ("rule", "u1")])
SELECTED = 255  # in the place of a rule
APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"


@dataclass(frozen=True)
class Rule:
    """The best of every group stay. ``option`` is a field of `ShardSpec`, ``group`` a field of `CANDIDATE`.

    ``places`` says how many of a group may stay: from the value of the option, the size of the group, and that of the
    smallest group. ``detail`` says in a reject why an utterance is left out.
    """

    option: str
    group: str
    places: Callable[[Any, int, int], int]
    detail: str


def _multiple(factor: float, size: int) -> int:
    """``factor`` times ``size``, rounded down. In decimal: 0.29 of 100 is 29, with floats it would be 28."""
    return int(Fraction(str(factor)) * size)


# In the order in which they are applied, each to what the rules before it leave.
RULES = (
    Rule("max_repeats", "words", lambda most, size, smallest: most, "repeats an utterance with a better score"),
    Rule(
        "keep_top",
        "label",
        lambda share, size, smallest: max(1, _multiple(share, size)),
        "not in the share of its label that has the best scores",
    ),
    Rule(
        "per_label",
        "label",
        lambda most, size, smallest: most,
        "utterances of its label with better scores take all places",
    ),
    Rule(
        "balance",
        "label",
        lambda factor, size, smallest: _multiple(factor, smallest),
        "utterances of its label with better scores take all places that the rarest label leaves",
    ),
)


def normalised(text: str) -> str:
    """``text`` for comparison: lower case, without punctuation and symbols, words separated by single spaces.

    >>> normalised("Thank you, thank-you!  Don\N{RIGHT SINGLE QUOTATION MARK}t mention it.")
    'thank you thank you dont mention it'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = (" " if unicodedata.category(char)[0] in "PS" else char for char in folded if char not in APOSTROPHES)
    return " ".join("".join(words).split())


def words_hash(text: str) -> int:
    """64 bits of a hash of the `normalised` text."""
    return int.from_bytes(hashlib.sha256(normalised(text).encode()).digest()[:8], "little")


def read_candidates(out: OutputDir, unit: Unit, spec: LabelSpec, shard_spec: ShardSpec) -> np.ndarray:
    """The unit's candidates, `CANDIDATE` (candidates,), from its stored labels and transcripts."""
    samples, _ = choose_samples(out, unit, spec, shard_spec, out.read_table(out.transcripts(unit)))
    rows = [
        (int(sample["key"], 16), words_hash(sample["text"]), sample["score"], sample["label_index"])
        for sample in samples
    ]
    return np.array(rows, dtype=CANDIDATE)


def select(candidates: np.ndarray, spec: ShardSpec) -> np.ndarray:
    """Which rule leaves out each of ``candidates``, `CANDIDATE` (n,).

    Returns uint8 (n,): indices of `RULES`, and `SELECTED` for those that stay.
    """
    rules = np.full(len(candidates), SELECTED, dtype=np.uint8)
    staying = np.lexsort((candidates["key"], -candidates["score"]))  # the best first
    for index, rule in enumerate(RULES):
        limit = getattr(spec, rule.option)
        if limit is None or not len(staying):
            continue
        _, groups, sizes = np.unique(candidates[rule.group][staying], return_inverse=True, return_counts=True)
        smallest = int(sizes.min())
        places = np.array([min(size, rule.places(limit, size, smallest)) for size in sizes.tolist()])
        stays = _ranks(groups, sizes) < places[groups]
        rules[staying[~stays]] = index
        staying = staying[stays]
    return rules


def _ranks(groups: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """How many elements of the same group come before each element, int64 (n,); ``groups`` is int (n,)."""
    by_group = np.argsort(groups, kind="stable")
    ranks = np.empty(len(groups), dtype=np.int64)
    ranks[by_group] = np.arange(len(groups)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return ranks


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
