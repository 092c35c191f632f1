"""docs/extending.md: its packages are installed apart from lanser and used by its commands, its pipeline is run."""

from __future__ import annotations

import importlib
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lanser_ops.audio.decode import read_all

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
EXAMPLES = REPOSITORY / "examples" / "audio"
PACKAGES = ("keyword_labeller", "loudness_labeller", "prompt_recognizer")
RECORDINGS = {
    "best_day.wav": "I can't believe we won, this is the best day of my life!",
    "dog_died.m4a": "Our dog died last night, and the whole house feels empty.",
    "love_you.mp3": "I love you more than anything else in the world.",
}
LEXICON = {"happy": ["best", "love"], "sad": ["died", "empty"], "lonely": ["empty"], "calm": []}
TAXONOMIES = {
    "three": "name: three\nlabels: [calm, {name: joy, hypothesis: happy}, {name: sadness, hypothesis: sad}]\n",
    "two": "name: two\nlabels: [calm, lonely]\n",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the packages installed; it is on PYTHONPATH for commands in processes of their own."""
    folder = tmp_path_factory.mktemp("extending")
    for package in PACKAGES:  # setuptools writes to the folder that it packs
        shutil.copytree(HERE / package, folder / package)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site"]
    command = [sys.executable, "-m", "pip", "install", *options, *(folder / package for package in PACKAGES)]
    subprocess.run(list(map(str, command)), check=True, cwd=folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder / "site"), str(REPOSITORY)]))
        yield folder / "site"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Path:
    """A folder with ``audio``, the models ``prompts``, ``lexicon`` and ``loudness``, and the taxonomies."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("audio", "prompts", "lexicon", "loudness"):
        (folder / name).mkdir()
    for name in RECORDINGS:
        shutil.copy(EXAMPLES / "slt" / name, folder / "audio" / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        features = importlib.import_module("prompt_recognizer").features
    prompts = {}
    for name, text in RECORDINGS.items():
        with (folder / "audio" / name).open("rb") as stream:
            prompts[text] = features(read_all(stream)).tolist()
    (folder / "prompts" / "prompts.json").write_text(json.dumps(prompts))
    (folder / "lexicon" / "lexicon.json").write_text(json.dumps(LEXICON))
    (folder / "loudness" / "config.json").write_text(json.dumps({"quiet": "calm", "loud": "sad"}))
    for name, content in TAXONOMIES.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


@pytest.fixture(scope="module")
def built(inputs: Path, tmp_path_factory: pytest.TempPathFactory, lanser_process) -> Path:
    """The output of a build with all three backends, in two worker processes."""
    output = tmp_path_factory.mktemp("built") / "out"
    done = lanser_process(
        "build", "--input", inputs / "audio", "--output", output, "--taxonomy", inputs / "three.yaml",
        "--asr-model", f"prompts:{inputs / 'prompts'}", "--nli-model", f"keywords:{inputs / 'lexicon'}",
        "--speech-model", f"loudness:{inputs / 'loudness'}", "--num-shards", 2, "--workers", 2, "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


def labels_by_source(output: Path, taxonomy: str) -> dict[str, str]:
    labels = {row["key"]: row["label"] for row in pq.read_table(output / "labels" / taxonomy).to_pylist()}
    return {row["source"]: labels[row["key"]] for row in pq.read_table(output / "transcripts").to_pylist()}


def test_backends_of_other_packages_work_in_two_worker_processes(built: Path):
    transcripts = pq.read_table(built / "transcripts").to_pylist()
    assert {row["source"]: row["text"] for row in transcripts} == RECORDINGS
    assert labels_by_source(built, "three") == {
        "best_day.wav": "joy",
        "dog_died.m4a": "sadness",
        "love_you.mp3": "joy",
    }
    assert len(list((built / "shards" / "three").glob("*.tar"))) == 2
    content = json.loads((built / "dataset.json").read_text())
    assert content["taxonomies"]["three"]["shard"]["speech_model"]["id"] == "loudness:loudness"
    scores = [row["speech_scores"] for row in pq.read_table(built / "speech").to_pylist()]
    assert len(scores) == 3 and all(0 < quiet < 1 and quiet + loud == pytest.approx(1) for quiet, loud in scores)
    assert content["transcribe"]["asr_model"]["id"] == "prompts:prompts"
    assert content["taxonomies"]["three"]["label"]["nli_model"]["id"] == "keywords:lexicon"


def test_a_labeller_of_another_package_labels_existing_transcripts(built: Path, inputs: Path, lanser_process):
    model = ["--nli-model", f"keywords:{inputs / 'lexicon'}"]
    done = lanser_process("label", "--output", built, "--taxonomy", inputs / "two.yaml", *model)
    assert done.returncode == 0, done.stderr
    assert labels_by_source(built, "two") == {
        "best_day.wav": "calm",
        "dog_died.m4a": "lonely",
        "love_you.mp3": "calm",
    }


def test_a_backend_refuses_what_it_cannot_score_in_one_line(built: Path, inputs: Path, lanser_process):
    model = ["--nli-model", f"keywords:{inputs / 'lexicon'}"]
    refused = lanser_process("label", "--output", built, "--taxonomy", "ekman", *model)
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "lanser label: --nli-model keywords:lexicon: its lexicon has no entry for afraid, angry, disgusted, neutral, "
        "surprised; add one"
    ]


def test_a_backend_whose_package_is_not_installed_is_named(tmp_path: Path, lanser):
    refused = lanser("label", "--output", tmp_path, "--taxonomy", "ekman", "--nli-model", "keywords:lexicon")
    assert refused.returncode == 2
    assert "no backend 'keywords' is installed" in refused.stderr


def test_the_transforms_work_in_a_pipeline_of_your_own(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    script = str(HERE / "own_pipeline.py")
    arguments = [str(inputs / "audio"), str(tmp_path / "out"), "--runner", "FnApiRunner"]
    monkeypatch.setattr(sys, "argv", [script, *arguments])
    runpy.run_path(script, run_name="__main__")
    assert sorted(capsys.readouterr().out.splitlines()) == ["joy 1", "sadness 1", "surprise 1"]
    assert sorted(path.name for path in (tmp_path / "out" / "labels" / "ekman").iterdir()) == [
        "part-00000-of-00002.parquet",
        "part-00001-of-00002.parquet",
    ]


def test_the_page_shows_these_files():
    page = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"`tests/extending/(\S+)`:\n\n```\w+\n(.*?)```\n", page, re.DOTALL))
    files = [*HERE.glob("*/pyproject.toml"), *HERE.glob("*/*.py"), HERE / "own_pipeline.py"]
    assert blocks == {str(path.relative_to(HERE)): path.read_text(encoding="utf-8") for path in files}
