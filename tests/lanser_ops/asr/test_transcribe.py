"""Source rows to transcripts and rejects, with the bundled recogniser."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from lanser_ops.asr import whisper
from lanser_ops.asr.base import Clip, Hypothesis, Recognizer
from lanser_ops.asr.transcribe import _counts, transcribe_rows
from lanser_ops.audio.decode import SAMPLE_RATE, read_all
from lanser_ops.corpus.manifests import COLUMNS
from lanser_ops.corpus.plan import make_plan
from lanser_ops.corpus.sources import read_sources
from schemas.records import Reject, SourceRow, Transcript, from_table
from schemas.specs import CutSpec, PlanSpec, TranscribeSpec

EXAMPLES = Path(__file__).parents[3] / "examples" / "audio"
LOVE = "I love you more than anything else in the world."


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return whisper.load(TranscribeSpec(whisper.resolve("bundled")), "cpu", threads=1)


@pytest.fixture
def transcribe(recognizer):
    def run(folder: Path, *inputs: Path, **options) -> tuple[list[Transcript], list[Reject]]:
        sources = read_sources([str(name) for name in inputs or [folder]], "/nowhere")
        plan, _ = make_plan(sources, PlanSpec(num_shards=1, val_fraction=0))
        rows = from_table(plan, SourceRow)
        return transcribe_rows(rows, sources.roots, recognizer, CutSpec(**options))

    return run


def read(name: str) -> np.ndarray:
    with (EXAMPLES / name).open("rb") as stream:
        return read_all(stream)


def reasons(rejects: list[Reject]) -> dict[str, str]:
    return {reject.source: reject.reason for reject in rejects}


def test_bad_files_are_rejects_and_the_good_one_comes_out(transcribe, tmp_path):
    whole = (EXAMPLES / "slt" / "thank_you.flac").read_bytes()
    (tmp_path / "photo.wav").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01" + bytes(range(256)) * 40)
    (tmp_path / "zero.wav").write_bytes(b"")
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.mp3").write_text("this is no audio\n" * 50)
    (tmp_path / "damaged.flac").write_bytes(whole[:20000] + bytes(3000) + whole[23000:])
    soundfile.write(tmp_path / "empty.wav", np.zeros(0, np.float32), SAMPLE_RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE)
    soundfile.write(tmp_path / "nan.wav", np.full(SAMPLE_RATE, np.nan, np.float32), SAMPLE_RATE, subtype="FLOAT")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    name = os.fsdecode(b"l\xf6ve.wav")
    shutil.copy(EXAMPLES / "slt" / "love_you.mp3", tmp_path / name)  # an MP3 by the wrong name, not UTF-8, is audio
    transcripts, rejects = transcribe(tmp_path)
    assert [(transcript.source, transcript.text) for transcript in transcripts] == [(r"l\xf6ve.wav", LOVE)]
    assert reasons(rejects) == {
        "photo.wav": "not_audio",
        "zero.wav": "no_speech",
        "cut.flac": "truncated",
        "text.mp3": "not_audio",
        "damaged.flac": "decode_error",
        "empty.wav": "no_speech",
        "silent.wav": "no_speech",
        "nan.wav": "not_finite",
        "gone.wav": "missing",
        "pipe.wav": "missing",
    }
    assert all(reject.detail and "\n" not in reject.detail for reject in rejects)


def test_manifest_rows(transcribe, tmp_path):
    shutil.copy(EXAMPLES / "slt" / "love_you.mp3", tmp_path / "love.mp3")
    shutil.copy(EXAMPLES / "long" / "two_minutes.opus", tmp_path / "talk.opus")
    rows = [
        {"path": "love.mp3", "text": "I hate you.", "speaker": "a", "language": "en"},
        {"path": "love.mp3", "start_s": 0.0, "end_s": 1.0, "text": "  ... 42 !"},
        {"path": "love.mp3", "start_s": 50.0, "end_s": 51.0},
        {"path": "love.mp3", "start_s": 2.0, "end_s": 1.0},
        {"path": "love.mp3", "start_s": -1.0, "end_s": 1.0},
        {"path": "love.mp3", "start_s": 0.2, "end_s": 0.3},
        {"path": "talk.opus", "start_s": 11.4, "end_s": 15.6},
        {"path": "talk.opus", "start_s": 11.4, "end_s": 15.6},
        {"path": "talk.opus", "start_s": 1.0, "end_s": 5.0, "language": "de"},
        {"path": "talk.opus", "start_s": 1.0, "end_s": 6.0, "language": "Klingon"},
        {"path": "gone.wav"},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    transcripts, rejects = transcribe(tmp_path, tmp_path / "list.jsonl")
    given = next(transcript for transcript in transcripts if transcript.source == "love.mp3")
    assert (given.text, given.speaker, given.language, given.avg_logprob) == ("I hate you.", "a", "en", None)
    assert given.end_s == given.duration_s == pytest.approx(2.55, abs=0.06)
    recognised = next(transcript for transcript in transcripts if transcript.source == "talk.opus")
    assert recognised.text.lower().startswith("i got the job")
    assert (recognised.start_s, recognised.end_s) == (11.4, 15.6)
    assert len(transcripts) == 2
    assert sorted((row.source, row.start_s, row.reason) for row in rejects if row.start_s is not None) == [
        ("love.mp3", -1.0, "bad_range"),
        ("love.mp3", 0.0, "no_text"),
        ("love.mp3", 0.2, "too_short"),
        ("love.mp3", 2.0, "bad_range"),
        ("love.mp3", 50.0, "bad_range"),
        ("talk.opus", 1.0, "language"),
        ("talk.opus", 1.0, "language"),
        ("talk.opus", 11.4, "duplicate"),
    ]
    assert [(row.source, row.reason) for row in rejects if row.start_s is None] == [("gone.wav", "missing")]


def test_rows_that_nothing_can_be_made_of_are_rejects(transcribe, tmp_path):
    """Bugs: the first four ended the job, a pipe made it wait, and so did addresses."""
    shutil.copy(EXAMPLES / "slt" / "love_you.mp3", tmp_path / "love.mp3")
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder").mkdir()
    rows = [
        {"path": "love.mp3", "start_s": math.inf},
        {"path": "love.mp3", "start_s": 0.0, "end_s": math.inf},
        {"path": "love.mp3", "start_s": 0.0, "end_s": 1e300, "text": "I love you."},
        {"path": "lo\0ve.mp3"},
        {"path": "pipe.wav"},
        {"path": "folder"},
        {"path": "hdfs://host/a.wav"},
        {"path": "http://host/a.wav"},
        {"path": f"file://{tmp_path}/love.mp3", "text": "I love you."},
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=COLUMNS), tmp_path / "list.parquet")
    transcripts, rejects = transcribe(tmp_path, tmp_path / "list.parquet")
    assert [(row.source, row.text) for row in transcripts] == [("love.mp3", "I love you.")]
    assert sorted((row.source, row.reason, row.detail) for row in rejects if row.reason == "missing") == [
        ("folder", "missing", "a folder that cannot be listed, or is named as a file"),
        ("hdfs://host/a.wav", "missing", "addresses of this kind are not read"),
        ("http://host/a.wav", "missing", "addresses of this kind are not read"),
        ("lo\0ve.mp3", "missing", "no file has a NUL in its name"),
        ("pipe.wav", "missing", "is not a regular file"),
    ]
    assert [(row.source, row.reason) for row in rejects if row.reason != "missing"] == [("love.mp3", "bad_range")] * 3
    assert _counts(transcripts, rejects).audio_s == pytest.approx(2.55, abs=0.06)


def test_long_recording_is_all_there(transcribe, tmp_path):
    shutil.copy(EXAMPLES / "long" / "two_minutes.opus", tmp_path / "talk.opus")
    transcripts, rejects = transcribe(tmp_path)
    assert len(transcripts) >= 20
    assert all(row.duration_s <= 20 for row in transcripts)
    spans = sorted((row.start_s, row.end_s) for row in [*transcripts, *rejects])
    assert spans[0][0] == 0.0
    assert spans[-1][1] == pytest.approx(len(read("long/two_minutes.opus")) / SAMPLE_RATE)
    assert all(before[1] == after[0] for before, after in zip(spans, spans[1:], strict=False))
    assert {row.reason for row in rejects} == {"no_speech"}


def test_long_recording_that_is_cut_off_keeps_what_came_before(transcribe, tmp_path):
    talk = np.tile(read("long/two_minutes.opus"), 2)
    soundfile.write(tmp_path / "talk.flac", talk, SAMPLE_RATE)
    content = (tmp_path / "talk.flac").read_bytes()
    (tmp_path / "talk.flac").write_bytes(content[: int(len(content) * 0.9)])
    transcripts, rejects = transcribe(tmp_path)
    fault = next(row for row in rejects if row.reason != "no_speech")
    assert fault.reason in ("truncated", "decode_error")
    assert fault.start_s == max(row.end_s for row in [*transcripts, *rejects] if row.end_s is not None)
    assert len(transcripts) >= 15


def test_tar_of_audio(transcribe, tmp_path):
    with tarfile.open(tmp_path / "in.tar", "w") as tar:
        for name in ("slt/love_you.mp3", "broken/silent.wav"):
            content = (EXAMPLES / name).read_bytes()
            info = tarfile.TarInfo(name.replace("/", "-"))
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (tmp_path / "broken.tar").write_bytes(b"no tar" * 300)
    transcripts, rejects = transcribe(tmp_path)
    assert [(transcript.source, transcript.text) for transcript in transcripts] == [("in.tar/slt-love_you.mp3", LOVE)]
    assert reasons(rejects) == {"in.tar/broken-silent.wav": "no_speech", "broken.tar": "broken_tar"}


def test_noise_tones_and_music_are_no_speech(transcribe, tmp_path):
    rng = np.random.default_rng(0)
    time = np.arange(4 * SAMPLE_RATE) / SAMPLE_RATE
    notes = sum(
        np.sin(2 * np.pi * 220 * 2 ** (step / 12) * time) * ((time * 4).astype(int) % 12 == i)
        for i, step in enumerate(rng.integers(0, 24, 12))
    )
    sounds = {
        "white": rng.normal(0, 0.1, len(time)),
        "brown": np.cumsum(rng.normal(0, 1e-3, len(time))),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time),
        "pulses": 0.3 * np.sin(2 * np.pi * 180 * time) * (np.sin(2 * np.pi * 3 * time) > 0),
        "notes": 0.3 * notes,
        "clicks": (np.arange(len(time)) % 8000 == 0) * 0.9,
    }
    for name, samples in sounds.items():
        soundfile.write(tmp_path / f"{name}.wav", samples, SAMPLE_RATE)
    transcripts, rejects = transcribe(tmp_path)
    assert transcripts == []
    assert reasons(rejects) == {f"{name}.wav": "no_speech" for name in sounds}


class Inventive:
    """A recogniser that writes something down for everything, as Whisper does over some noise of packed files."""

    pool_seconds = 120.0

    def recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        return [Hypothesis("I'm not interested.", avg_logprob=-0.8, no_speech_prob=0.3) for _ in clips]


def test_text_for_an_even_sound_is_rejected_whichever_recogniser_wrote_it(tmp_path):
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    cycles = 110 * (1 + 0.02 * np.sin(8 * np.pi * time)) * time  # on which the detector is not sure
    buzz = 0.1 * sum(np.sin(2 * np.pi * number * cycles) / number for number in range(1, 20))
    soundfile.write(tmp_path / "buzz.wav", buzz, SAMPLE_RATE)
    shutil.copy(EXAMPLES / "slt" / "love_you.mp3", tmp_path / "love.mp3")
    sources = read_sources([str(tmp_path)], "/nowhere")
    plan, _ = make_plan(sources, PlanSpec(num_shards=1, val_fraction=0))
    transcripts, rejects = transcribe_rows(from_table(plan, SourceRow), sources.roots, Inventive(), CutSpec())
    assert [row.source for row in transcripts] == ["love.mp3"]
    assert reasons(rejects) == {"buzz.wav": "no_speech"}
    assert "and the level is even (ratio 0.0" in rejects[0].detail
