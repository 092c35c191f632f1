"""--context, from a manifest with dialogues and from a long recording to tars, and back from the tars alone."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

DIALOGUES = {
    "dog": ["My dog died this morning.", "I don't know what to say.", "There is nothing to say."],
    "prize": ["We won the first prize!", "I don't know what to say.", "You deserve it."],
    "shop": ["The shop opens at nine.", "Thank you.", "You are welcome."],
}


@pytest.fixture(scope="module")
def manifest(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest of one recording under ten names, nine of them in three dialogues whose turns alternate."""
    folder = tmp_path_factory.mktemp("spoken")
    rows = ["path\tdialogue\ttext"]
    for turn in range(3):
        for dialogue, texts in DIALOGUES.items():
            shutil.copy(small_corpus / "slt" / "best_day.wav", folder / f"{turn}{dialogue}.wav")
            rows.append(f"{turn}{dialogue}.wav\t{dialogue}\t{texts[turn]}")
    shutil.copy(small_corpus / "slt" / "best_day.wav", folder / "alone.wav")
    rows.append("alone.wav\t\tI am so happy today.")
    (folder / "list.tsv").write_text("\n".join(rows) + "\n")
    return folder / "list.tsv"


@pytest.fixture(scope="module")
def build(manifest: Path, build_of):
    return build_of(manifest, "--num-shards", 3, "--val-fraction", 0.3)


@pytest.fixture(scope="module")
def without(build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("without") / "out")


@pytest.fixture(scope="module")
def built_with_1(build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("one") / "out", "--context", "1")


@pytest.fixture(scope="module")
def built_with_2(build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("two") / "out", "--context", "2")


def tars_of(output: Path, taxonomy: str = "ekman") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob(f"shards/{taxonomy}/*.tar"))}


def samples_of(output: Path) -> dict[str, dict]:
    """The JSON of every sample by its source and start."""
    samples = []
    for content in tars_of(output).values():
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            samples += [json.load(archive.extractfile(name)) for name in archive.getnames() if name.endswith(".json")]
    return {(sample["source"], sample["start_s"]): sample for sample in samples}


def pairs_scored(output: Path, taxonomy: str = "ekman") -> int:
    return json.loads((output / "dataset.json").read_text())["taxonomies"][taxonomy]["accounts"]["pairs_scored"]


def relabel(lanser, shards: Path, output: Path, *options: str | Path) -> Path:
    done = lanser("relabel", "--shards", shards, "--output", output, "--threads", 1, *options)
    assert done.returncode == 0, done.stderr
    return output


def test_a_sample_has_its_context(built_with_2: Path, without: Path):
    samples, others = samples_of(built_with_2), samples_of(without)
    assert len(samples) == len(others) == 10
    for turn in range(3):
        for dialogue, texts in DIALOGUES.items():
            sample = samples[f"{turn}{dialogue}.wav", 0.0]
            assert (sample["context"], sample["context_texts"]) == (2, texts[max(0, turn - 2) : turn])
            assert (sample["dialogue"], sample["text"]) == (dialogue, texts[turn])
    assert samples["alone.wav", 0.0]["context_texts"] == [] and "dialogue" not in samples["alone.wav", 0.0]
    for key, other in others.items():
        assert "context" not in other and "context_texts" not in other
        is_first = not samples[key]["context_texts"]
        assert (samples[key]["entailment"] == other["entailment"]) == is_first


def test_the_same_words_mean_what_was_said_before_them(built_with_1: Path):
    samples = samples_of(built_with_1)
    of_dog, of_prize = samples["1dog.wav", 0.0], samples["1prize.wav", 0.0]
    assert of_dog["text"] == of_prize["text"]
    sadness, joy = (of_dog["labels"].index(name) for name in ("sadness", "joy"))
    assert of_dog["entailment"][sadness] > of_prize["entailment"][sadness] + 0.1
    assert of_dog["entailment"][joy] < of_prize["entailment"][joy] - 0.1


def test_a_dialogue_is_in_one_unit(built_with_1: Path):
    plan = pq.read_table(built_with_1 / "plan.parquet").to_pylist()
    assert len({(row["dialogue"], row["unit"]) for row in plan if row["dialogue"]}) == 3
    assert len({row["unit"] for row in plan}) == 3


def test_relabel_gives_the_bytes_of_a_build(
    built_with_1: Path, built_with_2: Path, without: Path, tmp_path: Path, lanser
):
    """From the tars alone: the same context runs no model, a smaller one is cut from the stored texts."""
    shards = Path(shutil.copytree(built_with_2 / "shards" / "ekman", tmp_path / "tars"))
    same = relabel(lanser, shards, tmp_path / "2", "--taxonomy", "ekman", "--context", 2)
    smaller = relabel(lanser, shards, tmp_path / "1", "--taxonomy", "ekman", "--context", 1)
    none = relabel(lanser, shards, tmp_path / "0", "--taxonomy", "ekman")
    assert tars_of(same) == tars_of(built_with_2) != tars_of(built_with_1)
    assert tars_of(smaller) == tars_of(built_with_1)
    assert tars_of(none) == tars_of(without)
    assert (pairs_scored(same), pairs_scored(smaller)) == (0, pairs_scored(built_with_1))


