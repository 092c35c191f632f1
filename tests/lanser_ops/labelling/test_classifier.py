"""The backend ``classifier``: text classifiers whose classes are the labels, one forward pass per transcript."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from lanser_ops.backends import LABELLERS, resolve
from lanser_ops.commands import try_texts
from lanser_ops.common.errors import InputError
from lanser_ops.labelling import classifier, nli
from lanser_ops.labelling.batches import batch_rows
from lanser_ops.labelling.classifier_scorer import load_scorer
from pipelines import build, relabel
from schemas.specs import ModelRef
from schemas.taxonomy import Label, load_taxonomy, parse_taxonomy

CLASSES = ("Anger", "disgust", "fear", "Joy", "neutral", "sadness", "surprise", "self-conscious", "HAPPY")
TEXTS = ["I hate you, leave me alone!", "", "what a day", "My dog died.", "what a day", "no " * 700]
SPOKEN = ["I hate you", "what a day", "my dog died", "what a day"]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory) -> Path:
    """A random BERT of 9 emotions with the tokenizer of the bundled NLI model."""
    directory = tmp_path_factory.mktemp("model") / "emotions"
    directory.mkdir()
    tokenizer = transformers.AutoTokenizer.from_pretrained(nli.resolve("bundled").path)
    tokenizer.save_pretrained(directory)
    torch.manual_seed(3)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        initializer_range=0.5,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    transformers.BertForSequenceClassification(config).save_pretrained(directory)
    return directory


def copy_with(model_dir: Path, directory: Path, **config) -> str:
    """A copy of the model with other values in its config.json."""
    shutil.copytree(model_dir, directory)
    content = json.loads((directory / "config.json").read_text()) | config
    (directory / "config.json").write_text(json.dumps(content))
    return str(directory)


def scoring(path: str | Path, taxonomy, templates=(), against=None):
    return classifier.scoring(ModelRef("emotions", "0" * 64, str(path)), taxonomy, templates, against)


def moods(*labels: str):
    return parse_taxonomy(f"name: moods\nlabels: [{', '.join(labels)}]\n", "moods.yaml")


def test_labels_match_classes_by_hypothesis_or_name(model_dir):
    """Ekman's hypotheses are "angry", "happy", …: only "happy" is a class; the others match by name."""
    taxonomy, templates, against = scoring(model_dir, load_taxonomy("ekman"))
    assert [(each.name, *each.hypotheses) for each in taxonomy.labels] == [
        ("anger", "Anger"),
        ("disgust", "disgust"),
        ("fear", "fear"),
        ("joy", "HAPPY"),
        ("sadness", "sadness"),
        ("surprise", "surprise"),
        ("neutral", "neutral"),
    ]
    assert (templates, against) == (("{}",), "softmax")
    spelled, _, _ = scoring(model_dir, moods("Self Conscious", "JOY"))
    assert spelled.labels == (Label("Self Conscious", ("self-conscious",)), Label("JOY", ("Joy",)))


def test_a_label_may_have_several_classes(model_dir):
    several = (
        "name: moods\nversion: 2\nlabels: [{name: good, hypotheses: [joy, glad, happy]}, {name: bad, hypothesis: fear}]"
    )
    taxonomy, _, _ = scoring(model_dir, parse_taxonomy(several, "moods.yaml"))
    assert taxonomy.labels == (Label("good", ("Joy", "HAPPY")), Label("bad", ("fear",)))


def test_the_problem_type_decides_between_softmax_and_sigmoid(model_dir, tmp_path):
    multi = copy_with(model_dir, tmp_path / "multi", problem_type="multi_label_classification")
    single = copy_with(model_dir, tmp_path / "single", problem_type="single_label_classification")
    assert scoring(multi, moods("joy", "fear"))[2] == "sigmoid"
    assert scoring(single, moods("joy", "fear"))[2] == "softmax"
    assert scoring(multi, moods("joy", "fear"), against="softmax")[2] == "softmax"


