"""Scores of NLI models, next to those of transformers' own pipeline."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers

from lanser_ops.common.errors import InputError
from lanser_ops.labelling import nli
from lanser_ops.labelling.batches import batch_rows
from lanser_ops.labelling.nli_scorer import NliScorer, load_scorer

BUNDLED = nli.resolve("bundled").path
TEMPLATE = "This person feels {}."

OPENERS = ["", "well, ", "I told her that ", "honestly, ", "you know what? ", "he says ", "look, ", "oh no, "]
BODIES = ["we lost the match again", "my sister had her baby", "that smell is revolting", "nobody came", "it works"]
TAILS = [".", " and I cannot stop smiling!", " but it's only Tuesday.", ", so I sat in the dark and cried.", "?"]
SENTENCES = [a + b + c for a, b, c in itertools.product(OPENERS, BODIES, TAILS)]


@pytest.fixture(scope="module")
def bundled() -> NliScorer:
    return load_scorer(BUNDLED)


@pytest.fixture(scope="module")
def reference() -> transformers.Pipeline:
    return transformers.pipeline("zero-shot-classification", model=BUNDLED, device="cpu", dtype=torch.float32)


def test_scores_are_those_of_the_zero_shot_pipeline(bundled, reference):
    words = ["angry", "happy"]
    sample = SENTENCES[::2]
    assert len(set(sample)) == 100
    answers = reference(sample, words, hypothesis_template=TEMPLATE, multi_label=True, batch_size=8)
    expected = [[dict(zip(a["labels"], a["scores"], strict=True))[word] for word in words] for a in answers]
    scores = bundled.score(sample, [TEMPLATE.format(word) for word in words])
    assert scores.entailment.dtype == np.float32 and scores.entailment.shape == (100, 2)
    assert np.ptp(scores.entailment, axis=0).min() > 0.75  # the sentences cover most of the range of scores
    np.testing.assert_allclose(scores.entailment, expected, rtol=0, atol=1e-4)
    assert scores.pairs_scored == 200 and not scores.truncated.any()


def test_against_all_classes_is_the_classifiers_own_probability(bundled, reference):
    hypotheses = [TEMPLATE.format("angry"), TEMPLATE.format("happy")]
    network, tokenizer = reference.model, reference.tokenizer
    expected = []
    for sentence, hypothesis in itertools.product(SENTENCES[:20], hypotheses):
        with torch.inference_mode():
            logits = network(**tokenizer(sentence, hypothesis, return_tensors="pt")).logits
        expected.append(logits.softmax(-1)[0, 2].item())
    against_all = replace(bundled, others=(0, 1)).score(SENTENCES[:20], hypotheses).entailment
    np.testing.assert_allclose(against_all.reshape(-1), expected, rtol=0, atol=1e-4)
    assert (against_all < bundled.score(SENTENCES[:20], hypotheses).entailment).all()
    assert load_scorer(BUNDLED, against="all").others == (0, 1)


def test_a_score_depends_on_its_pair_alone(bundled):
    """Bit for bit: every pair is computed in a batch whose shape follows from the length of the pair."""
    hypotheses = [TEMPLATE.format(word) for word in ("afraid", "embarrassed", "sad")]
    together = bundled.score(SENTENCES[:40], hypotheses).entailment
    order = np.random.default_rng(0).permutation(40)
    shuffled = bundled.score([SENTENCES[i] for i in order], hypotheses[::-1]).entailment
    assert np.array_equal(shuffled, together[order][:, ::-1])
    for i in (0, 7, 31):
        assert np.array_equal(bundled.score([SENTENCES[i]], hypotheses[1:2]).entailment, together[[i], 1:2])
    for threads in (1, 3):
        classifier = replace(bundled.classifier, parallel_batches=threads)
        again = replace(bundled, classifier=classifier).score(SENTENCES[:10], hypotheses).entailment
        assert np.array_equal(again, together[:10])


def test_equal_premises_are_scored_once(bundled):
    scores = bundled.score(["go away", "", "go away", "come in"], [TEMPLATE.format("angry")] * 2)
    assert scores.pairs_scored == 6
    assert scores.entailment.shape == (4, 2)
    assert np.array_equal(scores.entailment[0], scores.entailment[2])
    assert len(np.unique(scores.entailment[:, 0])) == 3  # the empty premise is a premise like any other


def test_no_premises(bundled):
    scores = bundled.score([], ["This person feels happy."])
    assert scores.entailment.shape == (0, 1) and scores.truncated.shape == (0,) and scores.pairs_scored == 0


def test_long_premise_is_cut_as_the_pipeline_cuts_it(bundled, reference):
    long = "the train was late and I was furious " * 80
    # 512 tokens less [CLS] [SEP] [SEP] and the hypothesis' five: 504 of the premise's 640 one-word tokens.
    first_504 = " ".join(long.split()[:504])
    scores = bundled.score(["short", first_504, long], ["This person feels angry."])
    assert scores.truncated.tolist() == [False, False, True]
    assert scores.entailment[1] == scores.entailment[2] != scores.entailment[0]
    expected = reference(long, ["angry"], hypothesis_template=TEMPLATE, multi_label=True)["scores"]
    np.testing.assert_allclose(scores.entailment[2], expected, rtol=0, atol=1e-4)


def test_hypothesis_without_room_for_a_premise(bundled):
    with pytest.raises(InputError, match="'happy happy .* leaves no room .* 512 tokens") as raised:
        bundled.score(["short"], ["This person feels sad.", "happy " * 509])
    assert "\n" not in str(raised.value)
    assert bundled.score([""], ["happy " * 508]).entailment.shape == (1, 1)


NLI_CLASSES = ("contradiction", "neutral", "entailment")


@pytest.mark.parametrize(
    ("family", "classes"),
    [
        ("bert", NLI_CLASSES),
        ("roberta", NLI_CLASSES),
        ("xlm-roberta", NLI_CLASSES),
        ("deberta-v2", NLI_CLASSES),
        ("bart", NLI_CLASSES),
        ("bert", ("entailment", "not_entailment")),
    ],
)
def test_families(tmp_path, write_model, family, classes):
    """The model gets what the tokenizer makes of each pair, in batches of one length and one number of rows."""
    path = write_model(tmp_path, family, classes)
    scorer = load_scorer(path)
    max_length = scorer.classifier.max_length
    assert max_length == (22 if "roberta" in family else 24)
    hypotheses = ["this person feels happy", "this person feels sad and angry"]
    premises = ["we won", "", "we lost the match", "we lost " * 20, "we won again and again and again"]
    inputs_seen: Counter = Counter()
    shapes = set()

    def watch(module, args, kwargs):
        assert set(kwargs) <= {"input_ids", "token_type_ids"}
        rows, length = kwargs["input_ids"].shape
        shapes.add((rows, length))
        types = kwargs.get("token_type_ids", torch.zeros(rows, length, dtype=int))
        pairs = zip(kwargs["input_ids"].tolist(), types.tolist(), strict=True)
        inputs_seen.update((tuple(ids), tuple(row_types)) for ids, row_types in pairs)

    handle = scorer.classifier.model.register_forward_pre_hook(watch, with_kwargs=True)
    scores = scorer.score(premises, hypotheses)
    handle.remove()

    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(path).eval()
    entailment = classes.index("entailment")
    others = [index for index, name in enumerate(classes) if name in ("contradiction", "not_entailment")]
    expected, inputs_expected = [], set()
    for premise, hypothesis in itertools.product(premises, hypotheses):
        inputs = tokenizer(premise, hypothesis, return_tensors="pt", truncation="only_first", max_length=max_length)
        ids = inputs["input_ids"][0].tolist()
        types = inputs["token_type_ids"][0].tolist() if "token_type_ids" in inputs else [0] * len(ids)
        inputs_expected.add((tuple(ids), tuple(types)))
        logits = model(**inputs).logits[0].detach()
        expected.append(torch.softmax(logits[[entailment, *others]], 0)[0].item())
    assert set(inputs_seen) == inputs_expected
    assert all(rows == batch_rows(length, scorer.classifier.batch_tokens) for rows, length in shapes)
    assert np.ptp(expected) > 0.05
    np.testing.assert_allclose(scores.entailment.ravel(), expected, rtol=0, atol=5e-6)
    assert scores.truncated.tolist() == [False, False, False, True, False]


@pytest.mark.parametrize(("family", "separators"), [("bert", 2), ("bart", 3)])
def test_special_tokens_in_a_transcript_are_text(tmp_path, write_model, family, separators):
    scorer = load_scorer(write_model(tmp_path, family))
    batches = []
    scorer.classifier.model.register_forward_pre_hook(
        lambda module, args, kwargs: batches.append(kwargs["input_ids"]), with_kwargs=True
    )
    scorer.score(["we [SEP] won </s>"], ["this person feels sad"])
    # [CLS] p [SEP] h [SEP] or <s> p </s></s> h </s>, and none from the transcript
    assert set((batches[0] == 2).sum(dim=1).tolist()) == {separators}
