"""What `lanser_ops` asks of object stores: whole files, few requests, listings to their end, no credentials in vain."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import google.auth
import google.cloud.storage
import numpy as np
import pytest
import soundfile
from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import PipelineOptions

from lanser_ops import storage, stores
from lanser_ops.asr.base import Clip, Hypothesis
from lanser_ops.asr.transcribe import transcribe_unit
from lanser_ops.audio import recordings
from lanser_ops.backends import LABELLERS, resolve
from lanser_ops.common.errors import InputError
from lanser_ops.corpus.plan import encode_plan, make_plan
from lanser_ops.corpus.sources import read_sources
from lanser_ops.output.directory import OutputDir
from lanser_ops.shards.write import write_shard
from schemas.records import SourceRow, make_reject
from schemas.specs import CutSpec, LabelSpec, PlanSpec
from schemas.taxonomy import load_taxonomy
from schemas.units import Unit

EXAMPLES = Path(__file__).parents[2] / "examples" / "audio"
CORPUS = ("slt/best_day.wav", "slt/love_you.mp3", "en-us/stop_shouting.mp3", "broken/truncated.flac")


@pytest.mark.parametrize("refused", [1, 2, 3, 4])
def test_a_name_appears_whole_or_not_at_all(front, gcs: str, refused: int):
    """A file is four requests that write: open, upload, copy, delete."""
    front.fault = lambda number: 403 if number == refused else None
    with pytest.raises(InputError, match=f"^{gcs}/x: permission denied; let the account"):
        storage.write_bytes(gcs, "x", b"whole")
    assert front.faults == 1
    assert storage.list_files(gcs) == ({f"{gcs}/x": 5} if refused == 4 else {})
    storage.write_bytes(gcs, "x", b"whole")
    assert storage.list_files(gcs) == {f"{gcs}/x": 5}


def test_an_error_while_writing_leaves_nothing(gcs: str):
    with pytest.raises(RuntimeError, match="in the middle"), storage.atomic_writer(gcs, "x") as stream:
        stream.write(bytes(17 << 20))  # more than one part of an upload
        raise RuntimeError("in the middle")
    del stream
    assert storage.list_files(gcs) == {}


@dataclass(frozen=True)
class Recognizer:
    """Calls ``before`` and recognises nothing."""

    before: Callable[[], object] = int
    pool_seconds: float = 120.0

    def recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        self.before()
        return []


@pytest.fixture
def planned(gcs: str) -> tuple[OutputDir, Unit, tuple[str, ...]]:
    """(output directory, unit, roots) of a plan on GCS with a unit for the whole corpus, whose texts are given."""
    for name in CORPUS:
        storage.write_bytes(gcs, f"audio/{name}", (EXAMPLES / name).read_bytes())
    rows = "".join(f"{name},given text {number}\n" for number, name in enumerate(CORPUS))
    storage.write_bytes(gcs, "audio/list.csv", f"path,text\n{rows}".encode())
    sources = read_sources([f"{gcs}/audio/list.csv"], f"{gcs}/out")
    table, units = make_plan(sources, PlanSpec(num_shards=1, val_fraction=0))
    storage.write_bytes(f"{gcs}/out", "plan.parquet", encode_plan(table, units))
    return OutputDir(f"{gcs}/out"), units[0], sources.roots


def test_two_attempts_at_one_unit_leave_one_whole_file(planned, stored_digests):
    out, unit, roots = planned
    both = threading.Barrier(2)  # passed when each has found that the unit is not done

    def attempt(recognizer: Recognizer) -> None:
        transcribe_unit(out, unit, roots, recognizer, CutSpec())

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(attempt, [Recognizer(lambda: both.wait(60))] * 2))
    twice = stored_digests(out.root)
    assert sorted(twice) == [
        "plan.parquet",
        "rejects/part-00000-of-00001.parquet",
        "transcripts/part-00000-of-00001.parquet",
    ]
    assert len(out.read_transcripts(unit)) == 3
    out.delete(name for name in twice if name != "plan.parquet")
    attempt(Recognizer())
    assert stored_digests(out.root) == twice
    assert [name for name in out.names() if name.startswith(".tmp/")] == []


def test_an_attempt_that_comes_late_removes_nothing(planned, stored_digests):
    out, unit, roots = planned
    spec = LabelSpec(load_taxonomy("ekman"), ("I am {}.",), resolve(LABELLERS, "bundled"), "contradiction", "none")
    after: dict[str, str] = {}

    def overtake() -> None:
        """While an attempt recognises, another finishes the unit, and leaves an utterance out of the shard."""
        transcribe_unit(out, unit, roots, Recognizer(), CutSpec())
        left_out = make_reject("slt/love_you.mp3", 0.0, 2.5, "shard:ekman", "low_score", "")
        write_shard(out, unit, spec, [], [left_out], lambda key: b"")
        after.update(stored_digests(out.root))

    transcribe_unit(out, unit, roots, Recognizer(overtake), CutSpec())
    assert stored_digests(out.root) == after
    rejects = out.read_table(out.rejects(unit)).to_pylist()
    assert [(row["source"], row["stage"]) for row in rejects] == [
        ("broken/truncated.flac", "transcribe"),
        ("slt/love_you.mp3", "shard:ekman"),
    ]


def test_a_small_recording_takes_one_request(front, gcs: str):
    """A decoder seeks in its file; in a long one it does so in the store."""
    taken = {}
    for name in ("slt/best_day.wav", "slt/love_you.mp3", "long.wav"):
        content = long_wav(storage.WHOLE_BYTES) if name == "long.wav" else (EXAMPLES / name).read_bytes()
        storage.write_bytes(gcs, name, content)
        front.requests = 0
        row = SourceRow(0, 0, name, name, None, len(content), None, None, None, None, None)
        assert sum(map(len, recordings.decode_recording(row, [gcs]))) > 16000
        taken[name] = front.requests
    assert taken["slt/best_day.wav"] == taken["slt/love_you.mp3"] == 1
    assert taken["long.wav"] > 1


def test_a_range_takes_one_request_on_every_store(front, gcs: str, s3_front, s3_client):
    stores.set_options(
        PipelineOptions(
            ["--s3_endpoint_url", s3_front.url, "--s3_access_key_id", "id", "--s3_secret_access_key", "key"]
        )
    )
    s3_client.create_bucket(Bucket="ranges")
    s3_client.put_object(Bucket="ranges", Key="x", Body=b"0123456789")
    s3_client.put_object(Bucket="ranges", Key="empty", Body=b"")
    storage.write_bytes(gcs, "x", b"0123456789")
    storage.write_bytes(gcs, "empty", b"")
    for server, root in ((front, gcs), (s3_front, "s3://ranges")):
        server.requests = 0
        assert storage.read_range(f"{root}/x", 2, 3) == b"234"
        assert storage.read_range(f"{root}/x", 8, 5) == b"89"
        assert storage.read_bytes(f"{root}/x") == b"0123456789"
        assert storage.read_range(f"{root}/x", 10, 5) == b""
        assert storage.read_bytes(f"{root}/empty") == b""
        with pytest.raises(FileNotFoundError):
            storage.read_bytes(f"{root}/y")
        assert server.requests == 6


def long_wav(size: int) -> bytes:
    """Silence at 16 kHz whose file has more than ``size`` bytes."""
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(size // 2, np.int16), 16000, format="WAV")
    return stream.getvalue()


def test_listings_of_gcs_are_read_to_their_last_page(front, gcs: str):
    folder = gcs.removeprefix("gs://corpus/")
    bucket = google.cloud.storage.Client.create_anonymous_client().bucket("corpus")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: bucket.blob(f"{folder}/{number:04d}.wav").upload_from_string(b"1"), range(210)))
    front.pages = 0
    assert storage.list_files(gcs) == {f"{gcs}/{number:04d}.wav": 1 for number in range(210)}
    assert front.pages == 3
    assert len(read_sources([gcs], f"{gcs}/out").rows) == 210


def test_listings_of_s3_are_read_to_their_last_page(s3_url: str, s3_client):
    stores.set_options(
        PipelineOptions(["--s3_endpoint_url", s3_url, "--s3_access_key_id", "id", "--s3_secret_access_key", "key"])
    )
    s3_client.create_bucket(Bucket="many")
    for number in range(1001):
        s3_client.put_object(Bucket="many", Key=f"{number:04d}.wav", Body=b"1")
    assert len(read_sources(["s3://many"], "s3://many/out").rows) == 1001


def test_no_credentials_are_asked_for_where_none_are_wanted(gcs: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(google.auth, "default", lambda **_: pytest.fail("asked for credentials"))
    for host, options in (("http://localhost:1", []), ("", ["--no_auth"])):
        monkeypatch.setattr(auth._Credentials, "_credentials_init", False)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", host)
        stores.set_options(PipelineOptions(options))
        stores._connect("gs")
        assert auth.get_service_credentials(PipelineOptions(options)) is None
