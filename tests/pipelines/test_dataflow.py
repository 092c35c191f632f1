"""The job as Dataflow would get it: written by the real runner to an emulated bucket, and read there."""

from __future__ import annotations

import base64
import bz2
import io
import json
import re
import sys
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.utils.multi_process_shared import MultiProcessShared

from lanser_ops import storage, stores
from lanser_ops.backends import ASR, LABELLERS, backend_of, resolve
from lanser_ops.handlers import LazyScorer, ScoreHandler, Worker
from lanser_ops.output.directory import OutputDir
from pipelines import build
from schemas.specs import LabelSpec
from schemas.taxonomy import load_taxonomy

REPOSITORY = Path(__file__).parents[2]
BUCKET = "gs://corpus"
DATAFLOW = [
    "--runner", "DataflowRunner", "--project", "some-project", "--region", "us-central1",
    "--temp_location", f"{BUCKET}/temp", "--staging_location", f"{BUCKET}/staging", "--no_auth",
]  # fmt: skip

SPEC = LabelSpec(
    load_taxonomy("ekman"), ("This person feels {}.",), resolve(LABELLERS, "bundled"), "contradiction", "none"
)


@dataclass(frozen=True)
class Described:
    """What a job left in the bucket: the template, the pipeline, the package."""

    template: bytes
    pipeline: bytes
    package: bytes


