"""Checkpoints where the disk fails."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from training.checkpoints import Position, list_checkpoints, save_checkpoint
from training.model import new_model, save_model


@pytest.fixture(scope="module")
def model():
    return new_model("resnet10-quarter", "tiny", ("anger", "joy"))


def test_a_state_without_room_is_an_error_of_the_disk(
    model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_files: None
):
    monkeypatch.setattr("training.checkpoints.save_model", lambda _, folder: folder.mkdir(parents=True))
    with pytest.raises(OSError, match="File too large"):
        save_checkpoint(tmp_path, model, {"optimizer": torch.zeros(1000)}, Position(step=1))
    assert list_checkpoints(tmp_path) == []


def test_weights_without_room_name_their_file(
    model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_files: None
):
    monkeypatch.setattr("training.model.CONFIG", "/dev/null")
    with pytest.raises(RuntimeError, match=f"{tmp_path}/model.safetensors: .*File too large"):
        save_model(model, tmp_path)
