"""Shards in gs:// and s3://, served by the emulators."""

from __future__ import annotations

import google.cloud.storage
import pytest
from google.auth.credentials import AnonymousCredentials

from lanser_ops.common.errors import InputError
from training.pretrain import main
from training.shards import find_shards, read_index


@pytest.fixture
def on_gcs(shards, gcs_url, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
    bucket = google.cloud.storage.Client(project="test", credentials=AnonymousCredentials()).bucket("corpus")
    for path in shards.iterdir():
        bucket.blob(f"weak/shards/{path.name}").upload_from_filename(str(path))
    return "gs://corpus/weak"


@pytest.fixture
def on_s3(shards, s3_url, s3_client, monkeypatch):
    values = {"AWS_ENDPOINT_URL": s3_url, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}
    for name, value in (values | {"AWS_DEFAULT_REGION": "us-east-1"}).items():
        monkeypatch.setenv(name, value)
    s3_client.create_bucket(Bucket="weak-labels")
    for path in shards.iterdir():
        s3_client.upload_file(str(path), "weak-labels", f"weak/shards/{path.name}")
    return "s3://weak-labels/weak"


@pytest.mark.parametrize("store", ["on_gcs", "on_s3"])
def test_shards_of_a_store_are_trained_on_as_local_ones(store, shards, request, tmp_path, capsys):
    place = request.getfixturevalue(store)
    assert len(find_shards([place], "train")) == 5
    assert find_shards([f"{place}/shards/val-*.tar"], "val") == [f"{place}/shards/val-00000-of-00001.tar"]
    assert [path[-22:] for path in find_shards([f"{place}/*/train-0000[01]*"], "train")] == [
        "ain-00000-of-00005.tar", "ain-00001-of-00005.tar"
    ]  # fmt: skip
    stored, local = (read_index(find_shards([folder], "train")) for folder in (place, str(shards)))
    assert (stored.keys, stored.counts) == (local.keys, local.counts)
    options = ["--backbone", "resnet10-quarter", "--device", "cpu", "--batch-size", "4", "--crop-s", "0.4"]
    options += ["--epochs", "1", "--workers", "2"]  # processes of their own, which connect for themselves
    logs = []
    for folder in (place, str(shards)):
        run = tmp_path / folder.replace("/", "-")
        assert main(["--shards", folder, "--output", str(run), *options]) == 0
        logs.append([line.split(', "samples_per_s')[0] for line in (run / "log.jsonl").read_text().splitlines()])
    assert logs[0] == logs[1] and len(logs[0]) > 7


def test_places_that_cannot_be_read(on_gcs):
    with pytest.raises(InputError, match=r"^gs://corpus/other: no shards \(.tar\); give the output of lanser build"):
        find_shards(["gs://corpus/other"], "train")
    with pytest.raises(InputError, match="^gs://nowhere/x: (no shards|cannot be listed)"):
        find_shards(["gs://nowhere/x"], "train")
    with pytest.raises(InputError, match="^hdfs://a/b: no client for hdfs://; give a local path, gs:// or s3://"):
        find_shards(["hdfs://a/b"], "train")
