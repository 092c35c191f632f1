"""Shards to shards for another taxonomy: the bytes of a direct build, from the tars alone."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines import build, label, relabel, shard

TEMPLATES = ["--template", "This person feels {}.", "--template", "The speaker sounds {}."]
FORTY = """\
name: forty
template: "I would say: {{}}."
labels:
  - a bit sad
  - self-conscious
  - name: être ému
    hypothesis: moved to tears
  - 悲しい
  - name: "it's fine"
    hypothesis: "fine, really"
{rest}
"""


def tars_of(output: Path, taxonomy: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob(f"shards/{taxonomy}/*.tar"))}


def samples_of(tar: bytes) -> list[dict]:
    return [json.loads(text) for text in json_texts(tar)]


def json_texts(tar: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        names = [name for name in archive.getnames() if name.endswith(".json")]
        return [archive.extractfile(name).read().decode() for name in names]


def statistics_of(output: Path, taxonomy: str) -> dict:
    return json.loads((output / "dataset.json").read_text())["taxonomies"][taxonomy]["accounts"]


def succeed(command: Callable, *argv: str | Path) -> None:
    assert command([*map(str, argv), "--threads", "1"]) == 0


def direct(built: Path, output: Path, *options: str | Path) -> Path:
    """What a build with ``options`` writes, from the transcripts in ``built``."""
    shutil.copytree(built, output, dirs_exist_ok=True)
    thresholds = options.index("--min-score") if "--min-score" in options else len(options)
    succeed(label.main, "--output", output, *options[:thresholds])
    succeed(shard.main, "--output", output, *options)
    return output


@pytest.fixture(scope="module")
def wide(built: Path, tmp_path_factory) -> Path:
    """The small corpus with goemotions' 28 labels."""
    return direct(built, tmp_path_factory.mktemp("wide") / "out", "--taxonomy", "goemotions")


@pytest.fixture
def shards(wide: Path, tmp_path: Path) -> Path:
    """The tars of ``wide``, and nothing else of it."""
    return Path(shutil.copytree(wide / "shards" / "goemotions", tmp_path / "tars"))


def test_to_fewer_labels_without_a_model(built: Path, shards: Path, tmp_path: Path, no_models):
    output = tmp_path / "out"
    succeed(relabel.main, "--shards", shards, "--output", output, "--taxonomy", "ekman")
    assert tars_of(output, "ekman") == tars_of(built, "ekman")
    assert statistics_of(output, "ekman")["pairs_scored"] == 0
    assert statistics_of(output, "ekman")["samples"] == 10
    assert {row["key"] for row in pq.read_table(output / "labels" / "ekman").to_pylist()} == {
        sample["key"] for tar in tars_of(built, "ekman").values() for sample in samples_of(tar)
    }


def test_to_more_labels_scores_the_new_ones_alone(built: Path, wide: Path, tmp_path: Path):
    output = tmp_path / "out"
    succeed(relabel.main, "--shards", built, "--output", output, "--taxonomy", "goemotions")
    assert tars_of(output, "goemotions") == tars_of(wide, "goemotions")
    assert statistics_of(output, "goemotions")["pairs_scored"] == (28 - 7) * 10
    assert statistics_of(wide, "goemotions")["labels"] == statistics_of(output, "goemotions")["labels"]


def test_another_against_shares_no_score(built: Path, wide: Path, shards: Path, tmp_path: Path):
    """Scores against all classes are different numbers, and neither kind is used in place of the other."""
    options = ("--taxonomy", "ekman", "--against", "contradiction")
    succeed(relabel.main, "--shards", shards, "--output", tmp_path / "out", *options)
    assert statistics_of(tmp_path / "out", "ekman")["pairs_scored"] == 7 * 10
    contradiction = direct(wide, tmp_path / "contradiction", *options, "--overwrite")
    assert tars_of(tmp_path / "out", "ekman") == tars_of(contradiction, "ekman")
    first, other = (samples_of(next(iter(tars_of(folder, "ekman").values())))[0] for folder in (built, contradiction))
    assert (first["against"], other["against"]) == ("all", "contradiction")
    assert all(low < high for low, high in zip(first["entailment"], other["entailment"], strict=True))
    succeed(relabel.main, "--shards", tmp_path / "out", "--output", tmp_path / "back", "--taxonomy", "ekman")
    assert statistics_of(tmp_path / "back", "ekman")["pairs_scored"] == 7 * 10
    assert tars_of(tmp_path / "back", "ekman") == tars_of(built, "ekman")


