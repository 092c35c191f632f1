"""Models that the worker processes of a machine share, as they do on its GPU: here on a CPU, otherwise the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from lanser_ops import handlers
from lanser_ops.asr import whisper
from lanser_ops.labelling import nli
from lanser_ops.speech_labelling import audio_classifier


@pytest.fixture(scope="module")
def voice(write_audio_classifier: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_audio_classifier(tmp_path_factory.mktemp("voices") / "voice", ("angry", "happy", "calm"))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each backend has loaded a model."""
    counts: Counter[str] = Counter()

    def counting(name: str, load: Callable) -> Callable:
        def load_and_count(*arguments: object) -> object:
            counts[name] += 1
            return load(*arguments)

        return load_and_count

    for backend in (whisper, nli, audio_classifier):
        monkeypatch.setattr(backend, "load", counting(backend.__name__.rpartition(".")[2], backend.load))
    return counts


def test_jobs_with_shared_models_write_the_same_and_load_their_own(
    build_of, digests, voice: Path, loaded: Counter[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Beam's proxy of a shared model has no attributes; and it serves all jobs that give it the same name."""
    build = build_of("examples/audio/awb", "--num-shards", 1, "--val-fraction", 0, "--speech-model", voice)
    expected = digests(build(tmp_path / "own"))
    monkeypatch.setattr(handlers, "_share_gpu", lambda *_: True)
    assert digests(build(tmp_path / "shared")) == expected
    assert digests(build(tmp_path / "next")) == expected
    assert len(expected) == 7
    assert loaded == {"whisper": 3, "nli": 3, "audio_classifier": 3}
