"""A table for spreadsheets and pandas, with the audio as FLAC files beside it."""

from __future__ import annotations

import csv
from pathlib import Path

from lanser_ops.exports.source import ExportSource, read_samples
from lanser_ops.labelling.human_labels import cell

TABLE = "samples.csv"
COLUMNS = ("key", "path", "transcript", "label", "score", "margin", "split")


def write(source: ExportSource, folder: Path) -> None:
    """``samples.csv``, and every sample's audio under the path that it names, relative to the table."""
    # With a byte order mark, by which spreadsheets know UTF-8.
    with (folder / TABLE).open("x", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for shard in source.shards:
            for sample in read_samples(shard):
                # 256 folders: file managers do not open one with a million files.
                audio = f"audio/{sample.key[:2]}/{sample.key}.flac"
                (folder / audio).parent.mkdir(parents=True, exist_ok=True)
                (folder / audio).write_bytes(sample.flac)
                row = (sample.key, audio, sample.text, sample.label, sample.score, sample.margin, shard.split)
                writer.writerow([cell(value) for value in row])
