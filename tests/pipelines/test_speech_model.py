"""--speech-model and --agree: scores of the audio from the command line to samples, rejects and relabelled shards."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from lanser_ops.audio.decode import read_all
from lanser_ops.speech_labelling import audio_classifier
from schemas.specs import ModelRef

CLASSES = ("angry", "happy", "calm")
LABELS = {"angry": "anger", "happy": "joy"}


@pytest.fixture(scope="module")
def model(write_audio_classifier: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audio_classifier(tmp_path_factory.mktemp("voices") / "voice", CLASSES)


@pytest.fixture(scope="module")
def scored(small_corpus: Path, model: Path, tmp_path_factory: pytest.TempPathFactory, lanser) -> Path:
    """The small corpus built with a speech model, otherwise as in ``built``."""
    output = tmp_path_factory.mktemp("scored") / "out"
    done = lanser(
        "build", "--input", small_corpus, "--output", output, "--taxonomy", "ekman", "--speech-model", model,
        "--num-shards", 4, "--val-fraction", 0.2, "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture
def copy(scored: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(scored, tmp_path / "copy"))


@pytest.fixture
def no_speech_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The speech model cannot be loaded."""

    def refuse(*_: object) -> None:
        raise RuntimeError("a speech model was loaded")

    monkeypatch.setattr(audio_classifier, "load", refuse)


def tars_of(output: Path, taxonomy: str = "ekman") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(output.glob(f"shards/{taxonomy}/*.tar"))}


def members_of(output: Path, extension: str) -> dict[str, bytes]:
    """The content of all members with that extension, by key."""
    members = {}
    for content in tars_of(output).values():
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            for name in archive.getnames():
                if name.endswith(extension):
                    members[name.split(".")[0]] = archive.extractfile(name).read()
    return members


def samples_of(output: Path) -> dict[str, dict]:
    return {key: json.loads(content) for key, content in members_of(output, ".json").items()}


def rejects_of(output: Path) -> dict[str, tuple[str, str]]:
    """(reason, detail) of what is left out of the shards, by key."""
    rows = pq.read_table(output / "rejects").to_pylist()
    return {row["key"]: (row["reason"], row["detail"]) for row in rows if row["stage"] == "shard:ekman"}


def favoured(sample: dict) -> str:
    """The label of the voice: the better one of the two classes that ekman has."""
    angry, happy, _ = sample["speech_scores"]
    return "anger" if angry > happy else "joy"


def test_samples_have_the_scores_of_their_audio(scored: Path, built: Path, model: Path):
    samples, flacs = samples_of(scored), members_of(scored, ".flac")
    assert samples.keys() == samples_of(built).keys() and len(samples) == 10
    classifier = audio_classifier.load(ModelRef("voice", "", str(model)), "cpu", 1)
    for key, sample in samples.items():
        assert (sample["speech_model"], sample["speech_labels"]) == ("voice", ["angry", "happy", "calm"])
        (expected,) = classifier.score([read_all(io.BytesIO(flacs[key]))])
        # The FLAC of a shard is the audio rounded to 16 bits, which changes no recording of 16 bits.
        is_lossless = sample["source"].endswith((".wav", ".flac"))
        assert sample["speech_scores"] == pytest.approx(expected.tolist(), abs=1e-4 if is_lossless else 0.05)
        assert all(float(f"{score:.6g}") == score for score in sample["speech_scores"])
    without = {
        key: {name: sample[name] for name in sample if "speech_" not in name[:7]} for key, sample in samples.items()
    }
    assert without == samples_of(built)
    assert flacs == members_of(built, ".flac")


def test_scores_are_stored_by_the_content_of_the_model(scored: Path):
    section = json.loads((scored / "dataset.json").read_text())["taxonomies"]["ekman"]["shard"]
    assert section["speech_model"]["id"] == "voice"
    assert "| ekman: speech model | voice (sha256 " in (scored / "README.md").read_text()
    (folder,) = (scored / "speech").iterdir()
    assert folder.name == section["speech_model"]["sha256"][:16]
    rows = pq.read_table(folder).to_pylist()
    assert {row["key"]: row["speech_scores"] for row in rows} == {
        key: sample["speech_scores"] for key, sample in samples_of(scored).items()
    }


def test_a_speech_model_can_be_added_to_an_output(
    built: Path, scored: Path, model: Path, tmp_path: Path, lanser, no_models, digests
):
    output = Path(shutil.copytree(built, tmp_path / "out"))
    options = ("--output", output, "--taxonomy", "ekman", "--speech-model", model, "--threads", 1)
    refused = lanser("shard", *options)
    assert refused.returncode == 2 and "speech_model was null, is now voice (sha256 " in refused.stderr
    done = lanser("shard", *options, "--overwrite", "--verify")
    assert done.returncode == 0, done.stderr
    assert digests(output) == digests(scored)


