"""A tiny randomly initialised wav2vec 2.0 audio classifier, written to disk like a real model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def model(write_audio_classifier: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An audio classifier that masks padding."""
    return write_audio_classifier(tmp_path_factory.mktemp("audio-classifier") / "model", ("happy", "angry", "calm"))
