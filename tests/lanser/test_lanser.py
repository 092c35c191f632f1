"""The Python interface beyond its docstrings' examples, which tests/test_doctests.py runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lanser
from lanser.arguments import arguments
from pipelines import build, relabel
from training.model import new_model, save_model


def test_importing_it_loads_no_library():
    program = "import sys, lanser; print(sorted({'apache_beam', 'numpy', 'pyarrow', 'torch'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_public_name_exists():
    assert dir(lanser) == lanser.__all__
    assert all(getattr(lanser, name).__doc__ for name in lanser.__all__)
    with pytest.raises(AttributeError, match="module 'lanser' has no attribute 'Labels'"):
        _ = lanser.Labels


def test_keywords_become_the_options_of_a_command():
    options = {"input": [Path("a"), "b"], "taxonomy": "ekman", "keep_flagged": True, "exact": False, "workers": None}
    assert arguments(build.build_parser(), options | {"template": ["I am {}.", "So {}."]}) == [
        "--input", "a", "b", "--taxonomy=ekman", "--keep-flagged=true", "--template=I am {}.", "--template=So {}.",
    ]  # fmt: skip
    # An option of Beam's keeps its underscores; a switch of its has no value.
    assert arguments(relabel.build_parser(), {"temp_location": "gs://b/t", "no_auth": True}) == [
        "--temp_location=gs://b/t",
        "--no_auth",
    ]


def test_what_the_user_can_fix_is_an_input_error(tmp_path: Path):
    with pytest.raises(lanser.InputError, match="^unknown taxonomy 'ekmann'"):
        lanser.label_texts(["I am happy."], taxonomy="ekmann")
    with pytest.raises(lanser.InputError, match="unknown option --tresholds"):
        lanser.label_texts(["I am happy."], tresholds=1)
    with pytest.raises(lanser.InputError, match="texts is a single string; give a list of strings"):
        lanser.label_texts("I am happy.")
    with pytest.raises(lanser.InputError, match=r"text 2: 'caf\\udce9' is not text in UTF-8; give strings"):
        lanser.label_texts(["I am happy.", "caf\udce9"])
    with pytest.raises(lanser.InputError, match=r"no shards \(\.tar\); give the output of lanser build"):
        next(lanser.load_shards(tmp_path))


def test_shards_of_two_taxonomies_are_not_mixed(built: Path, tmp_path: Path):
    relabelled = lanser.relabel(built, tmp_path / "out", "cremad6")
    assert relabelled["taxonomies"]["cremad6"]["accounts"]["samples"] == 10
    shutil.copytree(built / "shards" / "ekman", tmp_path / "out" / "shards" / "ekman")
    assert {sample.fields["taxonomy"] for sample in lanser.load_shards(tmp_path / "out", "ekman")} == {"ekman"}
    with pytest.raises(lanser.InputError, match="has shards of cremad6 and ekman; give taxonomy"):
        list(lanser.load_shards(tmp_path / "out"))


def test_a_model_predicts_recordings(small_corpus: Path, tmp_path: Path):
    save_model(new_model("resnet10-quarter", "two", ("anger", "joy")), tmp_path / "model")
    model = lanser.load_model(tmp_path)
    (prediction,) = lanser.predict(model, small_corpus / "slt" / "best_day.wav", device="cpu")
    assert lanser.predict(model, [small_corpus / "slt" / "best_day.wav"], device="cpu") == [prediction]
    assert prediction.path == small_corpus / "slt" / "best_day.wav"
    assert prediction.label == max(prediction.probabilities, key=lambda name: prediction.probabilities[name])
    assert sum(prediction.probabilities.values()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(lanser.InputError, match="device 'gpu': use one of auto, cpu, cuda"):
        lanser.predict(model, [small_corpus], device="gpu")
    with pytest.raises(lanser.InputError, match="truncated.flac: cannot be decoded"):
        lanser.predict(model, [small_corpus / "broken" / "truncated.flac"], device="cpu")
