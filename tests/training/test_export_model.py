from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import yaml

from training.classifier import probabilities
from training.export_model import main
from training.model import load_model, new_model, save_model

ROOT = Path(__file__).parents[2]
RESULTS = {
    "options": {"data": "ravdess", "checkpoint": "out/pretrained", "frozen": False},
    "clips": 1440,
    "summary": [
        {
            "fraction": 1.0, "seeds": 3, "ua_mean": 0.54, "ua_std": 0.01, "ua_interval": [0.5, 0.58], "wa_mean": 0.55,
            "wa_std": 0.02, "macro_f1_mean": 0.53, "macro_f1_std": 0.01,
        }
    ],
    "runs": [{"fold": 0}, {"fold": 1}],
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    model = new_model("resnet10-quarter", "ravdess", ("anger", "joy", "sadness"))
    save_model(model.eval(), folder / "model")
    return folder


def waves():
    generator = np.random.default_rng(1)
    return [generator.normal(0, 0.1, size).astype(np.float32) for size in (30_000, 12_345)]


def test_onnx_equals_torch(run, tmp_path, capsys):
    assert main([str(run), "--output", str(tmp_path / "onnx"), "--format", "onnx"]) == 0
    out = capsys.readouterr().out
    assert "output: probabilities, float32 (batch, 3): anger, joy, sadness\n" in out
    assert [path.name for path in (tmp_path / "onnx").iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(tmp_path / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["labels"]) == ["anger", "joy", "sadness"] and metadata["sample_rate"] == "16000"
    padded = np.zeros((2, 30_000), np.float32)
    for row, wave in zip(padded, waves(), strict=True):
        row[: len(wave)] = wave
    [exported] = session.run(None, {"waves": padded, "lengths": np.array([30_000, 12_345])})
    assert exported == pytest.approx(probabilities(load_model(run), waves()).numpy(), abs=1e-4)


def test_a_hub_folder_is_complete_and_loads_without_the_command_line(run, tmp_path, capsys):
    (run / "results.json").write_text(json.dumps(RESULTS))
    folder = tmp_path / "emotion-ravdess"
    assert main([str(run), "--output", str(folder), "--format", "hub", "--license", "cc-by-nc-sa-4.0"]) == 0
    assert sorted(os.listdir(folder)) == ["README.md", "config.json", "model.safetensors", "preprocessor_config.json"]
    _, metadata, text = (folder / "README.md").read_text().split("---\n", 2)
    card = yaml.safe_load(metadata)
    assert (card["license"], card["pipeline_tag"], card["library_name"]) == (
        "cc-by-nc-sa-4.0", "audio-classification", "lanser",
    )  # fmt: skip
    [index] = card["model-index"]
    figures = {row["type"]: row["value"] for row in index["results"][0]["metrics"]}
    assert index["name"] == "emotion-ravdess"
    assert figures == {"unweighted accuracy": 0.54, "accuracy": 0.55, "macro F1": 0.53}
    assert "Recognises an emotion in a clip of speech: anger, joy, sadness." in text
    assert "`ravdess`, 1440 clips" in text and "over speakers and seeds: 0.500 to 0.580" in text
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    assert settings["sampling_rate"] == 16000 and settings["log_mel"]["n_mels"] == 64
    code = (
        "import sys\n"
        "from training.model import load_model\n"
        f"print(load_model({str(folder)!r}).spec.labels)\n"
        "assert not {'lanser_ops.cli', 'training.finetune', 'apache_beam', 'faster_whisper'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "('anger', 'joy', 'sadness')\n", done.stderr
    assert f"wrote {folder}, for training.model.load_model({str(folder)!r})\n" in capsys.readouterr().out


def test_the_card_of_a_pretrained_model_says_that_labels_are_weak(run, tmp_path):
    save_model(load_model(run), tmp_path / "run" / "model")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"taxonomy": "ekman", "shards_sha256": "0123abcd"}))
    assert main([str(tmp_path / "run"), "--output", str(tmp_path / "hub")]) == 0
    text = (tmp_path / "hub" / "README.md").read_text()
    assert "Weak labels of the taxonomy `ekman`" in text and "Not evaluated on human labels." in text
    assert "license: other" in text and "Not stated: before you publish" in text


def test_bad_input_is_one_line(run, tmp_path, capsys):
    assert main([str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    (tmp_path / "run.json").write_text("[")
    save_model(load_model(run), tmp_path / "model")
    assert main([str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    assert f"lanser export-model: {tmp_path / 'run.json'}: cannot be read (" in capsys.readouterr().err


def test_a_readme_of_others_is_left_alone(run, tmp_path, capsys):
    (tmp_path / "README.md").write_text("mine")
    assert main([str(run), "--output", str(tmp_path)]) == 2
    end = f"--output {tmp_path}: has a README.md that lanser did not write; choose another folder\n"
    assert capsys.readouterr().err == f"lanser export-model: {end}"
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]
    for _ in range(2):  # its own may be written again
        assert main([str(run), "--output", str(tmp_path / "out")]) == 0
