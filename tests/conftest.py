"""Shared pieces: a small corpus of the shipped examples, and the command line run as a user runs it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import io
import json
import re
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
EXAMPLES = REPOSITORY / "examples" / "audio"
PAGE = 100  # of a listing through `Front`; it is 1000 at Google's
# Speech in seven formats and four voices, one silent file, one that is cut off: 10 utterances, 2 rejects.
SMALL = [
    "slt/best_day.wav",
    "slt/thank_you.flac",
    "slt/love_you.mp3",
    "slt/someone_downstairs.ogg",
    "slt/dog_died.m4a",
    "rms/hilarious.mp4",
    "slt/miss_my_friends.webm",
    "rms/grandfather.opus",
    "awb/child_is_safe.flac",
    "en-us/stop_shouting.mp3",
    "broken/silent.wav",
    "broken/truncated.flac",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the folders whose tests take longest first, so that parallel processes end together."""
    order = ("pipelines", "extending", "training", "benchmarks", "lanser_ops")
    folders = [path.name for path in (REPOSITORY / "tests").iterdir()]
    rank = {folder: order.index(folder) if folder in order else len(order) for folder in folders}
    items.sort(key=lambda item: rank[item.path.relative_to(REPOSITORY / "tests").parts[0]])


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of SMALL."""
    corpus = tmp_path_factory.mktemp("corpus")
    for name in SMALL:
        (corpus / name).parent.mkdir(exist_ok=True)
        shutil.copy(EXAMPLES / name, corpus / name)
    return corpus


@dataclass(frozen=True)
class Outcome:
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="session")
def lanser():
    """Run ``lanser …`` in this process, which has loaded the libraries already."""
    from lanser_ops import cli

    def run(*argv: str | Path) -> Outcome:
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            try:
                status = cli.main(list(map(str, argv)))
            except SystemExit as end:  # --help
                status = int(end.code or 0)
        return Outcome(status, stdout.getvalue(), stderr.getvalue())

    return run


@pytest.fixture(scope="session")
def lanser_process():
    """Run ``lanser …`` in a process of its own, as a user does."""

    def run(*argv: str | Path) -> Outcome:
        command = [sys.executable, "-m", "lanser_ops", *map(str, argv)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, timeout=500)
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture(scope="session")
def built(small_corpus: Path, tmp_path_factory: pytest.TempPathFactory, lanser) -> Path:
    """The small corpus built for ekman, on one thread, in four units."""
    output = tmp_path_factory.mktemp("built") / "out"
    done = lanser(
        "build", "--input", small_corpus, "--output", output, "--taxonomy", "ekman",
        "--num-shards", 4, "--val-fraction", 0.2, "--threads", 1,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file of this process grows beyond 100 bytes: writing more fails as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture(scope="session")
def digests():
    """SHA-256 of every tar and Parquet file below a folder, by relative name."""

    def of(folder: Path) -> dict[str, str]:
        return {
            str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.suffix in (".tar", ".parquet")
        }

    return of


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("localhost", port)) == 0


@pytest.fixture(scope="session")
def listens():
    """Whether a server listens on a port of this machine."""
    return _listens


def serve(command: list[str], port: int) -> Iterator[str]:
    """Run ``command``, a server on ``port`` of this machine, until the generator is closed; its URL."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not _listens(port):
            assert process.poll() is None and time.monotonic() < deadline, f"{command[0]} did not start"
            time.sleep(0.1)
        yield f"http://localhost:{port}"
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def free_ports():
    """That many free ports of this machine."""

    def of(count: int) -> list[int]:
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.create_server(("localhost", 0))) for _ in range(count)]
            return [listener.getsockname()[1] for listener in sockets]

    return of


@pytest.fixture(scope="session")
def gcs_url(free_ports) -> Iterator[str]:
    """A Google Cloud Storage emulator with an empty bucket ``corpus``."""
    (port,) = free_ports(1)
    program = str(Path(sys.executable).parent / "gcp-storage-emulator")
    yield from serve(
        [program, "start", "--host", "localhost", "--port", str(port), "--in-memory", "--default-bucket", "corpus"],
        port,
    )


