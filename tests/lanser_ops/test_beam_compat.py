"""The private interfaces of Beam and botocore that `beam_compat` uses still do what they did.

Paths in pickles are tested where they matter, in tests/pipelines/test_dataflow.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.internal.gcp import auth
from apache_beam.io.filesystems import FileSystems
from apache_beam.io.gcp import gcsio
from apache_beam.options.pipeline_options import PipelineOptions

from lanser_ops import beam_compat


def test_run_inference_is_imported_without_torch_which_loads_later():
    program = (
        "import sys; from lanser_ops.beam_compat import RunInference\n"
        "assert 'torch' not in sys.modules\n"
        "import torch; print(torch.ones(2).sum().item())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("2.0\n", "")


def test_every_option_of_beam_is_known():
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    beam_compat.known_flags(parser)
    flags = ["--region", "x", "--s3_endpoint_url", "y", "--direct_num_workers", "2", "--dataflow_service_options", "z"]
    assert parser.parse_known_args([*flags, "--regoin", "x"])[1] == ["--regoin", "x"]


def _gpu_of_this_process(_: int) -> tuple[str | None, str | None, int]:
    time.sleep(0.2)  # so that one worker cannot do the work of both
    return os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("LANSER_DEALT_GPU"), os.getpid()


def _gpus_of_workers(workers: int, folder: Path) -> list[tuple[str | None, str | None]]:
    """What every worker process of the direct runner sees, in order."""
    options = PipelineOptions([])
    with beam.Pipeline(runner=beam_compat.direct_runner(options, workers, verbose=False), options=options) as pipeline:
        seen = pipeline | beam.Create(range(8)) | beam.Reshuffle() | beam.Map(_gpu_of_this_process)
        _ = seen | beam.combiners.ToList() | beam.Map(lambda rows: (folder / "seen").write_text(json.dumps(rows)))
    rows = {tuple(row) for row in json.loads((folder / "seen").read_text())}
    return sorted(((visible, dealt) for visible, dealt, _ in rows), key=str)


def test_each_worker_process_sees_a_gpu_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-5")
    assert _gpus_of_workers(2, tmp_path) == [("4", "4"), ("GPU-5", "GPU-5")]


def test_worker_processes_share_a_single_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4")
    assert _gpus_of_workers(2, tmp_path) == [("4", None), ("4", None)]


def test_filesystem_options_are_those_that_were_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(FileSystems, "_pipeline_options", None)
    assert beam_compat.filesystem_options().get_all_options(drop_default=True) == {}
    given = PipelineOptions(["--s3_region_name", "here"])
    FileSystems.set_options(given)
    assert beam_compat.filesystem_options() is given


def test_google_credentials_are_skipped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(auth._Credentials, "_credentials_init", False)
    monkeypatch.setattr(auth._Credentials, "_get_service_credentials", lambda *_: pytest.fail("looked for credentials"))
    beam_compat.skip_google_credentials()
    assert auth.get_service_credentials(PipelineOptions([])) is None


def test_botocore_clients_share_a_loader(monkeypatch: pytest.MonkeyPatch):
    import botocore.session

    monkeypatch.setattr(botocore.session, "create_loader", botocore.session.create_loader)
    beam_compat.share_botocore_loader()
    loaders = [botocore.session.get_session().get_component("data_loader") for _ in range(2)]
    assert loaders[0] is loaders[1]


def test_a_thread_has_one_gcs_client(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gcsio, "create_storage_client", gcsio.create_storage_client)
    monkeypatch.setattr(auth._Credentials, "_credentials_init", True)  # so that none are looked for
    monkeypatch.setattr(auth._Credentials, "_credentials", None)
    beam_compat.share_google_clients()
    options = PipelineOptions([])

    def client() -> object:
        return gcsio.GcsIO(pipeline_options=options).client

    first = client()
    assert client() is first
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(client).result() is not first
    options = PipelineOptions([])
    assert client() is not first