def test_agree_leaves_out_what_text_and_voice_disagree_on(
    scored: Path, copy: Path, model: Path, lanser, no_models, no_speech_model
):
    options = ("--speech-model", model, "--agree", "--overwrite")
    done = lanser("shard", "--output", copy, "--taxonomy", "ekman", *options)
    assert done.returncode == 0, done.stderr
    assert (
        "--agree: voice has no class for disgust, fear, sadness, surprise, neutral; such utterances are left out\n"
    ) in done.stdout
    before, after = samples_of(scored), samples_of(copy)
    agreeing = {key for key, sample in before.items() if sample["label"] == favoured(sample)}
    assert 0 < len(agreeing) < 10
    assert after == {key: before[key] for key in agreeing}
    rejects = rejects_of(copy)
    assert rejects.keys() == before.keys() - agreeing
    for key, (reason, detail) in rejects.items():
        sample = before[key]
        angry, happy, _ = sample["speech_scores"]
        share = max(angry, happy) / (angry + happy)
        assert reason == "disagreement"
        assert detail == (
            f"the text says {sample['label']} ({sample['score']:.6g}), the voice {favoured(sample)} ({share:.6g}); "
            "--agree leaves such utterances out"
        )
    accounts = json.loads((copy / "dataset.json").read_text())["taxonomies"]["ekman"]["accounts"]
    assert accounts["rejects"]["disagreement"] == 10 - len(agreeing)
    assert accounts["utterances"] == accounts["samples"] + sum(accounts["rejects"].values())


@pytest.mark.parametrize("options", [(), ("--agree",), ("--agree", "--per-label", "2", "--keep-top", "0.9")])
def test_relabel_gives_what_a_build_gives(
    scored: Path, copy: Path, model: Path, tmp_path: Path, lanser, no_models, no_speech_model, options: tuple[str, ...]
):
    direct = lanser("shard", "--output", copy, "--taxonomy", "ekman", "--speech-model", model, "--overwrite", *options)
    assert direct.returncode == 0, direct.stderr
    output = tmp_path / "out"
    done = lanser("relabel", "--shards", scored, "--output", output, "--taxonomy", "ekman", *options)
    assert done.returncode == 0, done.stderr
    assert tars_of(output) == tars_of(copy)
    assert rejects_of(output) == rejects_of(copy)


def test_relabel_compares_the_voice_with_the_new_taxonomy(
    scored: Path, copy: Path, model: Path, tmp_path: Path, lanser, no_speech_model
):
    taxonomy = tmp_path / "three.yaml"
    taxonomy.write_text(
        "name: three\nlabels: [calm, {name: joy, hypothesis: happy}, {name: sadness, hypothesis: sad}]\n"
    )
    options = ("--taxonomy", taxonomy, "--threads", 1)
    assert lanser("label", "--output", copy, *options).returncode == 0
    assert lanser("shard", "--output", copy, *options, "--speech-model", model, "--agree").returncode == 0
    done = lanser("relabel", "--shards", scored, "--output", tmp_path / "out", *options, "--agree")
    assert done.returncode == 0, done.stderr
    assert tars_of(tmp_path / "out", "three") == tars_of(copy, "three") != {}
    reasons = [row["reason"] for row in pq.read_table(tmp_path / "out" / "rejects").to_pylist()]
    assert set(reasons) == {"disagreement"}


def test_an_interrupted_job_continues_with_the_same_bytes(copy: Path, scored: Path, model: Path, lanser, digests):
    for path in [*sorted(copy.glob("speech/*/*.parquet"))[::2], *sorted(copy.glob("shards/ekman/*.tar"))[::2]]:
        path.unlink()
    done = lanser("shard", "--output", copy, "--taxonomy", "ekman", "--speech-model", model, "--threads", 1)
    assert done.returncode == 0, done.stderr
    assert "speech: skipping 2 of 4 units that are done (1, 3)" in done.stdout
    assert digests(copy) == digests(scored)


