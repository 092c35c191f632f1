"""Audio files to predict on: files, folders, globs and manifests."""

from __future__ import annotations

import csv
import glob
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from lanser_ops.common.audio_files import AUDIO_EXTENSIONS
from lanser_ops.common.errors import InputError

MANIFESTS = (".csv", ".tsv", ".jsonl")


def find_recordings(names: Sequence[str]) -> list[Path]:
    """The audio files that ``names`` stand for, each once, in their order; those of a folder sorted by path.

    A folder is searched in depth; a glob may have ``**``; a manifest is a CSV, TSV or JSON Lines file with a column
    ``path``, relative to the manifest. Raises InputError for a name that stands for no file.
    """
    return list(dict.fromkeys(path for name in names for path in _expand(name)))


def _expand(name: str) -> Iterator[Path]:
    path = Path(name)
    if path.is_dir():
        files = [file for file in sorted(path.rglob("*")) if _is_audio(file)]
        if not files:
            raise InputError(f"{name}: no audio below this folder")
        yield from files
    elif path.suffix.lower() in MANIFESTS and path.is_file():
        yield from _manifest(path)
    elif path.is_file():
        yield path
    else:
        matches = [Path(match) for match in sorted(glob.glob(name, recursive=True)) if _is_audio(Path(match))]
        if not matches:
            raise InputError(f"{name}: no such file, and no pattern that matches audio")
        yield from matches


def _is_audio(path: Path) -> bool:
    return path.suffix.lower().lstrip(".") in AUDIO_EXTENSIONS and path.is_file()


def _manifest(path: Path) -> Iterator[Path]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            if path.suffix.lower() == ".jsonl":
                rows = [json.loads(line) for line in stream if line.strip()]
            else:
                rows = list(csv.DictReader(stream, delimiter="\t" if path.suffix.lower() == ".tsv" else ","))
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise InputError(f"{path}: not a readable manifest ({error})") from None
    if not rows:
        raise InputError(f"{path}: the manifest has no rows")
    for number, row in enumerate(rows, 1):
        name = row.get("path") if isinstance(row, dict) else None
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"{path}: row {number} has no path; a manifest needs a column path")
        yield path.parent / name.strip()
