"""Several hypotheses, groups and the absence of emotion: the bytes of a direct build, from the tars alone."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import build, label, relabel, shard

SEVERAL = """\
name: several
version: 2
aggregate: {aggregate}
labels:
  - {{name: joy, hypotheses: [happy, amused, grateful]}}
  - {{name: anger, hypotheses: [angry, annoyed]}}
  - {{name: sadness, hypothesis: sad}}
  - neutral
"""
GROUPED = """\
name: grouped
version: 2
group: goemotions
{more}
labels:
  - name: good
    members: [admiration, amusement, approval, caring, desire, excitement, gratitude, joy, love, optimism, pride,
              relief]
  - name: bad
    members: [anger, annoyance, disappointment, disapproval, disgust, embarrassment, fear, grief, nervousness, remorse,
              sadness]
  - {{name: surprise, members: [surprise, realization, confusion, curiosity]}}
  - {{name: neutral, members: [neutral]}}
"""


def tars_of(output: Path, taxonomy: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob(f"shards/{taxonomy}/*.tar"))}


def samples_of(output: Path, taxonomy: str) -> list[dict]:
    samples = []
    for content in tars_of(output, taxonomy).values():
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            samples += [json.load(archive.extractfile(name)) for name in archive.getnames() if name.endswith(".json")]
    return samples


def pairs_scored(output: Path, taxonomy: str) -> int:
    return json.loads((output / "dataset.json").read_text())["taxonomies"][taxonomy]["accounts"]["pairs_scored"]


def succeed(command: Callable, *argv: str | Path) -> None:
    assert command([*map(str, argv), "--threads", "1"]) == 0


def direct(built: Path, output: Path, *options: str | Path) -> Path:
    """What a build with ``options`` writes, from the transcripts in ``built``."""
    shutil.copytree(built, output)
    succeed(label.main, "--output", output, *options)
    succeed(shard.main, "--output", output, *options)
    return output


@pytest.fixture(scope="module")
def wide(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small corpus with goemotions' 28 labels."""
    return direct(built, tmp_path_factory.mktemp("wide") / "out", "--taxonomy", "goemotions")


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(content)
    return path


@pytest.mark.parametrize("aggregate", ["max", "mean", "odds"])
def test_several_hypotheses_without_a_model(wide: Path, tmp_path: Path, aggregate: str, no_models):
    taxonomy = write(tmp_path, "several", SEVERAL.format(aggregate=aggregate))
    expected = direct(wide, tmp_path / "direct", "--taxonomy", taxonomy)
    succeed(
        relabel.main, "--shards", wide / "shards" / "goemotions", "--output", tmp_path / "out", "--taxonomy", taxonomy
    )
    assert tars_of(tmp_path / "out", "several") == tars_of(expected, "several") != {}
    assert pairs_scored(tmp_path / "out", "several") == 0
    samples = samples_of(expected, "several")
    fine = {sample["key"]: sample for sample in samples_of(wide, "goemotions")}
    assert len(samples) == 10
    for sample in samples:
        assert sample["hypotheses"] == [["happy", "amused", "grateful"], ["angry", "annoyed"], ["sad"], ["neutral"]]
        assert sample["aggregate"] == aggregate
        (scores,) = sample["hypothesis_scores"]
        stored = fine[sample["key"]]
        score_of = {word: score for (word,), score in zip(stored["hypotheses"], stored["entailment"], strict=True)}
        assert scores == [score_of[word] for words in sample["hypotheses"] for word in words]
        joy = {
            "max": max(scores[:3]),
            "mean": sum(scores[:3]) / 3,
            "odds": (odds := sum(score / (1 - score) for score in scores[:3])) / (1 + odds),
        }[aggregate]
        assert sample["entailment"] == pytest.approx([joy, sample["entailment"][1], *scores[5:]], rel=1e-3, abs=1e-5)


def test_scores_of_several_hypotheses_are_reused(wide: Path, tmp_path: Path, no_models):
    """From shards that have label scores and hypothesis scores, only those of hypotheses are read."""
    several = direct(
        wide, tmp_path / "several", "--taxonomy", write(tmp_path, "several", SEVERAL.format(aggregate="odds"))
    )
    three = write(tmp_path, "three", "name: three\nlabels: [{name: thanks, hypothesis: grateful}, sad, neutral]\n")
    expected = direct(wide, tmp_path / "direct", "--taxonomy", three)
    succeed(relabel.main, "--shards", several / "shards" / "several", "--output", tmp_path / "out", "--taxonomy", three)
    assert tars_of(tmp_path / "out", "three") == tars_of(expected, "three") != {}
    assert pairs_scored(tmp_path / "out", "three") == 0


def test_new_hypotheses_alone_are_scored(wide: Path, tmp_path: Path):
    content = SEVERAL.format(aggregate="mean").replace("annoyed", "annoyed, furious").replace("sad}", "gloomy}")
    taxonomy = write(tmp_path, "several", content)
    succeed(
        relabel.main, "--shards", wide / "shards" / "goemotions", "--output", tmp_path / "out", "--taxonomy", taxonomy
    )
    expected = direct(wide, tmp_path / "direct", "--taxonomy", taxonomy)
    assert tars_of(tmp_path / "out", "several") == tars_of(expected, "several") != {}
    assert pairs_scored(tmp_path / "out", "several") == 2 * 10


