"""What benchmarks/hostile.py attacks: a workspace with every file that commands read, and the commands that read it."""

from __future__ import annotations

import csv
import json
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from benchmarks.fuzz import changed
from benchmarks.hostile_files import (
    Members,
    Random,
    changed_json,
    changed_lines,
    changed_members,
    changed_table,
    changed_yaml,
    documents,
    json_documents,
    manifests,
    tars,
)
from lanser_ops import cli
from lanser_ops.shards.labelled import read_labelled_samples
from schemas.calibration import Calibration, dump_calibration

RATE = 16_000
TEXTS = ("I love you.", "Get out of my house!", "Nobody came to the party.", "The train leaves at nine.")
JOB = ("--num-shards", "2", "--val-fraction", "0", "--threads", "1", "--device", "cpu")
TINY = ("--backbone", "resnet10-quarter", "--batch-size", "2", "--crop-s", "0.2", "--in-process", "--max-steps", "1")
Command = tuple[str, ...]

_LABEL = ("label", "--output", "{work}/out", "--taxonomy", "ekman", "--threads", "1")
_LABEL_AGAIN = (*_LABEL, "--overwrite")
_SHARD = ("shard", "--output", "{work}/out", "--taxonomy", "ekman", "--threads", "1")
_SHARD_AGAIN = (*_SHARD, "--overwrite")
_BUILD = ("build", "--output", "{work}/new", "--taxonomy", "ekman", *JOB)
_INSPECT, _VERIFY, _REPORT = (("inspect", "{work}/out"), ("verify", "{work}/out"), ("report", "{work}/out"))
_SHARD_READERS = (
    ("relabel", "--shards", "{work}/out", "--output", "{work}/new", "--taxonomy", "ekman", "--threads", "1"),
    ("pretrain", "--shards", "{work}/out", "--output", "{work}/run", "--device", "cpu", *TINY),
    ("sample", "{work}/out", "--output", "{work}/new/sample.csv"),
    _INSPECT,
    _VERIFY,
)


@dataclass(frozen=True)
class Surface:
    """A file of the workspace, ``place``, and the commands that read it; ``changed_values`` makes a mutant of it."""

    place: str
    commands: tuple[Command, ...]
    crafted: Callable[[str], Mapping[str, bytes]] = lambda canary: {}
    changed_values: Callable[[bytes, Random], bytes] = changed


def surfaces(work: Path) -> dict[str, Surface]:
    """Everything that is attacked, in a workspace that `prepare` has filled."""
    scores = next(work.glob("out/scores/*/part-00000-*.parquet")).relative_to(work)
    shard = "out/shards/ekman/train-00000-of-00002.tar"
    part = "part-00000-of-00002.parquet"

    def build(manifest: str, labels: str = "labels.csv") -> tuple[Command]:
        return ((*_BUILD, "--input", f"{{work}}/{manifest}", "--labels-from", f"{{work}}/{labels}"),)

    def label(option: str, file: str) -> Command:
        return (*_LABEL, option, f"{{work}}/{file}")

    def hostile_tars(canary: str) -> Mapping[str, bytes]:
        return tars(canary, members_of(work / shard))

    listed = (
        Surface("audio/list.csv", build("audio/list.csv"), manifests, changed_lines),
        Surface("audio/list.jsonl", build("audio/list.jsonl"), json_documents),
        Surface("audio/list.parquet", build("audio/list.parquet"), changed_values=changed_table),
        Surface("labels.csv", build("audio/list.csv"), manifests, changed_lines),
        Surface("labels.parquet", build("audio/list.csv", "labels.parquet"), changed_values=changed_table),
        Surface("moods.yaml", (("taxonomies", "{work}/moods.yaml"),), documents, changed_yaml),
        Surface("calibration.yaml", (label("--calibration", "calibration.yaml"),), documents, changed_yaml),
        Surface(
            "config.yaml",
            (("taxonomies", "ekman", "--config", "{work}/config.yaml"), label("--config", "config.yaml")),
            documents,
            changed_yaml,
        ),
        Surface("out/dataset.json", (_INSPECT, _VERIFY, _REPORT, _LABEL), json_documents, changed_json),
        Surface("out/.private/roots.json", (_SHARD_AGAIN,), json_documents, changed_json),
        Surface("out/plan.parquet", (_VERIFY, _SHARD_AGAIN), changed_values=changed_table),
        Surface(f"out/transcripts/{part}", (_VERIFY, _LABEL_AGAIN), changed_values=changed_table),
        Surface(f"out/rejects/{part}", (_VERIFY, _SHARD_AGAIN), changed_values=changed_table),
        Surface(f"out/labels/ekman/{part}", (_VERIFY, _SHARD_AGAIN), changed_values=changed_table),
        Surface(str(scores), (_VERIFY, _LABEL_AGAIN), changed_values=changed_table),
        Surface(str(scores.with_name("sentences.json")), (_VERIFY, _LABEL_AGAIN), json_documents, changed_json),
        Surface(shard, _SHARD_READERS, hostile_tars, changed_members),
    )
    names = {str(scores): "scores", str(scores.with_name("sentences.json")): "sentences.json", shard: "shard"}
    return {names.get(surface.place, surface.place.removesuffix(f"/{part}")): surface for surface in listed}


def members_of(path: Path) -> Members:
    """(name, content) of the regular files in a tar."""
    with tarfile.open(path) as archive:
        return [(info.name, archive.extractfile(info).read()) for info in archive]  # type: ignore[union-attr]


def prepare(work: Path) -> None:
    """Fill the workspace: recordings, manifests and labels in three formats, YAML files, and a finished build."""
    (work / "audio").mkdir(parents=True)
    for name in "abcd":
        soundfile.write(work / "audio" / f"{name}.flac", 0.1 * np.sin(np.arange(RATE // 2) / 20), RATE)
    rows = [{"path": f"{name}.flac", "text": text} for name, text in zip("abcd", TEXTS, strict=True)]
    labels = [{"path": f"audio/{row['path']}", "label": "joy"} for row in rows]
    for stem, entries in (("audio/list", rows), ("labels", labels)):
        with (work / f"{stem}.csv").open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(entries[0]))
            writer.writeheader()
            writer.writerows(entries)
        (work / f"{stem}.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        pq.write_table(pa.Table.from_pylist(entries), work / f"{stem}.parquet")
    (work / "moods.yaml").write_text(
        'name: moods\nversion: 2\nlabels:\n- {name: good, hypotheses: [glad, happy]}\n- bad\n- {name: neutral}\n'
        'neutral: absence\naggregate: mean\ntemplate: "I am {}."\nsource: mine\n'
    )  # fmt: skip
    (work / "config.yaml").write_text("prior: none\ntemplate: ['I am {}.']\n")
    build = ("build", "--output", str(work / "out"), "--taxonomy", "ekman", *JOB)
    if cli.main([*build, "--input", str(work / "audio" / "list.csv")]):
        raise SystemExit("the corpus that is to be attacked could not be built")
    scoring, _ = read_labelled_samples(str(work / "out"), None)
    (work / "calibration.yaml").write_bytes(
        dump_calibration(Calibration(scoring.fitted_on, 40, {"prior_strength": 0.25, "temperature": 1.5}))
    )