def test_three_new_labels_cost_three_sentences(wide: Path, shards: Path, tmp_path: Path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nlabels: [jealous, bored, grief, lonely, love]\n")
    before = {path.name for path in wide.glob("scores/*")}
    succeed(relabel.main, "--shards", shards, "--output", tmp_path / "out", "--taxonomy", mine)
    expected = direct(wide, tmp_path / "direct", "--taxonomy", mine)
    assert tars_of(tmp_path / "out", "mine") == tars_of(expected, "mine")
    assert statistics_of(tmp_path / "out", "mine")["pairs_scored"] == 3 * 10
    (new,) = {path.name for path in expected.glob("scores/*")} - before
    sentences = json.loads((expected / "scores" / new / "sentences.json").read_text())["hypotheses"]
    assert sentences == ["This person feels bored.", "This person feels jealous.", "This person feels lonely."]
    assert {path.name for path in (tmp_path / "out").glob("scores/*")} > {new}


def test_equal_transcripts_of_a_unit_are_scored_once(small_corpus: Path, tmp_path: Path):
    rows = [f"{small_corpus}/slt/best_day.wav,{n / 10},{n / 10 + 1},{'yes' if n < 4 else 'no'}" for n in range(6)]
    (tmp_path / "list.csv").write_text("\n".join(["path,start_s,end_s,text", *rows]) + "\n")
    argv = ["--input", tmp_path / "list.csv", "--output", tmp_path / "out", "--taxonomy", "ekman"]
    succeed(build.main, *argv, "--num-shards", "1", "--val-fraction", "0")
    assert statistics_of(tmp_path / "out", "ekman")["samples"] == 6
    assert statistics_of(tmp_path / "out", "ekman")["pairs_scored"] == 2 * 7


def test_forty_labels_of_any_spelling(built: Path, tmp_path: Path):
    forty = tmp_path / "forty.yaml"
    forty.write_text(FORTY.format(rest="\n".join(f"  - mood {n}" for n in range(35))), encoding="utf-8")
    expected = direct(built, tmp_path / "direct", "--taxonomy", forty)
    succeed(relabel.main, "--shards", built, "--output", tmp_path / "out", "--taxonomy", forty)
    assert tars_of(tmp_path / "out", "forty") == tars_of(expected, "forty")
    sample = samples_of(next(iter(tars_of(expected, "forty").values())))[0]
    assert len(sample["entailment"]) == 40
    assert sample["labels"][:5] == ["a bit sad", "self-conscious", "être ému", "悲しい", "it's fine"]
    assert sample["hypotheses"][2:5] == [["moved to tears"], ["悲しい"], ["fine, really"]]


@pytest.mark.parametrize(("prior", "strength"), [("corpus", 1.0), ("corpus", 0.3), ("null", 0.5), ("none", 0.0)])
def test_a_prior_gives_the_numbers_of_a_direct_build(
    built: Path, wide: Path, shards: Path, tmp_path: Path, prior, strength
):
    options = ["--taxonomy", "ekman", "--prior", prior, "--prior-strength", strength, "--overwrite"]
    expected = direct(wide, tmp_path / "direct", *options)
    succeed(relabel.main, "--shards", shards, "--output", tmp_path / "out", *options[:-1])
    assert tars_of(tmp_path / "out", "ekman") == tars_of(expected, "ekman") != tars_of(built, "ekman")
    assert statistics_of(tmp_path / "out", "ekman")["pairs_scored"] == (28 if prior == "null" else 0)
    default = {sample["key"]: sample for tar in tars_of(built, "ekman").values() for sample in samples_of(tar)}
    for tar in tars_of(expected, "ekman").values():
        for sample in samples_of(tar):
            other = default[sample["key"]]
            assert (other["prior"], other["prior_strength"]) == ("corpus", 0.4)
            assert (sample["prior"], sample["prior_strength"]) == (prior, strength)
            assert sample["entailment"] == other["entailment"] and sample["score"] != other["score"]
            assert prior == "none" or 1 / 7 < sample["score"] < 1
    section = json.loads((expected / "dataset.json").read_text())["taxonomies"]["ekman"]["label"]
    assert (section["prior"], section["prior_strength"]) == (prior, strength)


def test_two_ways_to_ask_for_no_prior_give_the_same_bytes(shards: Path, tmp_path: Path, no_models):
    argv = ["--shards", shards, "--taxonomy", "ekman"]
    for name, options in (("none", ["--prior", "none"]), ("zero", ["--prior-strength", "0"])):
        succeed(relabel.main, *argv, "--output", tmp_path / name, *options)
    assert tars_of(tmp_path / "none", "ekman") == tars_of(tmp_path / "zero", "ekman") != {}


@pytest.fixture(scope="module")
def source(built: Path, tmp_path_factory) -> Path:
    """The small corpus with two templates and no prior."""
    output = tmp_path_factory.mktemp("source") / "out"
    return direct(built, output, "--taxonomy", "ekman", *TEMPLATES, "--prior", "none", "--overwrite")


def test_scores_of_several_templates_are_reused(built: Path, source: Path, tmp_path: Path, no_models):
    three = tmp_path / "three.yaml"
    three.write_text("name: three\nlabels: [{name: up, hypothesis: happy}, {name: down, hypothesis: sad}, neutral]\n")
    both = ["--taxonomy", three, *TEMPLATES, "--prior", "none"]
    succeed(relabel.main, "--shards", source, "--output", tmp_path / "both", *both)
    succeed(relabel.main, "--shards", source, "--output", tmp_path / "single", "--taxonomy", "ekman", *TEMPLATES[:2])
    assert tars_of(tmp_path / "single", "ekman") == tars_of(built, "ekman")
    expected = direct(source, tmp_path / "direct", *both)
    assert tars_of(tmp_path / "both", "three") == tars_of(expected, "three")
    samples = [sample for tar in tars_of(expected, "three").values() for sample in samples_of(tar)]
    shares = statistics_of(tmp_path / "both", "three")["template_agreement"]
    assert shares == statistics_of(expected, "three")["template_agreement"]
    for index, template in enumerate(TEMPLATES[1::2]):
        picks = [sample["template_labels"][index] for sample in samples]
        assert picks == [row.index(max(row)) for row in (sample["template_entailment"][index] for sample in samples)]
        assert shares["with_label"][template] == sum(
            pick == sample["label_index"] for pick, sample in zip(picks, samples, strict=True)
        ) / len(samples)
    assert shares["pairwise"] == sum(len(set(sample["template_labels"])) == 1 for sample in samples) / len(samples)


def test_every_score_in_json_has_at_most_six_digits(source: Path):
    texts = [text for tar in tars_of(source, "ekman").values() for text in json_texts(tar)]
    assert len(texts) == 10
    for text in texts:
        fields = json.loads(text, parse_float=str)
        scores = [fields["score"], fields["margin"], *fields["entailment"], *chain(*fields["template_entailment"])]
        assert len(scores) == 2 + 7 + 2 * 7
        digits = [score.partition("e")[0].replace(".", "").lstrip("0") for score in scores]
        assert max(map(len, digits)) == 6, text


def test_thresholds_leave_out_the_same_samples(wide: Path, shards: Path, tmp_path: Path, no_models):
    options = ["--taxonomy", "goemotions", "--min-score", "0.3", "--min-margin", "0.1"]
    expected = direct(wide, tmp_path / "direct", *options[:2], *options[2:], "--overwrite")
    succeed(relabel.main, "--shards", shards, "--output", tmp_path / "out", *options)
    assert tars_of(tmp_path / "out", "goemotions") == tars_of(expected, "goemotions")
    statistics = statistics_of(tmp_path / "out", "goemotions")
    assert statistics["rejects"] and statistics["utterances"] == 10
    assert statistics["samples"] + sum(statistics["rejects"].values()) == 10
    rejects = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert {reject["stage"] for reject in rejects} == {"shard:goemotions"}
    assert {reject["reason"] for reject in rejects} <= {"low_score", "low_margin"}


def test_scores_that_are_unpacked_and_not_needed_are_recorded(built: Path, tmp_path: Path):
    output = tmp_path / "out"
    options = ["--shards", built, "--taxonomy", "ekman", "--template", "I am {}."]
    succeed(relabel.main, *options, "--output", output, "--verify")
    recorded = json.loads((output / "dataset.json").read_text())["files"]
    assert len([name for name in recorded if name.startswith("scores/")]) == 2 * 4


def test_an_output_without_samples_passes_verification(built: Path, tmp_path: Path, capsys):
    output = tmp_path / "out"
    options = ["--shards", built, "--taxonomy", "ekman", "--min-score", 1]
    succeed(relabel.main, *options, "--output", output, "--verify")
    assert statistics_of(output, "ekman")["splits"] == {"train": 0, "val": 0} and not tars_of(output, "ekman")
    printed = capsys.readouterr().out
    assert "/report.html says what became of the utterances\n" in printed and "next: " not in printed


KILLED = """
import os, signal, sys
from lanser_ops import tar
from pipelines import relabel
complete = tar.write_tar
def write_tar(stream, members):
    if os.path.exists(sys.argv[1] + "/shards/ekman/train-00001-of-00004.tar"):
        stream.write(b"half a tar")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    return complete(stream, members)
tar.write_tar = write_tar
relabel.main(sys.argv[2:])
"""


def test_killed_and_run_again_gives_the_same_bytes(built: Path, shards: Path, tmp_path: Path, no_models, capsys):
    output = tmp_path / "out"
    options = ["--shards", shards, "--output", output, "--taxonomy", "ekman"]
    command = [sys.executable, "-c", KILLED, str(output), *map(str, options), "--threads", "1"]
    killed = subprocess.run(command, capture_output=True, cwd=Path(__file__).parents[2])
    assert killed.returncode == -9, killed.stderr
    assert 0 < len(tars_of(output, "ekman")) < 4 and list((output / ".tmp").iterdir())
    succeed(relabel.main, *options)
    assert tars_of(output, "ekman") == tars_of(built, "ekman") and not (output / ".tmp").exists()
    capsys.readouterr()
    succeed(relabel.main, *options)
    assert "shard: skipping 4 of 4 units that are done (0-3)" in capsys.readouterr().out