@pytest.mark.parametrize(
    ("more", "options"),
    [
        ("aggregate: max", []),
        ("aggregate: odds", ["--prior-strength", "0.8", "--temperature", "2"]),
        ("neutral: absence", ["--neutral-threshold", "0.7"]),
        ("neutral: absence", ["--prior", "none", "--neutral-threshold", "-1", "--temperature", "0.5"]),
    ],
)
def test_groups_without_a_model(wide: Path, tmp_path: Path, more: str, options: list[str], no_models):
    options = ["--taxonomy", str(write(tmp_path, "grouped", GROUPED.format(more=more))), *options]
    expected = direct(wide, tmp_path / "direct", *options)
    succeed(relabel.main, "--shards", wide / "shards" / "goemotions", "--output", tmp_path / "out", *options)
    assert tars_of(tmp_path / "out", "grouped") == tars_of(expected, "grouped") != {}
    assert pairs_scored(tmp_path / "out", "grouped") == 0
    for sample in samples_of(expected, "grouped"):
        assert [len(words) for words in sample["hypotheses"]] == [12, 11, 4, 0 if "absence" in more else 1]
        assert len(sample["hypothesis_scores"][0]) == (27 if "absence" in more else 28)
    # The absence of emotion is relabelled from the shards that have it.
    succeed(relabel.main, "--shards", tmp_path / "out", "--output", tmp_path / "again", *options)
    assert tars_of(tmp_path / "again", "grouped") == tars_of(expected, "grouped")
    assert pairs_scored(tmp_path / "again", "grouped") == 0


def test_a_threshold_decides_how_much_is_neutral(wide: Path, tmp_path: Path, no_models):
    taxonomy = write(tmp_path, "grouped", GROUPED.format(more="neutral: absence"))
    labels = []
    for threshold in ("-5", "0.7", "5"):
        options = ["--taxonomy", taxonomy, f"--neutral-threshold={threshold}"]
        output = tmp_path / f"threshold{threshold}"
        succeed(relabel.main, "--shards", wide / "shards" / "goemotions", "--output", output, *options)
        labels.append([sample["label"] for sample in samples_of(output, "grouped")])
        for sample in samples_of(output, "grouped"):
            assert sample["neutral_threshold"] == float(threshold)
            assert sample["entailment"][3] == pytest.approx(1 - max(sample["entailment"][:3]), abs=1e-5)
    assert "neutral" not in labels[0] and set(labels[2]) == {"neutral"}
    assert 0 < labels[1].count("neutral") < 10


def test_shards_of_schema_version_1_are_relabelled(wide: Path, tmp_path: Path, no_models):
    """Their hypotheses are one word per label, and they have no strength: only bytes of the JSON differ."""
    for path in sorted((wide / "shards" / "goemotions").glob("*.tar")):
        (tmp_path / "old").mkdir(exist_ok=True)
        with tarfile.open(path) as source, tarfile.open(tmp_path / "old" / path.name, "w") as target:
            for member in source:
                content = source.extractfile(member).read()
                if member.name.endswith(".json"):
                    fields = json.loads(content)
                    fields["hypotheses"] = [word for (word,) in fields["hypotheses"]]
                    for name in ("aggregate", "prior_strength", "neutral_threshold"):
                        del fields[name]
                    content = json.dumps(fields).encode()
                member.size = len(content)
                target.addfile(member, io.BytesIO(content))
    taxonomy = write(tmp_path, "several", SEVERAL.format(aggregate="max"))
    for name in ("old", "new"):
        shards = tmp_path / "old" if name == "old" else wide / "shards" / "goemotions"
        succeed(relabel.main, "--shards", shards, "--output", tmp_path / f"from-{name}", "--taxonomy", taxonomy)
        assert pairs_scored(tmp_path / f"from-{name}", "several") == 0
    assert tars_of(tmp_path / "from-old", "several") == tars_of(tmp_path / "from-new", "several") != {}


def test_an_output_of_schema_version_1_is_refused(built: Path, small_corpus: Path, tmp_path: Path, capsys):
    output = Path(shutil.copytree(built, tmp_path / "out"))
    content = json.loads((output / "dataset.json").read_text())
    (output / "dataset.json").write_text(json.dumps(content | {"schema_version": 1}))
    line = (
        f"{output}/dataset.json: has schema version 1, but this lanser reads 2; choose another --output, and fill it "
        "from the shards of this one with lanser relabel --shards, which needs no audio\n"
    )
    assert build.main(["--input", str(small_corpus), "--output", str(output), "--taxonomy", "ekman"]) == 2
    assert capsys.readouterr().err == f"lanser build: {line}"
    assert label.main(["--output", str(output), "--taxonomy", "ekman"]) == 2
    assert capsys.readouterr().err == f"lanser label: {line}"
    succeed(relabel.main, "--shards", output, "--output", tmp_path / "new", "--taxonomy", "ekman")
    assert tars_of(tmp_path / "new", "ekman") == tars_of(built, "ekman")
