"""A folder for the Hugging Face hub: the shards, and a card by which `datasets` loads them."""

from __future__ import annotations

from pathlib import Path

from lanser_ops.exports.folder import place
from lanser_ops.exports.source import ExportSource
from lanser_ops.output.directory import CARD, DATASET, REPORT
from lanser_ops.report import card
from lanser_ops.report.documents import MARK


def write(source: ExportSource, folder: Path) -> None:
    """README.md for this taxonomy alone, dataset.json, report.html where there is one, and the shards."""
    for shard in source.shards:
        place(shard, folder / source.out.shards(source.taxonomy))
    for name in (DATASET, REPORT):
        if source.out.exists(name):
            (folder / name).write_bytes(source.out.read_bytes(name))
    content = source.content | {"taxonomies": {source.taxonomy: source.content["taxonomies"][source.taxonomy]}}
    (folder / CARD).write_text(card.render(source.out, content, MARK), encoding="utf-8")
