"""Shards to shards for another taxonomy: the bytes of a direct build, from the tars alone."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lanser_ops import handlers
from lanser_ops.shards.read import MAX_JSON_BYTES
from pipelines import label, relabel, shard

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
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return [json.load(opened.extractfile(name)) for name in opened.getnames() if name.endswith(".json")]


def account_of(output: Path, taxonomy: str) -> dict:
    return json.loads((output / "dataset.json").read_text())["taxonomies"][taxonomy]["accounts"]


def done(command: Callable, *argv: str | Path) -> None:
    assert command([*map(str, argv), "--threads", "1"]) == 0


def direct(built: Path, output: Path, *options: str | Path) -> Path:
    """What a build with ``options`` writes, from the transcripts that ``built`` has already."""
    shutil.copytree(built, output, dirs_exist_ok=True)
    thresholds = options.index("--min-score") if "--min-score" in options else len(options)
    done(label.main, "--output", output, *options[:thresholds])
    done(shard.main, "--output", output, *options)
    return output


@pytest.fixture(scope="module")
def wide(built: Path, tmp_path_factory) -> Path:
    """The small corpus with goemotions' 28 labels."""
    return direct(built, tmp_path_factory.mktemp("wide") / "out", "--taxonomy", "goemotions")


@pytest.fixture
def shards(wide: Path, tmp_path: Path) -> Path:
    """The tars of ``wide``, and nothing else of it."""
    return Path(shutil.copytree(wide / "shards" / "goemotions", tmp_path / "tars"))


@pytest.fixture
def no_models(monkeypatch):
    """Neither the recogniser nor the labeller can be loaded."""

    def refuse(*_):
        raise RuntimeError("a model was loaded")

    monkeypatch.setattr(asr, "load_recognizer", refuse)
    monkeypatch.setattr(handlers, "load_recognizer", refuse)
    monkeypatch.setattr(handlers, "load_scorer", refuse)


def test_to_fewer_labels_without_a_model(built: Path, shards: Path, tmp_path: Path, no_models):
    output = tmp_path / "out"
    done(relabel.main, "--shards", shards, "--output", output, "--taxonomy", "ekman")
    assert tars_of(output, "ekman") == tars_of(built, "ekman")
    assert account_of(output, "ekman")["pairs_scored"] == 0
    assert account_of(output, "ekman")["samples"] == 10
    assert {one["key"] for one in pq.read_table(output / "labels" / "ekman").to_pylist()} == {
        one["key"] for tar in tars_of(built, "ekman").values() for one in samples_of(tar)
    }


def test_to_more_labels_scores_the_new_ones_alone(built: Path, wide: Path, tmp_path: Path):
    output = tmp_path / "out"
    done(relabel.main, "--shards", built, "--output", output, "--taxonomy", "goemotions")
    assert tars_of(output, "goemotions") == tars_of(wide, "goemotions")
    assert account_of(output, "goemotions")["pairs_scored"] == (28 - 7) * 10
    assert account_of(wide, "goemotions")["labels"] == account_of(output, "goemotions")["labels"]


def test_another_rule_shares_no_score(built: Path, wide: Path, shards: Path, tmp_path: Path):
    """Scores against all classes are other numbers, and neither kind is taken for the other."""
    options = ("--taxonomy", "ekman", "--against", "all")
    done(relabel.main, "--shards", shards, "--output", tmp_path / "out", *options)
    assert account_of(tmp_path / "out", "ekman")["pairs_scored"] == 7 * 10
    again = direct(wide, tmp_path / "all", *options, "--overwrite")
    assert tars_of(tmp_path / "out", "ekman") == tars_of(again, "ekman")
    first, other = (samples_of(next(iter(tars_of(one, "ekman").values())))[0] for one in (built, again))
    assert (first["against"], other["against"]) == ("contradiction", "all")
    assert all(low < high for low, high in zip(other["entailment"], first["entailment"], strict=True))
    done(relabel.main, "--shards", tmp_path / "out", "--output", tmp_path / "back", "--taxonomy", "ekman")
    assert account_of(tmp_path / "back", "ekman")["pairs_scored"] == 7 * 10
    assert tars_of(tmp_path / "back", "ekman") == tars_of(built, "ekman")


