"""Which utterances a selection leaves out, on made-up candidates with literal results."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lanser_ops.common.selection import CANDIDATE, RULES, SELECTED, normalised, select, words_hash
from lanser_ops.shards.select import details, left_out
from schemas.specs import ShardSpec

JOY, ANGER, FEAR = 0, 1, 2


def candidates(*rows: tuple[int, str, float, int]) -> np.ndarray:
    """Candidates from (key, text, score, label)."""
    return np.array([(key, words_hash(text), score, label) for key, text, score, label in rows], dtype=CANDIDATE)


def many(*sizes: int) -> np.ndarray:
    """So many candidates of each label, the first of each with the best score, all with different words."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    places = np.concatenate([np.arange(size) for size in sizes])
    rows = zip(range(len(labels)), labels.tolist(), places.tolist(), strict=True)
    return candidates(*((key, f"text {key}", 1 - place / 1000, label) for key, label, place in rows))


def outcome(rows: np.ndarray, spec: ShardSpec) -> dict[int, str]:
    """The option that leaves out an utterance, by key."""
    rules = select(rows, spec).tolist()
    return {key: RULES[rule].option for key, rule in zip(rows["key"].tolist(), rules, strict=True) if rule != SELECTED}


def selected(rows: np.ndarray, spec: ShardSpec) -> list[int]:
    """How many candidates of each label stay; checks that these are the ones with the best scores."""
    stay = rows[select(rows, spec) == SELECTED]
    counts = np.bincount(stay["label"], minlength=1 + rows["label"].max()).tolist()
    for label, count in enumerate(counts):
        best = np.sort(rows["score"][rows["label"] == label])[::-1][:count]
        assert np.sort(stay["score"][stay["label"] == label])[::-1].tolist() == best.tolist()
    return counts


def test_the_best_of_equal_texts_stay_whatever_their_labels():
    rows = candidates(
        (1, "Thank you.", 0.5, JOY),
        (2, "thank  YOU!", 0.9, JOY),
        (3, "Thank-you", 0.7, FEAR),
        (4, "thanks", 0.1, JOY),
        (5, "Thank you, sir.", 0.1, JOY),
    )
    assert outcome(rows, ShardSpec(max_repeats=1)) == {1: "max_repeats", 3: "max_repeats"}
    assert outcome(rows, ShardSpec(max_repeats=2)) == {1: "max_repeats"}
    assert outcome(rows, ShardSpec(max_repeats=3)) == {}


def test_of_equal_scores_the_lower_key_stays():
    high = 0xFFFF_FFFF_FFFF_FFFF
    rows = candidates((high, "yes", 0.5, JOY), (7, "yes", 0.5, JOY), (0x8000_0000_0000_0000, "yes", 0.5, JOY))
    assert outcome(rows, ShardSpec(max_repeats=1)).keys() == {high, 0x8000_0000_0000_0000}
    assert outcome(rows, ShardSpec(per_label=2)).keys() == {high}


@pytest.mark.parametrize(
    ("spec", "counts"),
    [
        (ShardSpec(keep_top=0.29), [29, 2, 1]),
        (ShardSpec(keep_top=0.001), [1, 1, 1]),
        (ShardSpec(keep_top=1.0), [100, 7, 4]),
        (ShardSpec(per_label=5), [5, 5, 4]),
        (ShardSpec(per_label=10**30), [100, 7, 4]),
        (ShardSpec(balance=1.0), [4, 4, 4]),
        (ShardSpec(balance=1.5), [6, 6, 4]),
        (ShardSpec(balance=1.7), [6, 6, 4]),
        (ShardSpec(balance=25.0), [100, 7, 4]),
        (ShardSpec(balance=1e300), [100, 7, 4]),
    ],
    ids=str,
)
def test_the_best_of_each_label_stay(spec: ShardSpec, counts: list[int]):
    assert selected(many(100, 7, 4), spec) == counts


def test_a_label_without_candidates_does_not_count_as_the_rarest():
    assert selected(many(10, 0, 3), ShardSpec(balance=2.0)) == [6, 0, 3]


