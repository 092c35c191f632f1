"""The selection over a whole corpus: which utterances are left out because others score better.

A selection takes a score, a label and a hash of the words of every utterance; it runs no model, and does not depend on
the order of the utterances. Equal scores are ordered by key.
"""

from __future__ import annotations

import argparse
import hashlib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from lanser_ops.common.command import at_least, between, positive, share
from schemas.calibration import RANGES
from schemas.specs import ShardSpec

# ``words`` is the `words_hash` of the transcript, ``label`` the index of the label.
CANDIDATE = np.dtype([("key", "<u8"), ("words", "<u8"), ("score", "<f4"), ("label", "<i4")])
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


def add_threshold_options(container: argparse._ActionsContainer) -> None:
    # No defaults: a value of lanser build --calibration comes before the default.
    for name, what in (("min_score", "has a lower score"), ("min_margin", "leads the second best by less")):
        container.add_argument(
            f"--{name.replace('_', '-')}",
            type=between(*RANGES[name]),
            metavar="X",
            help=f"leave out utterances whose label {what}; default: {getattr(ShardSpec, name):g}",
        )


def add_selection_options(parser: argparse.ArgumentParser) -> None:
    selection = parser.add_argument_group(
        "selection",
        "Among the utterances that remain, over all shards: those with the best scores stay, by default all. Applied "
        "in this order; no model runs.",
    )
    selection.add_argument(
        "--max-repeats", type=positive(int), metavar="N", help="at most N utterances with the same words"
    )
    selection.add_argument(
        "--keep-top", type=share, metavar="SHARE", help="this share of each label's utterances, such as 0.5"
    )
    selection.add_argument("--per-label", type=positive(int), metavar="N", help="at most N utterances of each label")
    selection.add_argument(
        "--balance",
        type=at_least(1),
        metavar="X",
        help="of each label at most X times as many utterances as the rarest label has",
    )


def selection_spec(args: argparse.Namespace) -> ShardSpec:
    """What the options of `add_threshold_options` and `add_selection_options` decide."""
    return ShardSpec(
        min_score=ShardSpec.min_score if args.min_score is None else args.min_score,
        min_margin=ShardSpec.min_margin if args.min_margin is None else args.min_margin,
        max_repeats=args.max_repeats,
        keep_top=args.keep_top,
        per_label=args.per_label,
        balance=args.balance,
    )
