"""Labels of any scores: the argmax of what they are ranked by, finite, and the same from the JSON of a shard."""

from __future__ import annotations

import io
from dataclasses import asdict

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lanser_ops import tar
from lanser_ops.common.label_scores import average, log_prior, round_scores
from lanser_ops.labelling import weak_labels
from lanser_ops.shards.read import read_samples
from lanser_ops.shards.write import sample_rows, tar_members, with_asr_model
from schemas.records import LABEL_SCHEMA, TRANSCRIPT_SCHEMA, Transcript, WeakLabel, to_table, utterance_key
from schemas.specs import LabelSpec, ModelRef
from schemas.taxonomy import AGGREGATES, Label, Taxonomy

UTTERANCES = 4
SCORES = st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.0, 1.0, 0.5, 1e-30, 1e-45, 0.333333]))


@st.composite
def cases(draw) -> tuple[LabelSpec, np.ndarray, list[float] | None]:
    """Options, scores as they are stored (templates, utterances, hypotheses), and a prior."""
    sizes = draw(st.lists(st.integers(1, 3), min_size=2, max_size=5))
    labels = [Label(f"l{n}", tuple(f"h{n}.{k}" for k in range(size))) for n, size in enumerate(sizes)]
    if len(labels) > 2 and draw(st.booleans()):
        labels[-1] = Label("neutral", ())
    taxonomy = Taxonomy("t", tuple(labels), None, "", draw(st.sampled_from(AGGREGATES)))
    templates = draw(st.sampled_from([("{}",), ("{}", "not {}")]))
    shape = (len(templates), UTTERANCES, len(taxonomy.hypotheses))
    scores = round_scores(draw(arrays(np.float64, shape, elements=SCORES)))
    spec = LabelSpec(
        taxonomy,
        templates,
        ModelRef("tiny", "0" * 64, ""),
        prior_strength=draw(st.floats(0, 1)),
        neutral_threshold=draw(st.floats(-100, 100)),
        temperature=draw(st.sampled_from([1.0, 0.05, 1.6, 20.0])),
    )
    has_prior = draw(st.booleans())
    return spec, scores, log_prior(average(weak_labels.of_labels(scores, taxonomy))) if has_prior else None


def transcripts() -> list[Transcript]:
    sources = [f"{number}.wav" for number in range(UTTERANCES)]
    return [
        Transcript(utterance_key(source, 0.0, 1.0), source, 0.0, 1.0, 1.0, "hm", None, None, None, None, (), None)
        for source in sources
    ]


def labelled(spec: LabelSpec, scores: np.ndarray, prior: list[float] | None) -> list[WeakLabel]:
    return weak_labels.label_utterances(transcripts(), scores, np.zeros(UTTERANCES, bool), spec, prior)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(cases())
def test_the_label_has_the_highest_score(case):
    spec, scores, prior = case
    entailment = average(weak_labels.of_labels(scores, spec.taxonomy))
    ranked = weak_labels.ranked_scores(entailment, spec, prior)
    for row, label in enumerate(labelled(spec, scores, prior)):
        assert label.score == ranked[row].max() == ranked[row, label.label_index]
        assert label.label == spec.taxonomy.labels[label.label_index].name
        assert 0 <= label.margin <= label.score <= 1
        assert label.entailment == entailment[row].tolist()
        assert np.isfinite([label.score, label.margin, *label.entailment]).all()
        assert all(0 <= score <= 1 for score in label.entailment)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(cases())
def test_the_scores_of_a_shard_give_the_same_labels(case):
    spec, scores, prior = case
    labels = labelled(spec, scores, prior)
    table = with_asr_model(to_table(transcripts(), TRANSCRIPT_SCHEMA), "tiny")
    rows = list(sample_rows(table, pa.Table.from_pylist([asdict(label) for label in labels], schema=LABEL_SCHEMA)))
    shard = io.BytesIO()
    tar.write_tar(shard, tar_members(rows, lambda key: b"fLaC", spec))
    samples = list(read_samples(shard))
    stored = np.stack([scores.entailment for _, scores in samples], axis=1)
    assert [sample.key for sample, _ in samples] == [row["key"] for row in rows]
    assert np.array_equal(stored, scores)
    assert labelled(spec, stored, prior) == labels