def test_what_a_classifier_cannot_score_is_refused(model_dir, tmp_path):
    def refusal(path, taxonomy, *options) -> str:
        with pytest.raises(InputError) as raised:
            scoring(path, taxonomy, *options)
        assert "\n" not in str(raised.value)
        return str(raised.value)

    two = moods("joy", "fear")
    assert refusal(model_dir, moods("joy", "bored")).startswith(
        f"text classifier {str(model_dir)!r} has no class for the label 'bored'; its classes are Anger, disgust, fear,"
    )
    twice = parse_taxonomy("name: x\nlabels: [joy, {name: 'joy!', hypothesis: glad}]\n", "x.yaml")
    assert "has a single class 'Joy' for the labels 'joy' and 'joy!'" in refusal(model_dir, twice)
    assert refusal(model_dir, two, ["I am {}."]) == (
        "--template I am {}.: a text classifier takes no template; leave it out"
    )
    assert refusal(model_dir, two, (), "all") == "--against all: the scores of a text classifier are softmax or sigmoid"
    alike = copy_with(model_dir, tmp_path / "alike", id2label={"0": "joy", "1": "fear", "2": "Joy!"})
    assert "has the classes 'joy' and 'Joy!', which differ at most in case and punctuation" in refusal(alike, two)
    pickled = copy_with(model_dir, tmp_path / "pickled")
    Path(pickled, "model.safetensors").rename(Path(pickled, "pytorch_model.bin"))
    assert "has no safetensors weights" in refusal(pickled, two)


