"""The figures of benchmarks/labels.py, on data that can be counted by hand."""

import csv
import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import labels
from benchmarks.dialogue import half_neutral
from benchmarks.traps import TRAPS
from benchmarks.variants import COMMENT_TABLES, DIALOGUE_TABLES, Variant
from lanser_ops.labelling.texts import score_texts

DIALOGUE = [
    ("Good morning.", "no_emotion", 0),
    ("I am so happy that you are here!", "happiness", 0),
    ("The bus stops here.", "no_emotion", 0),
    ("Go away, I hate you!", "anger", 1),
    ("The shop opens at nine.", "no_emotion", 1),
]


@pytest.fixture
def dialogue(tmp_path: Path) -> Path:
    path = tmp_path / "dialogue.jsonl.gz"
    lines = [json.dumps({"text": text, "label": label, "dialogue": number}) for text, label, number in DIALOGUE]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


def test_context_is_taken_from_the_same_dialogue(dialogue: Path):
    utterances = half_neutral(dialogue)
    assert [(utterance.text, utterance.label, utterance.dialogue) for utterance in utterances] == [
        ("I am so happy that you are here!", "joy", 0),
        ("Go away, I hate you!", "anger", 1),
        ("Good morning.", "neutral", 0),
        ("The bus stops here.", "neutral", 0),
    ]
    texts = labels.dialogue_texts(dialogue, Variant().specs("bundled")[0])
    assert texts.before(1) == [("Good morning.",), (), (), ("I am so happy that you are here!",)]
    assert texts.before(2)[3] == ("Good morning.", "I am so happy that you are here!")
    assert texts.before(0) == [(), (), (), ()]


def test_stored_scores_are_those_of_a_direct_run(dialogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spec, _ = Variant().specs("bundled")
    texts = labels.dialogue_texts(dialogue, spec)
    first = labels.text_scores(texts, tmp_path / "cache", spec, "bundled", 1)
    direct = score_texts(texts.texts, "bundled", spec, "cpu", 1, texts.before(0))
    np.testing.assert_allclose(first.ranked(spec), direct.ranked(spec), atol=1e-5)

    def load(*args: object) -> None:
        raise AssertionError("the model ran again")

    monkeypatch.setattr("lanser_ops.labelling.nli.load", load)
    second = labels.text_scores(texts, tmp_path / "cache", spec, "bundled", 1)
    np.testing.assert_array_equal(second.by_template, first.by_template)


def test_figures_and_intervals():
    # Two groups: in the first everything is right, in the second nothing.
    texts = labels.LabelledTexts(("a", "b", "c", "d"), ((),) * 4, np.array([0, 1, 0, 1]), np.array([5, 5, 9, 9]))
    predicted, every = np.array([0, 1, 1, 0]), np.full(4, True)
    accuracy = labels.sampled_figures(texts, predicted, every, 2)["wa"]
    assert labels.interval(accuracy) == (0.5, 0.0, 1.0)
    assert set(accuracy.tolist()) == {0.0, 0.5, 1.0}
    one_label = labels.sampled_figures(texts, predicted, np.array([True, False, True, False]), 2)
    assert labels.interval(one_label["ua"]) == (0.5, 0.0, 1.0)
    assert one_label["macro_f1"][0] == pytest.approx(2 / 3)  # of the label that remains: 2 × 1 / (2 + 1)


def test_what_remains_is_what_the_options_leave():
    texts = labels.LabelledTexts(("Yes.", "yes", "no"), ((),) * 3, np.zeros(3, int), np.arange(3))
    ranked = np.array([[0.6, 0.4], [0.9, 0.1], [0.3, 0.7]], np.float32)
    for options, expected in (
        ("", [True, True, True]),
        ("--min-margin 0.3", [False, True, True]),
        ("--max-repeats 1", [False, True, True]),
        ("--keep-top 0.5", [False, True, True]),
        ("--min-score 0.8", [False, True, False]),
    ):
        _, shards = Variant(options).specs("bundled")
        assert labels.remaining(texts, ranked, shards).tolist() == expected, options


def test_every_variant_is_a_choice_that_the_commands_take():
    for tables in (DIALOGUE_TABLES, COMMENT_TABLES):
        for variants in tables.values():
            for variant in variants:
                spec, _ = variant.specs("bundled")
                assert [label.name for label in spec.taxonomy.labels][-1] == "neutral", variant


def test_traps_are_pairs_of_which_the_first_is_neutral():
    with TRAPS.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert len(rows) == 120
    assert [row["pair"] for row in rows] == [str(number // 2 + 1) for number in range(120)]
    assert {row["label"] for row in rows[::2]} == {"neutral"}
    assert {row["label"] for row in rows[1::2]} == {"anger", "disgust", "fear", "joy", "sadness", "surprise"}