@pytest.fixture(scope="session")
def s3_url(free_ports) -> Iterator[str]:
    """An S3 emulator without buckets."""
    (port,) = free_ports(1)
    yield from serve([str(Path(sys.executable).parent / "moto_server"), "-H", "localhost", "-p", str(port)], port)


@pytest.fixture
def s3_client(s3_url: str):
    """Amazon's own client of the emulator."""
    import boto3

    return boto3.client(
        "s3", endpoint_url=s3_url, aws_access_key_id="id", aws_secret_access_key="key", region_name="us-east-1"
    )


@pytest.fixture
def gcs(gcs_url: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder of the emulator that no other test has; this process and those that it starts are connected."""
    from apache_beam.options.pipeline_options import PipelineOptions

    from lanser_ops import stores

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    stores.set_options(PipelineOptions([]))
    yield "gs://corpus/" + re.sub(r"\W+", "-", request.node.name)
    stores.set_options(PipelineOptions([]))


@pytest.fixture(scope="session")
def upload():
    """Copy a local folder to a folder of a store."""
    from lanser_ops import storage

    def to(folder: Path, root: str) -> None:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                storage.write_bytes(root, str(path.relative_to(folder)), path.read_bytes())

    return to


@pytest.fixture(scope="session")
def stored_digests():
    """`digests` of a folder of a store."""
    from lanser_ops import storage

    def of(root: str) -> dict[str, str]:
        return {
            path[len(root) + 1 :]: hashlib.sha256(storage.read_bytes(path)).hexdigest()
            for path in sorted(storage.list_files(root))
            if path.endswith((".tar", ".parquet"))
        }

    return of


class Front(ThreadingHTTPServer):
    """Stands before an emulator, answers in its place where ``fault`` says so, and gives GCS listings in pages.

    ``fault`` gets the number of a request that writes (of any kind, from 1) and returns an HTTP status, or None.
    """

    daemon_threads = True

    def __init__(self, behind: str):
        super().__init__(("localhost", 0), _Front)
        self.behind = urllib.parse.urlsplit(behind).netloc
        self.url = f"http://localhost:{self.server_port}"
        self.fault: Callable[[int], int | None] = lambda number: None
        self.requests = self.writes = self.faults = self.pages = 0
        self.lock = threading.Lock()


class _Front(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = None
        with self.server.lock:
            self.server.requests += 1
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


@contextlib.contextmanager
def _served(server: Front) -> Iterator[Front]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def front(gcs_url: str, gcs: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """A `Front` through which this process, and those that it starts, reach the folder ``gcs``."""
    with _served(Front(gcs_url)) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        yield server


@pytest.fixture
def s3_front(s3_url: str) -> Iterator[Front]:
    """A `Front` of the S3 emulator."""
    with _served(Front(s3_url)) as server:
        yield server


@pytest.fixture(scope="session")
def write_audio_classifier():
    """Write a random wav2vec 2.0 audio classifier with these classes, and its extractor, to a directory."""
    import torch
    import transformers

    def write(folder: Path, classes: tuple[str, ...], **options: object) -> Path:
        convolutions = {"conv_dim": (16, 16, 16), "conv_kernel": (10, 8, 8), "conv_stride": (5, 4, 4)}
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
        positions = {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4, "classifier_proj_size": 16}
        names = {"id2label": dict(enumerate(classes)), "label2id": {name: row for row, name in enumerate(classes)}}
        defaults = {"feat_extract_norm": "layer", "initializer_range": 0.3}
        torch.manual_seed(5)
        config = transformers.Wav2Vec2Config(**convolutions, **sizes, **positions, **names, **defaults | options)
        transformers.Wav2Vec2ForSequenceClassification(config).save_pretrained(folder)
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
        return folder

    return write