def test_each_rule_sees_what_the_rules_before_it_leave():
    rows = candidates(
        (1, "ha ha", 0.9, JOY),
        (2, "ha ha", 0.8, JOY),
        (3, "what a day", 0.7, JOY),
        (4, "we won", 0.6, JOY),
        (5, "so glad", 0.5, JOY),
        (6, "good", 0.4, JOY),
        (7, "nice", 0.3, JOY),
        (8, "get out", 0.9, ANGER),
        (9, "get out", 0.8, ANGER),
    )
    spec = ShardSpec(max_repeats=1, keep_top=0.9, per_label=4, balance=3.0)
    # Seven times joy: one repeats, 0.9 of six are five, then four, then three times the one utterance of anger.
    assert outcome(rows, spec) == {
        2: "max_repeats", 9: "max_repeats", 7: "keep_top", 6: "per_label", 5: "balance"
    }  # fmt: skip


def test_the_order_of_units_and_of_utterances_does_not_matter():
    generator = random.Random(1)
    keys, labels = generator.sample(range(1 << 40), 400), generator.choices(range(5), (8, 4, 2, 1, 1), k=400)
    rows = [
        (key, f"text {generator.randrange(60)}", generator.choice((0.25, 0.5, 0.75)), label)
        for key, label in zip(keys, labels, strict=True)
    ]
    spec = ShardSpec(max_repeats=2, keep_top=0.8, per_label=12, balance=1.5)
    expected = outcome(candidates(*rows), spec)
    assert set(expected.values()) == {"max_repeats", "keep_top", "per_label", "balance"}
    for units in (1, 16, 400):
        generator.shuffle(rows)
        parts = [(unit, candidates(*rows[unit::units]).tobytes()) for unit in range(units)]
        generator.shuffle(parts)
        excluded = [int(key, 16) for _, part in left_out(parts, spec) for key in details(part, spec)]
        assert sorted(excluded) == sorted(expected)


def test_a_unit_gets_its_own_utterances_with_the_reason():
    parts = [
        (5, candidates((0xAB, "yes", 0.9, JOY), (0xCD, "no", 0.2, JOY)).tobytes()),
        (3, candidates((0xEF, "Yes.", 0.8, JOY)).tobytes()),
        (4, b""),
        (9, candidates((0x12, "well", 0.7, FEAR)).tobytes()),
    ]
    spec = ShardSpec(max_repeats=1, per_label=1)
    assert {unit: details(part, spec) for unit, part in left_out(parts, spec)} == {
        3: {"00000000000000ef": "repeats an utterance with a better score; --max-repeats is 1"},
        5: {"00000000000000cd": "utterances of its label with better scores take all places; --per-label is 1"},
    }


def test_of_an_utterance_in_two_units_the_first_unit_has_it():
    """As in shards that somebody has put together from those of two builds."""
    parts = [(unit, candidates((0xAB, "yes", 0.9, JOY)).tobytes()) for unit in (2, 1)]
    for ordered in (parts, parts[::-1]):
        assert [unit for unit, _ in left_out(ordered, ShardSpec(max_repeats=1))] == [2]


def test_nothing_is_left_out_of_nothing():
    assert list(left_out([(0, b""), (1, b"")], ShardSpec(balance=1.0))) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Don't \t STOP -- now!? ", "dont stop now"),
        ("don\u2019t stop, now\u2026", "dont stop now"),
        ("Stra\u00dfe", "strasse"),
        ("Cafe\u0301 \u266a", "caf\u00e9"),
        ("\u0915\u093f\u0964", "\u0915\u093f"),
        ("\u0915\u0940", "\u0915\u0940"),
        ("\u3042\u308a\u304c\u3068\u3046\u3002", "\u3042\u308a\u304c\u3068\u3046"),
    ],
)
def test_texts_are_compared_by_their_words(text: str, expected: str):
    """Vowel signs of Indic scripts are part of words, though they are no letters."""
    assert normalised(text) == expected
