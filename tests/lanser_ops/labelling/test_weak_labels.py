"""From scores to labels, with numbers that can be checked by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from lanser_ops.labelling import weak_labels
from schemas.records import Transcript
from schemas.specs import LabelSpec, ModelRef
from schemas.taxonomy import parse_taxonomy

MOODS = "name: moods\nlabels: [joy, fear, calm]\n"
SEVERAL = """\
name: moods
version: 2
aggregate: {aggregate}
labels:
  - {{name: joy, hypotheses: [happy, glad, merry]}}
  - fear
  - neutral
"""


def transcripts(count: int) -> list[Transcript]:
    return [
        Transcript(f"{n:016x}", "a.wav", 0.0, 1.0, 1.0, "hm", None, None, None, None, (), None) for n in range(count)
    ]


def label(scores: list, prior=None, truncated=None, taxonomy=MOODS, strength=1.0, threshold=0.0) -> list:
    """Weak labels of scores (templates, utterances, hypotheses) or, of one template, (utterances, hypotheses)."""
    by_template = np.array(scores, np.float32)
    by_template = by_template[None] if by_template.ndim == 2 else by_template
    count = by_template.shape[1]
    flags = np.zeros(count, bool) if truncated is None else np.array(truncated)
    return weak_labels.label_utterances(
        transcripts(count), by_template, flags, spec(taxonomy, strength, threshold), prior
    )


def spec(taxonomy: str, strength: float = 1.0, threshold: float = 0.0) -> LabelSpec:
    return LabelSpec(
        parse_taxonomy(taxonomy, "moods.yaml"), ("{}",), ModelRef("tiny", "0" * 64, ""), prior_strength=strength,
        neutral_threshold=threshold,
    )  # fmt: skip


def test_without_a_prior_the_score_is_the_entailment():
    (weak_label,) = label([[0.2, 0.7, 0.65]])
    assert (weak_label.label, weak_label.label_index) == ("fear", 1)
    assert weak_label.score == np.float32(0.7) and weak_label.margin == np.float32(0.05)
    assert weak_label.entailment == [np.float32(0.2), np.float32(0.7), np.float32(0.65)]
    assert weak_label.template_labels == weak_label.template_entailment == weak_label.hypothesis_scores == []


def test_the_first_of_equals_wins():
    assert label([[0.5, 0.5, 0.1]])[0].label == "joy"


def test_scores_are_averaged_over_templates_and_stored_for_each():
    (weak_label,) = label([[[0.2, 0.6, 0.1]], [[0.9, 0.4, 0.1]]])
    assert weak_label.label == "joy" and weak_label.score == np.float32(0.55)
    assert weak_label.template_labels == [1, 0]
    assert weak_label.template_entailment == [pytest.approx([0.2, 0.6, 0.1]), pytest.approx([0.9, 0.4, 0.1])]


def test_a_prior_decides_the_label_and_its_score_but_not_the_entailment():
    # s / exp(prior) is 0.4/0.8, 0.3/0.1, 0.1/0.1: that is 0.5, 3 and 1, of 4.5 in all.
    (weak_label,) = label([[0.4, 0.3, 0.1]], prior=[math.log(0.8), math.log(0.1), math.log(0.1)])
    assert weak_label.label == "fear"
    assert weak_label.score == np.float32(0.666667)
    assert weak_label.margin == np.float32(0.444445)  # 0.666667 - 0.222222, in float32
    assert weak_label.entailment == [np.float32(0.4), np.float32(0.3), np.float32(0.1)]


def test_equal_priors_change_no_label():
    scores = np.random.default_rng(0).random((50, 3)).astype(np.float32).tolist()
    without = [weak_label.label for weak_label in label(scores)]
    assert [weak_label.label for weak_label in label(scores, prior=[-1.5] * 3)] == without


def test_each_template_picks_with_the_prior():
    prior = [math.log(0.8), math.log(0.1), math.log(0.1)]
    (weak_label,) = label([[[0.4, 0.3, 0.1]], [[0.9, 0.01, 0.01]]], prior=prior)
    assert weak_label.template_labels == [1, 0]


def test_half_of_a_prior():
    # s / exp(prior / 2) is 0.4/0.5, 0.3/0.4, 0.1/1: that is 0.8, 0.75 and 0.1, of 1.65 in all.
    prior = [math.log(0.25), math.log(0.16), math.log(1.0)]
    (weak_label,) = label([[0.4, 0.3, 0.1]], prior=prior, strength=0.5)
    assert (weak_label.label, weak_label.score) == ("joy", pytest.approx(0.8 / 1.65, abs=1e-6))
    assert weak_label.margin == pytest.approx(0.05 / 1.65, abs=1e-6)
    assert label([[0.4, 0.3, 0.1]], prior=prior)[0].label == "fear"  # 1.6, 1.875 and 0.1


@pytest.mark.parametrize(
    ("aggregate", "joy", "name"),
    [("max", 0.5, "fear"), ("mean", 0.3, "fear"), ("odds", 1.5 / 2.5, "joy")],  # odds: 1 + 1/4 + 1/4
)
def test_several_hypotheses_are_aggregated_and_stored(aggregate, joy, name):
    (weak_label,) = label([[0.5, 0.2, 0.2, 0.55, 0.1]], taxonomy=SEVERAL.format(aggregate=aggregate))
    assert weak_label.entailment == pytest.approx([joy, 0.55, 0.1], abs=1e-6)
    assert (weak_label.label, weak_label.score) == (name, pytest.approx(max(joy, 0.55), abs=1e-6))
    assert weak_label.hypothesis_scores == [pytest.approx([0.5, 0.2, 0.2, 0.55, 0.1])]


def test_several_hypotheses_of_several_templates():
    scores = [[[0.5, 0.2, 0.2, 0.55, 0.1]], [[0.1, 0.9, 0.2, 0.3, 0.1]]]
    (weak_label,) = label(scores, taxonomy=SEVERAL.format(aggregate="max"))
    assert weak_label.entailment == pytest.approx([0.7, 0.425, 0.1])
    assert weak_label.template_labels == [1, 0]
    assert weak_label.template_entailment == [pytest.approx([0.5, 0.55, 0.1]), pytest.approx([0.9, 0.3, 0.1])]
    assert weak_label.hypothesis_scores == [pytest.approx(scores[0][0]), pytest.approx(scores[1][0])]


def test_neutral_is_the_absence_of_the_others():
    # log s - prior: joy log(0.2/0.1) = log 2, then log(0.05/0.1) = -log 2; fear -log 4 in both.
    prior = [math.log(0.1), math.log(0.04), math.log(0.9)]
    taxonomy = "name: moods\nversion: 2\nneutral: absence\nlabels: [joy, fear, neutral]\n"
    scores = [[0.2, 0.01], [0.05, 0.01]]
    labels = label(scores, prior=prior, taxonomy=taxonomy)
    assert [each.label for each in labels] == ["joy", "neutral"]
    assert [each.score for each in labels] == pytest.approx([2 / 3.25, 1 / 1.75], abs=1e-6)
    assert [each.entailment for each in labels] == [pytest.approx([0.2, 0.01, 0.8]), pytest.approx([0.05, 0.01, 0.95])]
    assert [each.hypothesis_scores for each in labels] == [[pytest.approx(row)] for row in scores]
    lower, higher = (
        [each.label for each in label(scores, prior=prior, taxonomy=taxonomy, threshold=threshold)]
        for threshold in (-math.log(3), math.log(3))
    )
    assert lower == ["joy", "joy"] and higher == ["neutral", "neutral"]


def test_a_temperature_changes_no_label_even_where_rounded_scores_are_equal():
    scores = [[0.4, 0.400002, 0.1], [0.2, 0.9, 0.3], [1e-7, 2e-7, 1e-8]]
    results = {
        temperature: weak_labels.label_utterances(
            transcripts(3),
            np.array([scores], np.float32),
            np.zeros(3, bool),
            replace(spec(MOODS), temperature=temperature),
        )
        for temperature in (0.05, 1.0, 20.0)
    }
    assert {tuple(each.label for each in labels) for labels in results.values()} == {("fear", "fear", "fear")}
    assert results[0.05][1].score > results[1.0][1].score > results[20.0][1].score > 1 / 3
    # Of the first row, temperature 1 gives what was scored; at 20 the odds are their 20th roots, almost equal.
    assert results[1.0][0].score == np.float32(0.400002)
    assert results[20.0][0].score == pytest.approx(1 / (2 + 0.25 ** (1 / 20)), abs=1e-5)


def test_a_truncated_premise_is_flagged():
    labels = label([[0.1, 0.2, 0.3]] * 2, truncated=[False, True])
    assert [weak_label.flags for weak_label in labels] == [(), ("premise_truncated",)]


def test_no_transcripts():
    assert weak_labels.label_utterances([], np.zeros((1, 0, 3), np.float32), np.zeros(0, bool), spec(MOODS)) == []


def test_stacked_scores_are_in_taxonomy_order():
    columns = {name: np.full(2, value, np.float32) for name, value in (("b!", 2), ("a?", 3), ("a!", 1), ("b?", 4))}
    stacked = weak_labels.stack(columns, weak_labels.filled(["b", "a"], ["{}!", "{}?"]))
    assert stacked.tolist() == [[[2, 1], [2, 1]], [[4, 3], [4, 3]]]
