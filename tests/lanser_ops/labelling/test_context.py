"""Previous utterances in the premise, with the bundled labeller."""

from __future__ import annotations

import numpy as np
import pytest

from lanser_ops.labelling import nli
from lanser_ops.labelling.context import previous_texts, score_in_context, with_context
from lanser_ops.labelling.nli_scorer import NliScorer, load_scorer
from schemas.records import TRANSCRIPT_SCHEMA, Transcript, to_table

SAD, HAPPY = "This person feels sad.", "This person feels happy."
LONG = "we talked about the shop and the weather for a while " * 40  # 440 of the 512 tokens that the model reads


@pytest.fixture(scope="module")
def bundled() -> NliScorer:
    return load_scorer(nli.resolve("bundled").path, threads=1)


def transcript(
    key: int, text: str, source: str, start_s: float, dialogue: str | None = None, turn: int | None = None
) -> Transcript:
    flags = ("repetition",) if text == "flagged" else ()
    times = (start_s, start_s + 1, 1.0)
    return Transcript(f"{key:016x}", source, *times, text, None, None, None, None, flags, None, dialogue, turn)


def contexts(transcripts: list[Transcript], context: int) -> dict[str, list[str]]:
    table = with_context(to_table(transcripts, TRANSCRIPT_SCHEMA), context)
    return dict(zip(table.column("text").to_pylist(), table.column("context_texts").to_pylist(), strict=True))


def test_context_is_of_the_same_group_and_in_order():
    texts, groups, order = ["d", "x", "a", "c", "b", "y"], [1, 2, 1, 1, 1, 2], [40, 0, 10, 30, 20, -5]
    assert previous_texts(texts, groups, order, 2) == [["b", "c"], ["y"], [], ["a", "b"], ["a"], []]
    assert previous_texts(texts, groups, order, 0) == [[]] * 6


def test_a_recording_is_ordered_by_start_and_flagged_transcripts_count():
    transcripts = [
        transcript(1, "third", "a.wav", 10.0),
        transcript(2, "first", "a.wav", 0.0),
        transcript(3, "other", "b.wav", 5.0),
        transcript(4, "flagged", "a.wav", 9.0),
    ]
    assert contexts(transcripts, 3) == {"third": ["first", "flagged"], "first": [], "other": [], "flagged": ["first"]}


def test_a_dialogue_spans_recordings_and_is_ordered_by_turn():
    transcripts = [
        transcript(1, "answer", "a.wav", 0.0, "x", 2),
        transcript(2, "question, second part", "b.wav", 7.0, "x", 1),
        transcript(3, "question, first part", "b.wav", 3.0, "x", 1),
        transcript(4, "elsewhere", "b.wav", 0.0, "y", 0),
        transcript(5, "without a dialogue", "b.wav", 9.0),
    ]
    assert contexts(transcripts, 2) == {
        "answer": ["question, first part", "question, second part"],
        "question, second part": ["question, first part"],
        "question, first part": [],
        "elsewhere": [],
        "without a dialogue": [],
    }


def test_a_dialogue_may_have_the_name_of_a_recording():
    transcripts = [transcript(1, "here", "a.wav", 1.0), transcript(2, "there", "b.wav", 0.0, "a.wav", 1)]
    assert contexts(transcripts, 1) == {"here": [], "there": []}


def test_stored_context_is_cut_and_none_leaves_no_column():
    table = with_context(
        to_table([transcript(n, text, "a.wav", n) for n, text in enumerate("abcd")], TRANSCRIPT_SCHEMA), 3
    )
    assert with_context(table, 1).column("context_texts").to_pylist() == [[], ["a"], ["b"], ["c"]]
    assert with_context(table, 0).column_names == TRANSCRIPT_SCHEMA.names[:-2]
    empty = with_context(to_table([], TRANSCRIPT_SCHEMA), 2)
    assert empty.column("context_texts").to_pylist() == []


def test_the_premise_is_the_context_and_the_text(bundled: NliScorer):
    previous = [["My dog died this morning."], []]
    scores = score_in_context(bundled.score, ["I don't know what to say.", "Hello."], previous, [SAD, HAPPY])
    joined = bundled.score(["My dog died this morning. I don't know what to say.", "Hello."], [SAD, HAPPY])
    assert np.array_equal(scores.entailment, joined.entailment)
    alone = bundled.score(["I don't know what to say."], [SAD])
    assert scores.entailment[0, 0] > alone.entailment[0, 0] + 0.1
    assert scores.pairs_scored == 4 and not scores.truncated.any()


def test_context_that_is_too_long_is_left_out_from_its_oldest_text(bundled: NliScorer):
    text = "I am so happy for you!"
    previous = [[LONG, LONG, "We won."], [LONG, LONG]]
    scores = score_in_context(bundled.score, [text, text], previous, [SAD, HAPPY])
    expected = bundled.score([f"{LONG} We won. {text}", f"{LONG} {text}"], [SAD, HAPPY])
    assert not expected.truncated.any() and not scores.truncated.any()
    np.testing.assert_allclose(scores.entailment, expected.entailment, rtol=1e-4)


def test_only_a_text_that_is_too_long_by_itself_is_truncated(bundled: NliScorer):
    texts = [LONG + LONG, "I am so happy for you!"]
    scores = score_in_context(bundled.score, texts, [["Well."], [LONG + LONG]], [HAPPY])
    assert scores.truncated.tolist() == [True, False]
    expected = bundled.score(texts, [HAPPY])
    np.testing.assert_allclose(scores.entailment, expected.entailment, rtol=1e-4)


def test_a_hypothesis_gets_the_context_that_fits_beside_it(bundled: NliScorer):
    """A score must not depend on the hypotheses beside it, or relabelling would give other numbers than a build."""
    text, lengthy = "I am so happy for you!", "This person feels " + "very " * 60 + "sad."
    together = score_in_context(bundled.score, [text], [[LONG]], [HAPPY, lengthy])
    alone = [score_in_context(bundled.score, [text], [[LONG]], [hypothesis]) for hypothesis in (HAPPY, lengthy)]
    np.testing.assert_allclose(together.entailment[0], [scores.entailment[0, 0] for scores in alone], rtol=1e-4)
    assert alone[0].pairs_scored == 1 and alone[1].pairs_scored == 3 and together.pairs_scored == 2 + 1 + 2
    np.testing.assert_allclose(together.entailment[0, 1], bundled.score([text], [lengthy]).entailment[0, 0], rtol=1e-4)
