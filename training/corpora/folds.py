"""Speaker-independent folds, shares of the labels, and the speakers that validate during training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lanser_ops.common.errors import InputError
from training.corpora.utterance import SPLITS, TEST, TRAIN, Corpus

EMOBOX = "emobox"
# The share of the training speakers that early stopping validates on.
VAL_SHARE = 0.2


@dataclass(frozen=True)
class Fold:
    """Rows of a corpus to train on, to validate on during training if the corpus says so, and to test on."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]


def make_folds(corpus: Corpus, folds: int | str | None) -> list[Fold]:
    """Folds that share no group; if the rows have a split, the single fold that it defines.

    ``folds`` is their number, EMOBOX for those of the benchmark, or None for the corpus' customary number. Groups are
    taken in order, so RAVDESS in 6 folds tests on actors 1 to 4, 5 to 8 and so on, two women and two men each.
    Raises InputError if there are fewer groups than folds, neither groups nor splits, or no such folds.
    """
    rows = corpus.utterances
    if folds == EMOBOX:
        return _emobox(corpus)
    if any(row.split for row in rows):
        fold = Fold(*(tuple(number for number, row in enumerate(rows) if row.split == split) for split in SPLITS))
        if not fold.train or not fold.test or not all(row.split for row in rows):
            raise InputError(
                f"a split must be one of {', '.join(SPLITS)} in every row, and {TRAIN} and {TEST} must occur"
            )
        return [fold]
    groups = sorted({row.group for row in rows if row.group})
    number = int(folds) if folds else min(corpus.folds, len(groups))
    if not all(row.group for row in rows) or not 2 <= number <= len(groups):
        raise InputError(
            f"{len(groups)} speakers for {folds or corpus.folds} speaker-independent folds; "
            "give --folds between 2 and the number of speakers, and a column speaker or split without empty cells"
        )
    parts: list[list[str]] = [[] for _ in range(number)]
    for position, group in enumerate(groups):
        parts[position * number // len(groups)].append(group)
    return [_testing(corpus, part) for part in parts]


def _emobox(corpus: Corpus) -> list[Fold]:
    if not corpus.emobox:
        raise InputError("--folds emobox: known for ravdess alone; give a number of folds")
    unknown = {row.group or "" for row in corpus.utterances} - {group for part in corpus.emobox for group in part}
    if unknown:
        raise InputError(f"--folds emobox: it has no speaker {sorted(unknown)[0]!r}; give a number of folds")
    return [_testing(corpus, part) for part in corpus.emobox]


def _testing(corpus: Corpus, groups: Sequence[str]) -> Fold:
    """The fold that tests on ``groups`` and trains on all others."""
    tested = [row.group in groups for row in corpus.utterances]
    return Fold(
        train=tuple(row for row, is_tested in enumerate(tested) if not is_tested),
        val=(),
        test=tuple(row for row, is_tested in enumerate(tested) if is_tested),
    )


def take_fraction(rows: Sequence[int], labels: Sequence[int], fraction: float, seed: int) -> list[int]:
    """The same share of every label's ``rows``, at least one each; a smaller share is contained in a larger one.

    ``labels`` gives the class index of every row of the corpus.
    """
    share: list[int] = []
    for label in sorted({labels[row] for row in rows}):
        of_label = [row for row in rows if labels[row] == label]
        order = np.random.default_rng([seed, label]).permutation(len(of_label))
        share += [of_label[position] for position in order[: max(1, round(fraction * len(of_label)))]]
    return sorted(share)


def hold_out(corpus: Corpus, rows: Sequence[int], share: float, seed: int) -> tuple[list[int], list[int]]:
    """``rows`` of a corpus divided into those to train on and those of ``share`` of their groups, to validate on.

    At least one group is held out unless ``share`` is 0, and one is always left to train on. Raises InputError if the
    rows have fewer than two groups.
    """
    if not share:
        return list(rows), []
    groups = sorted({group for row in rows if (group := corpus.utterances[row].group)})
    if len(groups) < 2:
        raise InputError(
            f"{len(groups)} speakers to train on, too few to validate on some of them; give --val-share 0, or mark "
            "rows with split val"
        )
    number = min(max(1, round(share * len(groups))), len(groups) - 1)
    order = np.random.default_rng(seed).permutation(len(groups))
    held = {groups[position] for position in order[:number]}
    return (
        [row for row in rows if corpus.utterances[row].group not in held],
        [row for row in rows if corpus.utterances[row].group in held],
    )