@pytest.fixture(scope="module")
def bucket(gcs_url: str) -> Iterator[str]:
    """An emulated bucket with two recordings below ``in/``; this process is connected to it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", gcs_url)
        stores.set_options(PipelineOptions([]))
        for name in ("slt/best_day.wav", "slt/love_you.mp3"):
            storage.write_bytes(BUCKET, f"in/{name}", (REPOSITORY / "examples" / "audio" / name).read_bytes())
        yield BUCKET
    stores.set_options(PipelineOptions([]))


@pytest.fixture(scope="module")
def described(bucket: str, lanser) -> Described:
    done = lanser(
        "build", "--input", f"{bucket}/in", "--output", f"{bucket}/out", "--taxonomy", "ekman", *DATAFLOW,
        "--template_location", f"{bucket}/template.json", "--setup_file", "./setup.py",
        "--prior", "corpus", "--accelerator", "--balance", "2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "the job is described, not run"

    def content(end: str) -> bytes:
        (path,) = [path for path in storage.list_files(bucket) if path.endswith(end)]
        return storage.read_bytes(path)

    return Described(content("template.json"), content("pipeline.pb"), content("workflow.tar.gz"))


def unpacked(content: bytes) -> bytes:
    """``content`` followed by what Beam packed into it: base64 of compressed pickles."""
    parts = [content]
    for packed in re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", content):
        for decompress in (bz2.decompress, zlib.decompress):
            try:
                parts.append(decompress(base64.b64decode(packed)))
            except (ValueError, OSError, zlib.error):
                continue
    return b"\n".join(parts)


def test_the_inference_steps_alone_ask_for_a_gpu(described: Described):
    components = beam_runner_api_pb2.Pipeline.FromString(described.pipeline).components
    asking = {
        name: {urn: value.decode() for urn, value in environment.resource_hints.items()}
        for name, environment in components.environments.items()
    }
    leaves = [step for step in components.transforms.values() if step.environment_id and not step.subtransforms]
    steps = {step.unique_name: asking[step.environment_id] for step in leaves}
    with_gpu = {name.split("/")[0] for name, hints in steps.items() if hints}
    without = {name.split("/")[0] for name, hints in steps.items() if not hints}
    assert with_gpu == {"Transcribe", "Score"}
    assert without == {
        "Units", "Spread", "Label", "Shard", "Count", "WriteStatistics",
    }  # fmt: skip
    assert [hints for hints in asking.values() if hints] == [
        {
            "beam:resources:accelerator:v1": "type:nvidia-l4;count:1;install-nvidia-driver",
            "beam:resources:min_ram_bytes:v1": "16000000000",
        }
    ]


def test_the_package_is_staged_and_every_environment_installs_it(described: Described):
    with tarfile.open(fileobj=io.BytesIO(described.package)) as package:
        names = {name.split("/", 1)[-1] for name in package.getnames()}
    assert {"pipelines/build.py", "lanser_ops/asr/transcribe.py", "schemas/taxonomies/ekman.yaml"} <= names
    assert "lanser_ops/assets/nli/model.safetensors" in names
    assert not [name for name in names if name.startswith(("tests/", "examples/"))]
    for environment in beam_runner_api_pb2.Pipeline.FromString(described.pipeline).components.environments.values():
        assert any(b"workflow.tar.gz" in artifact.type_payload for artifact in environment.dependencies)


def test_no_path_of_this_machine_and_no_main_session(described: Described):
    pipeline = unpacked(described.pipeline)
    assert b"TranscribeHandler" in pipeline and b"whisper tiny.en" in pipeline  # it is unpacked indeed
    for content in (pipeline, described.template):
        for place in (REPOSITORY, sys.prefix, sys.base_prefix, Path.home() / ".", resolve(ASR, "bundled").path):
            assert str(place).encode() not in content, place
    options = json.loads(described.template)["environment"]["sdkPipelineOptions"]["options"]
    assert options["save_main_session"] is False
    assert options["setup_file"] == "./setup.py"
    assert b"pickled_main_session" not in described.pipeline


def test_a_dry_run_asks_for_no_gpu_and_starts_nothing(bucket: str, capsys: pytest.CaptureFixture):
    status = build.main(
        ["--input", f"{BUCKET}/in", "--output", f"{BUCKET}/dry", "--taxonomy", "ekman", *DATAFLOW] + ["--dry_run=True"]
    )
    assert status == 0
    assert capsys.readouterr().out.splitlines()[-1] == "the job is described, not run"


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {"--output": "/data/out"},
            "lanser build: --output /data/out: Dataflow's workers cannot see this machine's folders; give gs://…",
        ),
        (
            {"--input": "examples/audio"},
            "lanser build: --input examples/audio: Dataflow's workers cannot see this machine's folders; give gs://…",
        ),
        (
            {"--accelerator": "nvidia-l4"},
            "lanser build: argument --accelerator: 'nvidia-l4' is not of the form "
            "type:nvidia-l4;count:1;install-nvidia-driver (see lanser build --help)",
        ),
        (
            {"--min-ram": "16"},
            "lanser build: argument --min-ram: '16' is not of the form 16GB (see lanser build --help)",
        ),
    ],
)
def test_what_dataflow_cannot_do_is_one_line(bucket: str, capsys: pytest.CaptureFixture, changed: dict, line: str):
    given = {"--input": f"{BUCKET}/in", "--output": f"{BUCKET}/no", "--taxonomy": "ekman", **changed}
    assert build.main([word for option in given.items() for word in option] + DATAFLOW) == 2
    assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize(("device", "shared"), [("cpu", False), ("cuda", True)])
def test_worker_processes_share_a_scorer_on_a_gpu_alone(device: str, shared: bool):
    handler = ScoreHandler(Worker(OutputDir("out"), (), device, 1), "bundled", SPEC, (), None)
    assert handler.share_model_across_processes() is shared


def test_a_shared_scorer_scores_the_same_through_its_proxy():
    labeller = backend_of(LABELLERS, "bundled").load(SPEC, "cpu", 1)
    texts, hypotheses = ["I love you.", "Where is the bus stop?"], ["This person feels happy."]
    shared = MultiProcessShared(lambda: LazyScorer(lambda: labeller), tag="test_scorer", always_proxy=True)
    proxy = shared.acquire()
    try:
        through = proxy.score(texts, hypotheses)
    finally:
        shared.release(proxy)
    assert through.entailment.tolist() == labeller.score(texts, hypotheses).entailment.tolist()
