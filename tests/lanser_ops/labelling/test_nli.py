"""The backend ``nli`` before any weights are read: its classes, its options, and models that it refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from safetensors.torch import load_file, save_file

from lanser_ops.common.errors import InputError
from lanser_ops.labelling import nli, nli_classes
from lanser_ops.labelling.nli_scorer import load_scorer
from schemas.specs import ModelRef
from schemas.taxonomy import parse_taxonomy

MOODS = parse_taxonomy("name: moods\nlabels: [joy, fear]\n", "moods.yaml")
HEAVY = ("torch", "transformers", "tokenizers", "huggingface_hub", "apache_beam", "pyarrow.parquet")


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (["contradiction", "neutral", "entailment"], (2, 0)),
        (["CONTRADICTION", "NEUTRAL", "ENTAILMENT"], (2, 0)),
        (["Entailment", "Neutral", "Contradiction"], (0, 2)),
        (["contradicts", "entails", "neutral"], (1, 0)),
        (["LABEL_entailment", "LABEL_contradiction"], (0, 1)),
        (["contradict", "entail"], (1, 0)),
        (["entailment", "not_entailment"], (0, 1)),
        (["not_entailment", "entailment"], (1, 0)),
        (["non-entailment", "entailment"], (1, 0)),
        (["Not Entailment", "ENTAILMENT"], (1, 0)),
    ],
)
def test_entailment_and_its_opposite_are_recognised_by_name(classes, expected):
    assert nli_classes.entailment_index(classes, nli_classes.model_files("m")) == expected


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["LABEL_0", "LABEL_1", "LABEL_2"], "LABEL_0, LABEL_1, LABEL_2: not exactly one is entailment"),
        (["negative", "positive"], "negative, positive: not exactly one is entailment"),
        (["not_entailment", "neutral"], "not exactly one is entailment"),
        (["entailment", "Entailment"], "not exactly one is entailment"),
        (["entailment", "neutral", "other"], "not exactly one is contradiction or not_entailment"),
    ],
)
def test_classes_that_are_not_those_of_nli(classes, message):
    with pytest.raises(InputError) as raised:
        nli_classes.entailment_index(classes, nli_classes.model_files("org/sentiment"))
    line = str(raised.value)
    assert line.startswith("NLI model 'org/sentiment' has the classes ") and message in line
    assert line.endswith("such as FacebookAI/roberta-large-mnli") and "\n" not in line


def model_ref(path: str) -> ModelRef:
    return ModelRef("m", "0" * 64, path)


def refusal(call, path: str) -> str:
    """The one line with which ``call`` refuses the model at ``path``."""
    with pytest.raises(InputError) as raised:
        call(path)
    line = str(raised.value)
    assert line.startswith(f"NLI model {path!r} ") and line.endswith("such as FacebookAI/roberta-large-mnli")
    assert "\n" not in line and len(line) < 600
    return line


def scoring(path: str) -> tuple:
    return nli.scoring(model_ref(path), MOODS, [], None)


def test_templates_and_against_have_defaults():
    bundled = nli.resolve("bundled")
    assert nli.scoring(bundled, MOODS, [], None) == (MOODS, ("This person feels {}.",), "all")
    own = replace(MOODS, template="I am {}.")
    assert nli.scoring(bundled, own, [], "contradiction") == (own, ("I am {}.",), "contradiction")
    assert nli.scoring(bundled, own, ["A {}.", "B {}."], None) == (own, ("A {}.", "B {}."), "all")


def test_an_unknown_against_is_refused():
    with pytest.raises(InputError) as raised:
        nli.scoring(nli.resolve("bundled"), MOODS, [], "softmax")
    assert str(raised.value) == "--against softmax: an NLI model weighs entailment against contradiction or all"


def test_models_are_refused_before_weights_are_read(tmp_path, write_model):
    sentiment = write_model(tmp_path / "sentiment", classes=("negative", "positive"))
    assert "has the classes negative, positive: not exactly one is entailment" in refusal(scoring, sentiment)

    pickled = write_model(tmp_path / "pickled")
    (tmp_path / "pickled" / "model.safetensors").rename(tmp_path / "pickled" / "pytorch_model.bin")
    for call in (scoring, load_scorer):
        assert "has no safetensors weights, and a pickle (pytorch_model.bin)" in refusal(call, pickled)

    broken = write_model(tmp_path / "broken")
    for content in ("{", "[]", '{"id2label": {"1": "entailment"}}', '{"id2label": 3}'):
        (tmp_path / "broken" / "config.json").write_text(content)
        assert "has a config.json that cannot be read" in refusal(scoring, broken)


def test_unnamed_classes_are_numbered_as_in_transformers(tmp_path, write_model):
    path = write_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    del config["id2label"], config["label2id"]
    for count, names in ((None, "LABEL_0, LABEL_1:"), (3, "LABEL_0, LABEL_1, LABEL_2:")):
        (tmp_path / "config.json").write_text(json.dumps(config | ({"num_labels": count} if count else {})))
        assert f"has the classes {names} not exactly one is entailment" in refusal(scoring, path)


def test_remote_code_is_not_run(tmp_path, write_model):
    path = write_model(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.Strange"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "code.py").write_text("raise SystemExit('ran')")
    assert "cannot be loaded" in refusal(load_scorer, path)


def test_models_that_lack_a_part(tmp_path, write_model):
    headless = write_model(tmp_path / "headless")
    file = tmp_path / "headless" / "model.safetensors"
    weights = {name: value for name, value in load_file(file).items() if not name.startswith("classifier")}
    save_file(weights, file, metadata={"format": "pt"})
    assert "has no weights for classifier.bias, classifier.weight" in refusal(load_scorer, headless)

    mute = write_model(tmp_path / "mute")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "mute" / name).unlink()
    assert "has no tokenizer.json" in refusal(load_scorer, mute)

    corrupt = write_model(tmp_path / "corrupt")
    (tmp_path / "corrupt" / "model.safetensors").write_bytes(b"not weights")
    assert "cannot be loaded" in refusal(load_scorer, corrupt)

    infinite = write_model(tmp_path / "infinite")
    file = tmp_path / "infinite" / "model.safetensors"
    save_file({name: value * float("inf") for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
    line = refusal(lambda path: load_scorer(path).score(["we won"], ["this person feels sad"]), infinite)
    assert "gives logits that are not finite" in line


PROGRAM = """
import sys
from lanser_ops.backends import LABELLERS, backend_of
from lanser_ops.common.parser import Parser
from lanser_ops.labelling import classifier, options
parser = Parser("label", "")
options.add_label_options(parser)
options.label_spec(parser.parse_args(["--taxonomy", "ekman"]))
print([name for name in {names} if name in sys.modules])
"""


def test_checking_the_options_imports_nothing_heavy():
    """Otherwise --help, and every job before its first unit, would wait seconds for torch and transformers."""
    printed = subprocess.check_output([sys.executable, "-c", PROGRAM.format(names=HEAVY)], text=True, timeout=60)
    assert printed == "[]\n"