def test_relabel_for_another_taxonomy_gives_the_bytes_of_a_build(built_with_1: Path, tmp_path: Path, lanser):
    mine = tmp_path / "mine.yaml"
    mine.write_text("name: mine\nlabels: [happy, bored, neutral]\n")
    options = ("--taxonomy", mine, "--context", "1")
    direct = Path(shutil.copytree(built_with_1, tmp_path / "direct"))
    for command in ("label", "shard"):
        done = lanser(command, "--output", direct, "--threads", 1, *options)
        assert done.returncode == 0, done.stderr
    output = relabel(lanser, built_with_1, tmp_path / "out", *options)
    assert tars_of(output, "mine") == tars_of(direct, "mine") != {}
    # "Bored" is the only new word.
    unique = len({(*sample["context_texts"], sample["text"]) for sample in samples_of(built_with_1).values()})
    assert unique == 10 and pairs_scored(output, "mine") == 10


def test_more_context_than_the_shards_hold_is_refused(built_with_1: Path, without: Path, tmp_path: Path, lanser):
    for shards, context in ((built_with_1, 1), (without, 0)):
        done = lanser(
            "relabel", "--shards", shards, "--output", tmp_path / "out", "--taxonomy", "ekman", "--context", 2
        )
        first = sorted(shards.glob("shards/ekman/*.tar"))[0]
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            f"lanser relabel: --context 2: {first} was labelled with --context {context} and holds no more; give at "
            f"most {context}, or label the transcripts of its build again with lanser label\n"
        )


def test_samples_of_another_context_in_a_tar_are_rejects(built_with_1: Path, tmp_path: Path, lanser):
    tars = Path(shutil.copytree(built_with_1 / "shards" / "ekman", tmp_path / "tars"))
    changed = ""
    for path in tars.glob("*.tar"):
        with tarfile.open(path) as archive:
            members = [(member, archive.extractfile(member).read()) for member in archive]
        last = max(index for index, (member, _) in enumerate(members) if member.name.endswith(".json"))
        if last < 3:
            continue
        member, content = members[last]
        fields = json.loads(content)
        del fields["context"], fields["context_texts"]
        changed, members[last] = fields["key"], (member, json.dumps(fields).encode())
        with tarfile.open(path, "w") as archive:
            for member, content in members:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        break
    output = relabel(lanser, tars, tmp_path / "out", "--taxonomy", "ekman", "--context", "1")
    (reject,) = pq.read_table(output / "rejects").to_pylist()
    assert (reject["reason"], reject["detail"]) == ("bad_sample", "its 'context' is not that of the samples before it")
    assert reject["source"].endswith(f"{changed}.json")


def test_what_is_left_out_is_context_all_the_same(built_with_1: Path, tmp_path: Path, lanser, no_models):
    output = Path(shutil.copytree(built_with_1, tmp_path / "out"))
    done = lanser("shard", "--output", output, "--taxonomy", "ekman", "--context", 1, "--max-repeats", 1, "--overwrite")
    assert done.returncode == 0, done.stderr
    samples, everything = samples_of(output), samples_of(built_with_1)
    (lost,) = everything.keys() - samples.keys()
    follower = ("2" + lost[0][1:], 0.0)
    assert samples[follower]["context_texts"] == ["I don't know what to say."] == [everything[lost]["text"]]


def test_another_context_needs_overwrite(without: Path, built_with_1: Path, tmp_path: Path, lanser, digests):
    output = Path(shutil.copytree(without, tmp_path / "out"))
    options = ("--output", output, "--taxonomy", "ekman", "--context", 1, "--threads", 1)
    refused = lanser("label", *options)
    assert refused.returncode == 2 and "context was null, is now 1" in refused.stderr
    for command in ("label", "shard"):
        done = lanser(command, *options, *(["--overwrite"] if command == "label" else []))
        assert done.returncode == 0, done.stderr
    assert tars_of(output) == tars_of(built_with_1)
    assert digests(output).items() > digests(built_with_1).items()


def test_utterances_of_a_long_recording_are_context(small_corpus: Path, tmp_path: Path, lanser):
    """Transcribed: a recording over 30 s is cut at its pauses, and what was said before is the context."""
    parts, rate = [], 0
    while sum(map(len, parts)) < 31 * (rate or 1):
        for name in ("slt/best_day.wav", "slt/thank_you.flac", "awb/child_is_safe.flac"):
            samples, rate = soundfile.read(small_corpus / name, dtype="float32")
            parts += [samples, np.zeros(rate, np.float32)]
    (tmp_path / "in").mkdir()
    soundfile.write(tmp_path / "in" / "long.wav", np.concatenate(parts), rate)
    argv = ("--output", tmp_path / "out", "--taxonomy", "ekman", "--context", 1, "--threads", 1)
    done = lanser("build", "--input", tmp_path / "in", *argv)
    assert done.returncode == 0, done.stderr
    samples = [sample for _, sample in sorted(samples_of(tmp_path / "out").items())]
    assert len(samples) >= 2
    texts = [sample["text"] for sample in samples]
    assert [sample["context_texts"] for sample in samples] == [[], *([text] for text in texts[:-1])]
    again = relabel(lanser, tmp_path / "out", tmp_path / "again", "--taxonomy", "ekman", "--context", 1)
    assert tars_of(again) == tars_of(tmp_path / "out")


@pytest.mark.parametrize("value", ["17", "-1", "0.5", "all"])
def test_a_bad_value_is_refused(tmp_path: Path, lanser, value: str):
    done = lanser("label", "--output", tmp_path, "--taxonomy", "ekman", f"--context={value}")
    line = f"lanser label: argument --context: {value} is not a whole number from 0 to 16 (see lanser label --help)\n"
    assert (done.returncode, done.stderr) == (2, line)
