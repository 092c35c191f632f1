"""Where a model's files lie: a directory on this machine or in a store (gs://, s3://), or a hub id.

Weights are identified by content: a SHA-256 over the files that decide what the model computes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

from filelock import FileLock

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from schemas.specs import ModelRef

# What decides a model's output; a README or another framework's weights do not.
MODEL_FILES = ("*.bin", "*.safetensors", "*.json", "*.txt", "*.model")
# Beside the files of a copied model: their hash when they were copied.
HASH_FILE = ".sha256"
COPY_BYTES = 16 << 20


def find_model(name: str, option: str, download: Callable[[str], str], required: str, advice: str) -> ModelRef:
    """The model of that name, its files on this machine.

    Its id is the same wherever its files lie, so that equal models give equal outputs: a hub id, or the last part of
    a directory's name. ``option`` begins error messages, ``download`` fetches a hub id and returns its directory.

    Raises InputError, one line, where there is no such model, or none with a file ``required``: then with ``advice``.
    """
    path, sha256 = _directory(name, option, download)
    if not os.path.isfile(os.path.join(path, required)):
        raise InputError(f"{option} {name}: no {required} there; {advice}")
    is_directory = storage.is_remote(name) or os.path.isdir(name)
    return ModelRef(storage.absolute(name).rsplit("/", 1)[-1] if is_directory else name, sha256, path)


def download_snapshot(name: str) -> str:
    """The directory of a transformers model of the hub, safetensors weights alone."""
    from huggingface_hub import snapshot_download

    return snapshot_download(name, allow_patterns=["*.json", "*.txt", "*.model", "*.safetensors"])


def content_hash(path: str) -> str:
    """SHA-256 over names and contents of the model's files, whatever directory they lie in."""
    total = hashlib.sha256()
    for file in sorted({file for pattern in MODEL_FILES for file in Path(path).glob(pattern) if file.is_file()}):
        total.update(f"{file.name}\0{file_hash(file)}\0".encode())
    return total.hexdigest()


def file_hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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
    files: other weights under the same name are another copy. Processes wait for the one that copies. A copy whose
    content has changed is made again.
    """
    stored = {path.removeprefix(f"{name}/"): size for path, size in storage.list_files(name).items()}
    sizes = {
        file: size
        for file, size in sorted(stored.items())
        if "/" not in file and any(fnmatch(file, pattern) for pattern in MODEL_FILES)
    }
    if not sizes:
        raise InputError(f"{option} {name}: no model there ({', '.join(MODEL_FILES)})")
    contents = [(f"{name}/{file}", size, storage.checksum(f"{name}/{file}")) for file, size in sizes.items()]
    key = hashlib.sha256(repr(contents).encode()).hexdigest()[:32]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lanser" / "models"
    cache.mkdir(parents=True, exist_ok=True)
    copy = cache / key
    with FileLock(cache / f"{key}.lock"):
        recorded, sha256 = copy / HASH_FILE, content_hash(str(copy))
        if not (recorded.is_file() and recorded.read_text() == sha256):
            shutil.rmtree(copy, ignore_errors=True)
            incoming = cache / f"{key}.incoming"  # what a killed process left is written over
            incoming.mkdir(exist_ok=True)
            for file, size in sizes.items():
                _copy_file(f"{name}/{file}", size, incoming / file)
            sha256 = content_hash(str(incoming))
            (incoming / HASH_FILE).write_text(sha256)
            incoming.rename(copy)
    return str(copy), sha256


def _copy_file(path: str, size: int, to: Path) -> None:
    with storage.open_read(path) as source, to.open("wb") as target:
        shutil.copyfileobj(source, target, COPY_BYTES)
    if to.stat().st_size != size:
        raise OSError(f"{path}: {to.stat().st_size} of its {size} bytes came; run the same command again")