def test_an_utterance_whose_audio_is_gone_has_no_scores(
    small_corpus: Path, built: Path, model: Path, tmp_path: Path, lanser
):
    corpus = Path(shutil.copytree(small_corpus, tmp_path / "corpus"))
    output = tmp_path / "out"
    shutil.copytree(built, output)
    (output / ".private" / "roots.json").write_text(json.dumps([str(corpus)]))
    (corpus / "slt" / "best_day.wav").unlink()
    voice = ("--taxonomy", "ekman", "--speech-model", model, "--overwrite")
    done = lanser("shard", "--output", output, *voice)
    assert done.returncode == 0, done.stderr
    ((key, (reason, _)),) = rejects_of(output).items()
    assert reason == "missing"
    (row,) = [row for row in pq.read_table(output / "speech").to_pylist() if row["speech_scores"] is None]
    assert row["key"] == key
    done = lanser("shard", "--output", output, *voice, "--agree")
    assert done.returncode == 0, done.stderr
    assert rejects_of(output)[key] == (
        "disagreement",
        "no speech model has scored its audio for labels of the taxonomy; --agree asks for that",
    )


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (("--agree",), "--agree: there is nothing to agree with; give --speech-model"),
        (("--speech-model", "/no/such"), "--speech-model /no/such: no such directory"),
        (
            ("--speech-model", "voices:m"),
            "no backend 'voices' is installed (entry points of 'lanser.speech_labellers': ",
        ),
        (
            ("--speech-model", "{empty}"),
            "--speech-model {empty}: no config.json there; an audio classifier of transformers or RUN/model of lanser "
            "finetune is needed",
        ),
        (
            ("--speech-model", "{animals}"),
            "--speech-model {animals}: none of its classes (dog, cat) is a label of ekman (anger, disgust, fear, joy, "
            "sadness, surprise, neutral); use a model with classes of these names, or another --taxonomy",
        ),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_runs(
    small_corpus: Path, write_audio_classifier, tmp_path: Path, lanser, options: tuple[str, ...], line: str
):
    names = {"empty": str(tmp_path / "empty"), "animals": str(tmp_path / "animals")}
    (tmp_path / "empty").mkdir()
    write_audio_classifier(tmp_path / "animals", ("dog", "cat"))
    given = [option.format(**names) for option in options]
    refused = lanser("build", "--input", small_corpus, "--output", tmp_path / "out", "--taxonomy", "ekman", *given)
    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert refused.stderr.startswith(f"lanser build: {line.format(**names)}")
    assert not (tmp_path / "out").exists()


def test_weights_that_cannot_be_read_end_the_job_in_one_line(
    copy: Path, write_audio_classifier, tmp_path: Path, lanser
):
    folder = write_audio_classifier(tmp_path / "cut", CLASSES)
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    done = lanser("shard", "--output", copy, "--taxonomy", "ekman", "--speech-model", folder, "--overwrite")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1].startswith(f"lanser shard: audio classifier '{folder}' cannot be loaded (")


def test_scores_that_are_no_probabilities_end_the_job_in_one_line(
    copy: Path, write_audio_classifier, tmp_path: Path, lanser
):
    folder = write_audio_classifier(tmp_path / "nan", CLASSES)
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    done = lanser("shard", "--output", copy, "--taxonomy", "ekman", "--speech-model", folder, "--overwrite")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == (
        "lanser shard: speech model nan: gives no score from 0 to 1 for each class; use another"
    )


def test_relabel_with_agree_needs_scores_in_the_shards(built: Path, scored: Path, tmp_path: Path, lanser):
    taxonomy = tmp_path / "two.yaml"
    taxonomy.write_text("name: two\nlabels: [bored, lonely]\n")
    options = ("--output", tmp_path / "out", "--agree")
    refused = lanser("relabel", "--shards", built, "--taxonomy", "ekman", *options)
    tar = built / "shards" / "ekman" / "train-00000-of-00004.tar"
    assert refused.returncode == 2
    assert refused.stderr == (
        f"lanser relabel: --agree: {tar} has no scores of a speech model; build the shards with --speech-model\n"
    )
    refused = lanser("relabel", "--shards", scored, "--taxonomy", taxonomy, *options)
    assert refused.returncode == 2
    assert "none of its classes (angry, happy, calm) is a label of two (bored, lonely)" in refused.stderr


@pytest.mark.parametrize(
    "changed",
    [
        {"speech_scores": [0.5, 0.5]},
        {"speech_scores": [0.5, 0.5, 2.0]},
        {"speech_scores": "many"},
        {"speech_labels": None},
        {"speech_labels": [], "speech_scores": []},
        {"speech_model": 7},
    ],
)
def test_scores_that_lanser_did_not_write_are_a_bad_sample(copy: Path, tmp_path: Path, lanser, changed: dict):
    tar = sorted(copy.glob("shards/ekman/train-*.tar"))[0]
    with tarfile.open(tar) as archive:
        members = [(member.name, archive.extractfile(member).read()) for member in archive]
    first = next(name for name, _ in members if name.endswith(".json"))
    with tarfile.open(tar, "w") as archive:
        for name, content in members:
            content = json.dumps(json.loads(content) | changed).encode() if name == first else content
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    done = lanser("relabel", "--shards", copy, "--output", tmp_path / "out", "--taxonomy", "ekman")
    assert done.returncode == 0, done.stderr
    (reject,) = pq.read_table(tmp_path / "out" / "rejects").to_pylist()
    assert (reject["reason"], reject["detail"]) == (
        "bad_sample",
        "has no speech_model, or no score from 0 to 1 for each of its speech_labels",
    )
