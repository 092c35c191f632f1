"""docs/extending.md: its packages are installed apart from lanser and used by its commands, its pipeline is run."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lanser_ops.audio.decode import read_all

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
EXAMPLES = REPOSITORY / "examples" / "audio"
PACKAGES = ("keyword_labeller", "prompt_recognizer")
RECORDINGS = {
    "best_day.wav": "I can't believe we won, this is the best day of my life!",
    "dog_died.m4a": "Our dog died last night, and the whole house feels empty.",
    "love_you.mp3": "I love you more than anything else in the world.",
}
LEXICON = {"happy": ["best", "love"], "sad": ["died", "empty"], "calm": []}
TAXONOMY = """
name: three
labels:
  - {name: calm}
  - {name: joy, hypothesis: happy}
  - {name: sadness, hypothesis: sad}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both packages installed, for PYTHONPATH."""
    folder = tmp_path_factory.mktemp("extending")
    for package in PACKAGES:  # setuptools writes to the folder that it packs
        shutil.copytree(HERE / package, folder / package)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", folder / "site"]
    command = [sys.executable, "-m", "pip", "install", *options, *(folder / package for package in PACKAGES)]
    subprocess.run(list(map(str, command)), check=True, cwd=folder)
    return folder / "site"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Path:
    """A folder with ``audio``, the models ``prompts`` and ``lexicon``, and the taxonomy ``three.yaml``."""
    folder = tmp_path_factory.mktemp("inputs")
    for name in ("audio", "prompts", "lexicon"):
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
    (folder / "three.yaml").write_text(TAXONOMY)
    return folder


@pytest.fixture
def flags(inputs: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The options of a build with both backends; commands that are started find their packages."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(REPOSITORY)]))
    models = ["--asr-model", f"prompts:{inputs / 'prompts'}", "--nli-model", f"keywords:{inputs / 'lexicon'}"]
    return ["--input", str(inputs / "audio"), "--taxonomy", str(inputs / "three.yaml"), "--num-shards", "2", *models]


def test_backends_of_other_packages_build_shards_in_two_worker_processes(
    flags: list[str], tmp_path: Path, lanser, digests
):
    two = lanser("build", "--output", tmp_path / "two", "--workers", 2, "--threads", 1, *flags)
    assert two.returncode == 0, two.stderr
    transcripts = pq.read_table(tmp_path / "two" / "transcripts").to_pylist()
    assert {row["source"]: row["text"] for row in transcripts} == RECORDINGS
    labels = {row["key"]: row["label"] for row in pq.read_table(tmp_path / "two" / "labels" / "three").to_pylist()}
    assert {row["source"]: labels[row["key"]] for row in transcripts} == {
        "best_day.wav": "joy",
        "dog_died.m4a": "sadness",
        "love_you.mp3": "joy",
    }
    content = json.loads((tmp_path / "two" / "dataset.json").read_text())
    assert content["transcribe"]["asr_model"]["id"] == "prompts:prompts"
    assert content["taxonomies"]["three"]["label"]["nli_model"]["id"] == "keywords:lexicon"

    one = lanser("build", "--output", tmp_path / "one", *flags)
    assert one.returncode == 0, one.stderr
    assert digests(tmp_path / "one") == digests(tmp_path / "two")


def test_a_backend_refuses_what_it_cannot_score_in_one_line(flags: list[str], tmp_path: Path, lanser):
    refused = lanser("build", "--output", tmp_path / "out", *flags, "--taxonomy", "ekman")
    assert refused.returncode == 2
    assert refused.stderr.splitlines() == [
        "lanser build: --nli-model keywords:lexicon: its lexicon has no entry for afraid, angry, disgusted, neutral, "
        "surprised; add one"
    ]


def test_a_backend_whose_package_is_not_installed_is_named(inputs: Path, tmp_path: Path, lanser):
    refused = lanser("label", "--output", tmp_path, "--taxonomy", "ekman", "--nli-model", f"keywords:{inputs}")
    assert refused.returncode == 2
    assert "no backend 'keywords' is installed" in refused.stderr


def test_the_transforms_run_in_a_pipeline_of_somebody_else(inputs: Path, tmp_path: Path):
    command = [sys.executable, HERE / "own_pipeline.py", inputs / "audio", tmp_path / "out", "--runner", "FnApiRunner"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["neutral 1", "sadness 1", "surprise 1"]
    assert sorted(path.name for path in (tmp_path / "out" / "labels" / "ekman").iterdir()) == [
        "part-00000-of-00002.parquet",
        "part-00001-of-00002.parquet",
    ]


def test_the_page_shows_these_files():
    page = (REPOSITORY / "docs" / "extending.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"`tests/extending/(\S+)`:\n\n```\w+\n(.*?)```\n", page, re.DOTALL))
    files = [*HERE.glob("*/pyproject.toml"), *HERE.glob("*/*.py"), HERE / "own_pipeline.py"]
    assert blocks == {str(path.relative_to(HERE)): path.read_text(encoding="utf-8") for path in files}