def test_three_new_labels_cost_three_sentences(wide: Path, shards: Path, tmp_path: Path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nlabels: [jealous, bored, grief, lonely, love]\n")
    before = {path.name for path in wide.glob("scores/*")}
    done(relabel.main, "--shards", shards, "--output", tmp_path / "out", "--taxonomy", mine)
    again = direct(wide, tmp_path / "direct", "--taxonomy", mine)
    assert tars_of(tmp_path / "out", "mine") == tars_of(again, "mine")
    assert account_of(tmp_path / "out", "mine")["pairs_scored"] == 3 * 10
    (new,) = {path.name for path in again.glob("scores/*")} - before
    sentences = json.loads((again / "scores" / new / "sentences.json").read_text())["hypotheses"]
    assert sentences == ["This person feels bored.", "This person feels jealous.", "This person feels lonely."]
    assert {path.name for path in (tmp_path / "out").glob("scores/*")} > {new}


def test_equal_transcripts_of_a_unit_are_scored_once(small_corpus: Path, tmp_path: Path, lanser):
    rows = [f"{small_corpus}/slt/best_day.wav,{n / 10},{n / 10 + 1},{'yes' if n < 4 else 'no'}" for n in range(6)]
    (tmp_path / "list.csv").write_text("\n".join(["path,start_s,end_s,text", *rows]) + "\n")
    run = lanser(
        "build", "--input", tmp_path / "list.csv", "--output", tmp_path / "out", "--taxonomy", "ekman",
        "--num-shards", 1, "--val-fraction", 0, "--threads", 1,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert account_of(tmp_path / "out", "ekman")["samples"] == 6
    assert account_of(tmp_path / "out", "ekman")["pairs_scored"] == 2 * 7


def test_forty_labels_of_any_spelling(built: Path, tmp_path: Path):
    forty = tmp_path / "forty.yaml"
    forty.write_text(FORTY.format(rest="\n".join(f"  - mood {n}" for n in range(35))), encoding="utf-8")
    wanted = direct(built, tmp_path / "direct", "--taxonomy", forty)
    done(relabel.main, "--shards", built, "--output", tmp_path / "out", "--taxonomy", forty)
    assert tars_of(tmp_path / "out", "forty") == tars_of(wanted, "forty")
    sample = samples_of(next(iter(tars_of(wanted, "forty").values())))[0]
    assert len(sample["entailment"]) == 40
    assert sample["labels"][:5] == ["a bit sad", "self-conscious", "être ému", "悲しい", "it's fine"]
    assert sample["hypotheses"][2:5] == ["moved to tears", "悲しい", "fine, really"]


@pytest.mark.parametrize("prior", ["corpus", "null"])
def test_a_prior_gives_the_numbers_of_a_direct_build(built: Path, wide: Path, shards: Path, tmp_path: Path, prior):
    options = ["--taxonomy", "ekman", "--prior", prior, "--overwrite"]
    wanted = direct(wide, tmp_path / "direct", *options)
    done(relabel.main, "--shards", shards, "--output", tmp_path / "out", *options[:-1])
    assert tars_of(tmp_path / "out", "ekman") == tars_of(wanted, "ekman") != tars_of(built, "ekman")
    assert account_of(tmp_path / "out", "ekman")["pairs_scored"] == (28 if prior == "null" else 0)
    plain = {one["key"]: one for tar in tars_of(built, "ekman").values() for one in samples_of(tar)}
    for tar in tars_of(wanted, "ekman").values():
        for one in samples_of(tar):
            assert one["prior"] == prior and one["entailment"] == plain[one["key"]]["entailment"]
            assert 1 / 7 < one["score"] < 1 and one["score"] != plain[one["key"]]["score"]
    assert json.loads((wanted / "dataset.json").read_text())["taxonomies"]["ekman"]["label"]["prior"] == prior


@pytest.fixture(scope="module")
def source(built: Path, tmp_path_factory) -> Path:
    """The small corpus with two templates."""
    output = tmp_path_factory.mktemp("source") / "out"
    return direct(built, output, "--taxonomy", "ekman", *TEMPLATES, "--overwrite")


def test_several_templates_keep_their_scores(built: Path, source: Path, tmp_path: Path, no_models):
    three = tmp_path / "three.yaml"
    three.write_text("name: three\nlabels: [{name: up, hypothesis: happy}, {name: down, hypothesis: sad}, neutral]\n")
    done(relabel.main, "--shards", source, "--output", tmp_path / "both", "--taxonomy", three, *TEMPLATES)
    done(relabel.main, "--shards", source, "--output", tmp_path / "one", "--taxonomy", "ekman", *TEMPLATES[:2])
    assert tars_of(tmp_path / "one", "ekman") == tars_of(built, "ekman")
    wanted = direct(source, tmp_path / "direct", "--taxonomy", three, *TEMPLATES)
    assert tars_of(tmp_path / "both", "three") == tars_of(wanted, "three")
    samples = [one for tar in tars_of(wanted, "three").values() for one in samples_of(tar)]
    shares = account_of(tmp_path / "both", "three")["template_agreement"]
    assert shares == account_of(wanted, "three")["template_agreement"]
    for place, template in enumerate(TEMPLATES[1::2]):
        alone = [one["template_labels"][place] for one in samples]
        assert alone == [row.index(max(row)) for row in (one["template_entailment"][place] for one in samples)]
        assert shares["with_label"][template] == sum(
            pick == one["label_index"] for pick, one in zip(alone, samples, strict=True)
        ) / len(samples)
    assert shares["pairwise"] == sum(len(set(one["template_labels"])) == 1 for one in samples) / len(samples)


def test_thresholds_leave_out_the_same_samples(wide: Path, shards: Path, tmp_path: Path, no_models):
    options = ["--taxonomy", "goemotions", "--min-score", "0.9", "--min-margin", "0.2"]
    wanted = direct(wide, tmp_path / "direct", *options[:2], *options[2:], "--overwrite")
    done(relabel.main, "--shards", shards, "--output", tmp_path / "out", *options)
    assert tars_of(tmp_path / "out", "goemotions") == tars_of(wanted, "goemotions")
    account = account_of(tmp_path / "out", "goemotions")
    assert account["rejects"] and account["samples"] + sum(account["rejects"].values()) == account["utterances"] == 10
    rejects = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert {one["stage"] for one in rejects} == {"shard:goemotions"}
    assert {one["reason"] for one in rejects} <= {"low_score", "low_margin"}


KILLED = """
import os, signal, sys
from lanser_ops import tar
from pipelines import relabel
whole = tar.write_tar
def write_tar(stream, members):
    if os.path.exists(sys.argv[1] + "/shards/ekman/train-00001-of-00004.tar"):
        stream.write(b"half a tar")
        stream.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    whole(stream, members)
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
    done(relabel.main, *options)
    assert tars_of(output, "ekman") == tars_of(built, "ekman") and not (output / ".tmp").exists()
    capsys.readouterr()
    done(relabel.main, *options)
    assert "shard: skipping 4 of 4 units that are done (0-3)" in capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture, *argv: str | Path) -> str:
    """Run ``lanser relabel``; returns its one line on stderr."""
    capsys.readouterr()
    assert relabel.main([*map(str, argv), "--taxonomy", "ekman"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("lanser relabel: ")


def test_other_options_are_refused_and_overwrite_takes_them(shards: Path, tmp_path: Path, no_models, capsys):
    output = tmp_path / "out"
    argv = ["--shards", shards, "--output", output]
    done(relabel.main, *argv, "--taxonomy", "ekman")
    (output / "mine.txt").write_text("keep me")
    assert "prior was" in fails(capsys, *argv, "--prior", "corpus")
    (shards / "val-00003-of-00004.tar").unlink()
    assert "the shards changed (4 tars then, 3 now)" in fails(capsys, *argv)
    done(relabel.main, *argv, "--taxonomy", "ekman", "--overwrite")
    assert sorted(tars_of(output, "ekman")) == [f"train-0000{n}-of-00004.tar" for n in range(3)]
    assert (output / "mine.txt").read_text() == "keep me"


def test_a_directory_is_made_from_audio_or_from_shards(built: Path, shards: Path, tmp_path: Path, capsys):
    for place in (built, built / "shards" / "ekman"):
        line = fails(capsys, "--shards", place, "--output", built, "--overwrite")
        assert line == f"--output {built}: was made from audio by lanser build; relabel into another folder"
    line = fails(capsys, "--shards", shards, "--output", tmp_path, "--overwrite")
    assert line == f"--output {tmp_path}: {shards}/train-00000-of-00004.tar lies in it; write to another folder"
    done(relabel.main, "--shards", shards, "--output", tmp_path / "out", "--taxonomy", "ekman")
    assert shard.main(["--output", str(tmp_path / "out"), "--taxonomy", "ekman"]) == 2
    assert "was made from shards by lanser relabel" in capsys.readouterr().err


def test_names_that_are_no_shards(wide: Path, shards: Path, tmp_path: Path, capsys):
    output = tmp_path / "out"
    assert "several sets of shards there, name one" in fails(capsys, "--shards", wide, "--output", output)
    assert "no shards there" in fails(capsys, "--shards", tmp_path / "nowhere", "--output", output)
    assert "no shards there" in fails(capsys, "--shards", wide / "labels", "--output", output)
    (shards / "mine.tar").write_bytes(b"")
    assert "not named as lanser names a shard" in fails(capsys, "--shards", shards / "*.tar", "--output", output)
    shutil.copy(shards / "train-00000-of-00004.tar", shards / "val-00000-of-00004.tar")
    assert "stands for the same unit" in fails(capsys, "--shards", shards, "--output", output)
    (shards / "val-00000-of-00004.tar").rename(shards / "val-00000-of-00005.tar")
    assert "not of one set" in fails(capsys, "--shards", shards, "--output", output)
    assert not list(output.glob("**/*.tar"))


def rewritten(tar: Path, change: Callable[[list[tuple[str, bytes]]], list[tuple[str, bytes]]]) -> None:
    """Put another tar in the place of ``tar``, its members changed."""
    with tarfile.open(tar) as opened:
        members = [(member.name, opened.extractfile(member).read()) for member in opened]
    with tarfile.open(tar, "w") as opened:
        for name, content in change(members):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))


def json_with(**changed) -> Callable:
    """A change to the JSON of the first sample."""

    def change(members):
        name, content = members[2]
        fields = {**json.loads(content), **changed}
        return [*members[:2], (name, json.dumps(fields).encode()), *members[3:]]

    return change


BAD = [
    (lambda members: members[:2] + members[3:], "{key}.cls: there is no {key}.json beside it"),
    (lambda members: members[1:], "{key}.flac: there is no {key}.cls beside it"),
    (lambda members: [members[0], *members], "{key}.cls: the sample holds it twice"),
    (lambda members: [*members[:2], (members[2][0], b'{"key": '), *members[3:]], "{key}.json: is no JSON"),
    (lambda members: [*members[:2], (members[2][0], b"[]"), *members[3:]], "{key}.json: has no 'key'"),
    (lambda members: [members[0], (members[1][0], b"RIFF"), *members[2:]], "{key}.flac: is no FLAC"),
    (
        lambda members: [(f"../../{name}", content) for name, content in members[:3]] + members[3:],
        "../../{key}.cls: its name is not a key of 16 hex digits and .cls, .flac or .json",
    ),
    (
        lambda members: [("/tmp/evil\nname.cls", b"0"), *members],
        "/tmp/evil\ufffdname.cls: its name is not a key of 16 hex digits and .cls, .flac or .json",
    ),
    (json_with(text=None), "{key}.json: its 'text' is 'None'"),
    (json_with(text=" "), "{key}.json: its 'text' is ' '"),
    (json_with(end_s="1"), "{key}.json: its 'end_s' is '1'"),
    (json_with(source="../elsewhere.wav"), "{key}.json: its key is not that of its source, start and end"),
    (json_with(entailment=[0.5]), "{key}.json: has no score from 0 to 1 for each of its 28 hypotheses"),
    (json_with(entailment=[2.0] * 28), "{key}.json: has no score from 0 to 1 for each of its 28 hypotheses"),
    (json_with(pad="x" * MAX_JSON_BYTES), "{key}.json: is larger than 4 MB"),
]


@pytest.mark.parametrize(("change", "told"), BAD)
def test_one_bad_sample_is_a_reject(shards: Path, tmp_path: Path, no_models, change, told):
    tar = shards / "train-00000-of-00004.tar"
    with tarfile.open(tar) as opened:
        keys = sorted({name.split(".")[0] for name in opened.getnames()})
    rewritten(tar, change)
    before = sorted(tmp_path.iterdir())
    done(relabel.main, "--shards", shards, "--output", tmp_path / "out", "--taxonomy", "ekman")
    (reject,) = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert (reject["stage"], reject["reason"]) == ("unpack", "bad_sample")
    told = told.format(key=keys[0])
    assert f"{reject['source']}: {reject['detail']}".startswith(f"train-00000-of-00004.tar/{told}")
    account = account_of(tmp_path / "out", "ekman")
    assert account["rejects"] == {"bad_sample": 1}
    assert account["utterances"] == account["samples"] + 1
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "out"])


@pytest.mark.parametrize(("change", "told"), BAD[:7])
def test_a_tar_of_bad_samples_is_refused(shards: Path, tmp_path: Path, capsys, change, told):
    tar = shards / "train-00001-of-00004.tar"
    with tarfile.open(tar) as opened:
        key = opened.getnames()[0].split(".")[0]
    rewritten(tar, lambda members: [one for one in change(members) if "." in one[0]][: len(change(members[:3]))])
    line = fails(capsys, "--shards", shards, "--output", tmp_path / "out")
    assert line.startswith(f"--shards {tar}: {told.format(key=key)}")


def test_a_tar_that_lanser_did_not_write(shards: Path, tmp_path: Path, capsys):
    tar = shards / "train-00002-of-00004.tar"
    for content, told in (
        (b"", "empty file; give shards that lanser wrote"),
        (b"<html>" * 1000, "give shards that lanser wrote"),
        (tar.read_bytes()[:700], "ends; give shards"),
    ):
        tar.write_bytes(content)
        line = fails(capsys, "--shards", shards, "--output", tmp_path / "out")
        assert line.startswith(f"--shards {tar}: ") and line.endswith("give shards that lanser wrote"), told
    rewritten(shards / "train-00000-of-00004.tar", lambda members: [])
    line = fails(capsys, "--shards", shards / "train-00000-of-00004.tar", "--output", tmp_path / "out")
    assert line == f"--shards {shards}/train-00000-of-00004.tar: is empty; give shards that lanser wrote"


def test_the_rest_of_a_tar_that_was_cut_off_is_a_reject(shards: Path, tmp_path: Path, no_models):
    tar = max(shards.glob("*.tar"), key=lambda path: path.stat().st_size)
    with tarfile.open(tar) as opened:
        samples = len(opened.getnames()) // 3
    os.truncate(tar, tar.stat().st_size - 12_000)
    assert samples > 1
    done(relabel.main, "--shards", shards, "--output", tmp_path / "out", "--taxonomy", "ekman")
    rejects = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert {one["reason"] for one in rejects} <= {"broken_tar", "bad_sample"}
    assert "broken_tar" in {one["reason"] for one in rejects}
    assert account_of(tmp_path / "out", "ekman")["samples"] == 9