def expected_logits(model_dir: Path) -> np.ndarray:
    """The logits of TEXTS as transformers computes them, one text at a time."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(model_dir).eval()
    with torch.inference_mode():
        inputs = [tokenizer(text, return_tensors="pt", truncation=True, max_length=512) for text in TEXTS]
        return np.concatenate([model(**each).logits.double().numpy() for each in inputs])


@pytest.mark.parametrize("against", ["softmax", "sigmoid"])
def test_scores_are_the_models_probabilities(model_dir, against):
    logits = expected_logits(model_dir)
    probabilities = {
        "softmax": np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True),
        "sigmoid": 1 / (1 + np.exp(-logits)),
    }[against]
    scorer = load_scorer(classifier.model_files(str(model_dir)), "cpu", 2, against == "sigmoid")
    scores = scorer.score(TEXTS, CLASSES)
    assert scores.entailment.dtype == np.float32
    assert np.ptp(probabilities, axis=0).max() > 0.3
    np.testing.assert_allclose(scores.entailment, probabilities, rtol=0, atol=1e-5)
    assert scores.truncated.tolist() == [False] * 5 + [True]
    assert scores.pairs_scored == 5  # one forward pass for each different text
    # Whichever classes a taxonomy uses, a class has the same score.
    subset = scorer.score(TEXTS[::-1], ["fear", "Anger"])
    assert np.array_equal(subset.entailment, scores.entailment[::-1][:, [2, 0]])
    assert scorer.score([], CLASSES).entailment.shape == (0, 9)


def test_batches_hold_equal_lengths(model_dir):
    scorer = load_scorer(classifier.model_files(str(model_dir)), "cpu", 1, independent=False)
    shapes = set()
    scorer.classifier.model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.add(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    scorer.score(TEXTS, CLASSES)
    assert shapes == {(batch_rows(length, 256), length) for length in (2, 5, 6, 10, 512)}


@pytest.fixture(scope="module")
def labelled(small_corpus: Path, model_dir: Path, tmp_path_factory) -> Path:
    """Four utterances with given transcripts, built with the classifier."""
    folder = tmp_path_factory.mktemp("classified")
    rows = [f"{small_corpus}/slt/best_day.wav,{n / 10},{n / 10 + 1},{text}" for n, text in enumerate(SPOKEN)]
    (folder / "list.csv").write_text("\n".join(["path,start_s,end_s,text", *rows]) + "\n")
    argv = ["--input", str(folder / "list.csv"), "--output", str(folder / "out"), "--taxonomy", "ekman"]
    argv += ["--num-shards", "1", "--val-fraction", "0", "--threads", "1", "--nli-model", f"classifier:{model_dir}"]
    argv += ["--prior", "none"]
    assert build.main(argv) == 0
    return folder / "out"


def samples(output: Path, taxonomy: str) -> list[dict]:
    fields = []
    for path in sorted(output.glob(f"shards/{taxonomy}/*.tar")):
        with tarfile.open(path) as archive:
            fields += [json.load(archive.extractfile(name)) for name in archive.getnames() if name.endswith(".json")]
    return fields


def pairs_scored(output: Path, taxonomy: str) -> int:
    return json.loads((output / "dataset.json").read_text())["taxonomies"][taxonomy]["accounts"]["pairs_scored"]


def test_labels_of_a_corpus_are_the_models(labelled, model_dir):
    scorer = load_scorer(classifier.model_files(str(model_dir)), "cpu", 1, independent=False)
    chosen = ["Anger", "disgust", "fear", "HAPPY", "sadness", "surprise", "neutral"]
    fields = samples(labelled, "ekman")
    assert sorted(sample["text"] for sample in fields) == sorted(SPOKEN)
    for sample in fields:
        scores = scorer.score([sample["text"]], chosen).entailment[0]
        np.testing.assert_allclose(sample["entailment"], scores, rtol=0, atol=1e-5)
        assert sample["label_index"] == int(np.argmax(sample["entailment"]))
        assert (sample["templates"], sample["against"]) == (["{}"], "softmax")
        assert sample["hypotheses"] == [[name] for name in chosen]
        assert sample["nli_model"] == "classifier:emotions"
    assert pairs_scored(labelled, "ekman") == 3  # different transcripts, not transcripts times labels


def test_relabelling_runs_the_model_for_new_labels_alone(labelled, model_dir, tmp_path, monkeypatch):
    options = ["--nli-model", f"classifier:{model_dir}", "--threads", "1"]
    for name, labels in (("fewer", "[sadness, {name: glad, hypothesis: happy}]"), ("more", "[sadness, joy]")):
        (tmp_path / f"{name}.yaml").write_text(f"name: {name}\nlabels: {labels}\n")
    argv = ["--shards", str(labelled), "--output", str(tmp_path / "more"), "--taxonomy", str(tmp_path / "more.yaml")]
    assert relabel.main(argv + options) == 0
    assert pairs_scored(tmp_path / "more", "more") == 3

    def refuse(*_):
        raise RuntimeError("the model was loaded")

    monkeypatch.setattr(classifier, "load", refuse)
    argv = ["--shards", str(labelled), "--output", str(tmp_path / "fewer"), "--taxonomy", str(tmp_path / "fewer.yaml")]
    assert relabel.main(argv + options) == 0
    assert pairs_scored(tmp_path / "fewer", "fewer") == 0
    by_key = {sample["key"]: sample for sample in samples(labelled, "ekman")}
    for sample in samples(tmp_path / "fewer", "fewer"):
        assert sample["entailment"] == [by_key[sample["key"]]["entailment"][index] for index in (4, 3)]


def test_scores_of_a_classifier_are_stored_under_their_own_key(labelled, model_dir):
    sets = [json.loads(path.read_text()) for path in labelled.glob("scores/*/sentences.json")]
    sha256 = resolve(LABELLERS, f"classifier:{model_dir}").sha256
    (stored,) = [content for content in sets if content["nli_sha256"] == sha256]
    assert stored["against"] == "softmax"
    assert stored["hypotheses"] == ["Anger", "HAPPY", "disgust", "fear", "neutral", "sadness", "surprise"]


def test_try_shows_the_classes(model_dir, capsys):
    argv = ["what a day", "--taxonomy", "ekman", "--nli-model", f"classifier:{model_dir}", "--threads", "1"]
    assert try_texts.main([*argv, "--prior", "none"]) == 0
    rows = {line.split()[0]: float(line.split()[1]) for line in capsys.readouterr().out.splitlines()[2:]}
    assert rows.keys() == {"anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"}
    assert list(rows.values()) == sorted(rows.values(), reverse=True)
    assert sum(rows.values()) < 1  # "Joy" and "self-conscious" have the rest
