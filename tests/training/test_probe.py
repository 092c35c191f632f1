"""``lanser probe`` on tones whose pitch is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import soundfile

from training.model import new_model, save_model
from training.probe import main


@pytest.fixture(scope="module")
def voices(tmp_path_factory):
    """Two classes, low and high voices of four speakers, with ten harmonics."""
    folder = tmp_path_factory.mktemp("voices")
    lines = ["path,label,speaker"]
    random = np.random.default_rng(0)
    for number in range(40):
        label, hertz = (("low", 100), ("high", 220))[number % 2]
        cycles = 2 * np.pi * hertz * random.uniform(0.9, 1.1) * np.arange(9600) / 16000
        wave = random.uniform(0.02, 0.2) * sum(np.sin(n * cycles) / n for n in range(1, 11))
        soundfile.write(folder / f"{number}.wav", wave, 16000)
        lines.append(f"{number}.wav,{label},speaker-{number // 10}")
    (folder / "data.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_probe_reads_out_what_is_there(voices, tmp_path, capsys):
    save_model(new_model("resnet10-half", "none", ("a", "b")), tmp_path / "run" / "model")
    argv = ["--checkpoint", tmp_path / "run", "--data", voices / "data.csv", "--output", tmp_path, "--seeds", 0, 1]
    assert main([*map(str, argv), "--device", "cpu"]) == 0
    report = json.loads((tmp_path / "probe.json").read_text())
    assert (report["clips"], report["without_voice"]) == (40, 0)
    names = ["log-mel statistics", "resnet10-half, untrained", str(tmp_path / "run")]
    assert list(report["representations"]) == names
    by_statistics = report["representations"]["log-mel statistics"]
    assert list(by_statistics) == ["emotion", "pitch", "pitch_range", "energy", "speaking_rate"]
    assert by_statistics["emotion"]["mean"] == 1.0
    assert by_statistics["pitch"]["mean"] > 0.9 and by_statistics["energy"]["mean"] > 0.9
    assert report["representations"]["resnet10-half, untrained"]["emotion"]["std"] >= 0
    assert "log-mel statistics" in capsys.readouterr().out


def test_probe_of_an_encoder_as_it_is(voices, tmp_path):
    argv = ["--backbone", "whisper", "--layers", "1", "--pooling", "mean", "--cache", tmp_path / "cache"]
    argv += ["--data", voices / "data.csv", "--output", tmp_path, "--device", "cpu"]
    assert main([*map(str, argv)]) == 0
    report = json.loads((tmp_path / "probe.json").read_text())["representations"]
    assert list(report) == ["log-mel statistics", "whisper"]
    assert report["whisper"]["emotion"]["mean"] == 1.0
    assert len(list((tmp_path / "cache").rglob("*.npy"))) == 40


def test_probe_refuses_in_one_line(voices, tmp_path, capsys):
    assert main(["--checkpoint", str(tmp_path), "--data", str(voices / "data.csv"), "--device", "cpu"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("lanser probe: ") and "no model" in err and len(err.splitlines()) == 1
