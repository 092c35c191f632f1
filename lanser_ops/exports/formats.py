"""Which formats there are, and how one is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lanser_ops.common.errors import InputError
from lanser_ops.exports import csv_table, energon_meta, hub_folder, lhotse_shar, nemo_manifest, wids_index
from lanser_ops.exports.folder import new_folder
from lanser_ops.exports.source import ExportSource, open_source


@dataclass(frozen=True)
class Format:
    """``write`` fills an empty folder; ``has_text`` says that the format has transcripts outside of the shards."""

    summary: str
    write: Callable[[ExportSource, Path], None]
    has_text: bool


FORMATS = {
    "hf": Format("a folder to upload to the Hugging Face hub", hub_folder.write, has_text=False),
    "lhotse": Format("Lhotse Shar", lhotse_shar.write, has_text=True),
    "nemo": Format("NeMo's tarred manifests", nemo_manifest.write, has_text=True),
    "energon": Format("a dataset of Megatron Energon", energon_meta.write, has_text=False),
    "wids": Format("an index of the shards where they are", wids_index.write, has_text=False),
    "csv": Format("a table with FLAC files beside it", csv_table.write, has_text=True),
}


def export(directory: str, name: str, taxonomy: str | None, output: str) -> ExportSource:
    """Write the shards of ``directory`` in the format ``name`` to the folder ``output``, and return what was written.

    Raises InputError, one line, for what `open_source`, `new_folder` and the formats refuse, and for shards without
    transcripts where the format has them.
    """
    source = open_source(directory, taxonomy)
    entry = source.content["taxonomies"][source.taxonomy]
    if FORMATS[name].has_text and entry["shard"].get("redact"):
        others = ", ".join(other for other, form in FORMATS.items() if not form.has_text)
        raise InputError(
            f"{directory}: its shards were written with --redact, and {name} has transcripts; export to {others}, or "
            "shard without --redact"
        )
    with new_folder(output, directory) as folder:
        FORMATS[name].write(source, folder)
    return source
