"""Everything in an output directory, read once and checked: the work of ``lanser verify``."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from lanser_ops import storage
from lanser_ops.common.errors import Inconsistent, InputError
from lanser_ops.common.label_scores import mean_log_scores
from lanser_ops.corpus.plan import read_unit, read_units
from lanser_ops.labelling import weak_labels
from lanser_ops.labelling.context import with_context
from lanser_ops.labelling.label import corpus_sums, null_sums
from lanser_ops.labelling.score_store import read_scores, stored_sets
from lanser_ops.output import files
from lanser_ops.output.dataset import read_dataset, read_label_spec
from lanser_ops.output.directory import DATASET, PLAN, OutputDir
from lanser_ops.output.rejects import shard_stage
from lanser_ops.output.statistics import count_unit, total
from lanser_ops.shards.write import fields_of_all, redacted, sample_rows, with_asr_model
from lanser_ops.verification import checks
from schemas.records import Transcript, WeakLabel, from_table
from schemas.specs import CORPUS_PRIOR, NULL_PRIOR, LabelSpec, ScoreSet, ShardSpec
from schemas.units import FileRecord, Unit

SHOWN = 10
UNIT_NAME = re.compile(r"(?:part|train|val)-(\d+)-of-(\d+)\.(?:parquet|tar)")
REMAKE = "delete it, and run the command that made it again"
RERUN = "run the command that made it again"


@dataclass(frozen=True)
class _Taxonomy:
    """How a taxonomy's labels are computed; ``shard`` is its section of dataset.json, None before there are shards."""

    name: str
    spec: LabelSpec
    sets: tuple[ScoreSet, ...]
    prior: tuple[float, ...] | None
    shard: Mapping[str, Any] | None


def check(out: OutputDir) -> None:
    """Raise Inconsistent, with a line for each of the first differences, unless everything is as recorded.

    Raises InputError where there is no finished run.
    """
    lines = differences(out)
    shown = list(islice(lines, SHOWN))
    if shown:
        more = sum(1 for _ in lines)
        raise Inconsistent("\n".join([*shown, *([f"and {more} more"] if more else [])]))


def differences(out: OutputDir) -> Iterator[str]:
    """What is not as it should be, a line each: the file, what is wrong with it, and what to do."""
    content = read_dataset(out)
    if not content.get("accounts") and not any("accounts" in entry for entry in content.get("taxonomies", {}).values()):
        raise InputError(f"{out.root}: no finished run there (a {DATASET} without counts, or none)")
    for name, fault, remedy in _faults(out, content):
        yield f"{out.path(name)}: {fault}; {remedy}"


def _faults(out: OutputDir, content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """(file, fault, remedy) of everything that is wrong."""
    existing, recorded = out.names(), files.records(content)
    for name in sorted(recorded.keys() - existing.keys()):
        yield name, "is missing", RERUN
    for name in sorted(name for name in existing if files.is_of_unit(name)):
        if name.startswith("shards/") or name not in recorded:
            continue  # shards are read once, with their samples; the rest is reported with its unit
        record = files.read_record(out, name)
        if record != recorded[name]:
            yield name, _change(record, recorded[name]), REMAKE
    units = list(_units(out, content, existing))
    if "plan" in content and files.read_record(out, PLAN).sha256 != content["plan"]["plan_sha256"]:
        yield PLAN, "is not the plan that the files were made by", "run lanser transcribe or lanser build again"
    taxonomies = []
    for name, entry in content["taxonomies"].items():
        try:
            taxonomies.append(_taxonomy(out, units, name, entry))
        except (InputError, FileNotFoundError) as error:
            yield f"labels/{name}", f"cannot be checked ({_text(error)})", f"run lanser label --taxonomy {name} again"
    keys: list[np.ndarray] = []
    for unit in units:
        yield from _unit_faults(out, unit, content, taxonomies, recorded, existing, keys)
    if repeated := checks.repeated_keys(keys):
        yield (
            "transcripts",
            f"{len(repeated)} keys are in several units (such as {repeated[0]})",
            "use another --output",
        )
    yield from _account_faults(out, units, content)
    numbers = {(unit.index, unit.count) for unit in units}
    for name in sorted(name for name in existing if files.is_of_unit(name)):
        matched = UNIT_NAME.search(name)
        if matched and (int(matched[1]), int(matched[2])) not in numbers:
            yield name, "belongs to none of the units", "delete it"
        elif matched and name not in recorded:
            yield name, f"is not recorded in {DATASET}", RERUN


def _units(out: OutputDir, content: dict[str, Any], existing: Collection[str]) -> Iterator[Unit]:
    """The units of the plan, or those that shards were unpacked to."""
    if "plan" in content:
        yield from read_units(out)
        return
    splits = {}
    for name in existing:
        folder, _, base = name.rpartition("/")
        if matched := UNIT_NAME.fullmatch(base):
            number = (int(matched[1]), int(matched[2]))
            if folder.startswith("shards/"):
                splits[number] = base.partition("-")[0]
            elif folder == "transcripts":
                splits.setdefault(number, "train")  # without a shard, nothing depends on it
    for (index, count), split in sorted(splits.items()):
        yield Unit(index, count, split, sources=1, bytes=0)


def _taxonomy(out: OutputDir, units: Sequence[Unit], name: str, entry: Mapping[str, Any]) -> _Taxonomy:
    spec = read_label_spec(name, entry["label"])
    sets, missing = stored_sets(out, spec)
    if missing:
        raise InputError(f"there are no scores for {sorted(missing)[0]!r}")
    for unit in units:
        keys = out.read_table(out.transcripts(unit), ["key"])
        for scores in (out.scores(score_set, unit) for score_set in sets):
            if out.read_table(scores, ["key"]) != keys:
                raise InputError(f"{scores} does not have the keys of its transcripts")
    prior = None
    if spec.prior == CORPUS_PRIOR:
        prior = mean_log_scores((unit.index, *corpus_sums(out, unit, sets, spec)) for unit in units)
    elif spec.prior == NULL_PRIOR:
        prior = mean_log_scores([(0, *null_sums(out, sets, spec))])
    return _Taxonomy(name, spec, sets, prior, entry.get("shard"))


def _unit_faults(
    out: OutputDir,
    unit: Unit,
    content: dict[str, Any],
    taxonomies: Sequence[_Taxonomy],
    recorded: Mapping[str, FileRecord],
    existing: Mapping[str, int],
    keys: list[np.ndarray],
) -> Iterator[tuple[str, str, str]]:
    """Faults of one unit's files; adds the keys of its utterances, uint64, to ``keys``."""
    transcripts, rejects = _table(out, out.transcripts(unit)), _table(out, out.rejects(unit))
    for name, table in ((out.transcripts(unit), transcripts), (out.rejects(unit), rejects)):
        if isinstance(table, str):
            yield name, table, REMAKE
    if isinstance(transcripts, str) or isinstance(rejects, str):
        return
    sources = {row.source for row in read_unit(out, unit)} if "plan" in content else None
    for fault in checks.transcript_faults(transcripts, rejects, sources):
        yield out.transcripts(unit), fault, REMAKE
    keys.append(np.array([int(key, 16) for key in transcripts.column("key").to_pylist()], dtype=np.uint64))
    for taxonomy in taxonomies:
        name = out.labels(taxonomy.name, unit)
        labels = _table(out, name)
        if isinstance(labels, str):
            yield name, labels, REMAKE
            continue
        stored = from_table(labels, WeakLabel)
        for fault in checks.label_faults(stored, _computed(out, unit, taxonomy, from_table(transcripts, Transcript))):
            yield name, fault, REMAKE
        if taxonomy.shard is None:
            continue
        left_out = [row["key"] for row in rejects.to_pylist() if row["stage"] == shard_stage(taxonomy.name)]
        for fault in checks.reject_faults(left_out, {label.key for label in stored}):
            yield out.rejects(unit), fault, REMAKE
        if [label.key for label in stored] == transcripts.column("key").to_pylist():
            expected = _samples(content, taxonomy, transcripts, labels, set(left_out))
            is_sidecar = bool(taxonomy.shard.get("sidecar"))
            yield from _shard_faults(out, out.shard(taxonomy.name, unit), expected, is_sidecar, recorded, existing)


def _computed(
    out: OutputDir, unit: Unit, taxonomy: _Taxonomy, transcripts: Sequence[Transcript]
) -> Sequence[WeakLabel]:
    """The labels that the stored scores give."""
    names = [out.scores(score_set, unit) for score_set in taxonomy.sets]
    keys = [transcript.key for transcript in transcripts]
    by_hypothesis, truncated = read_scores(out, names, taxonomy.sets, taxonomy.spec, keys)
    return weak_labels.label_utterances(transcripts, by_hypothesis, truncated, taxonomy.spec, taxonomy.prior)


def _samples(
    content: dict[str, Any], taxonomy: _Taxonomy, transcripts: pa.Table, labels: pa.Table, left_out: set[str]
) -> dict[str, dict[str, Any]]:
    """The JSON of every sample that the unit's shard should hold, by key."""
    if "transcribe" in content:
        transcripts = with_asr_model(transcripts, content["transcribe"]["asr_model"]["id"])
    else:
        transcripts = transcripts.drop_columns(["flac_offset", "flac_bytes"])
    shared = fields_of_all(taxonomy.spec)
    rows = [
        row
        for row in sample_rows(with_context(transcripts, taxonomy.spec.context), labels)
        if row["key"] not in left_out
    ]
    is_redacted = ShardSpec(redact=bool(taxonomy.shard and taxonomy.shard.get("redact")))
    return {row["key"]: row | shared for row in redacted(rows, is_redacted)}


def _shard_faults(
    out: OutputDir,
    name: str,
    expected: Mapping[str, Mapping[str, Any]],
    is_sidecar: bool,
    recorded: Mapping[str, FileRecord],
    existing: Mapping[str, int],
) -> Iterator[tuple[str, str, str]]:
    if name not in existing:
        if expected:
            yield name, f"is missing, with {len(expected)} samples", RERUN
        return
    with _opened(out, name) as (stream, record):
        if name in recorded and record != recorded[name]:
            yield name, _change(record, recorded[name]), REMAKE
        for fault in checks.shard_faults(stream, record.bytes, expected, is_sidecar):
            yield name, fault, REMAKE


@contextlib.contextmanager
def _opened(out: OutputDir, name: str) -> Iterator[tuple[BinaryIO, FileRecord]]:
    """A file to seek in, and its record; what a store sends is copied, so that it sends it once."""
    with out.open_read(name) as source, contextlib.ExitStack() as stack:
        is_remote = storage.is_remote(out.root)
        copy = stack.enter_context(tempfile.TemporaryFile()) if is_remote else None
        record = files.stream_record(source, name, copy)
        yield copy or source, record


def _account_faults(out: OutputDir, units: Sequence[Unit], content: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    entries: dict[str | None, Mapping[str, Any]] = {None: content, **content["taxonomies"]}
    for taxonomy, entry in entries.items():
        if "accounts" not in entry:
            if taxonomy is not None:
                yield DATASET, f"has no counts of {taxonomy}", "run the command that makes it again"
            continue
        templates = [] if taxonomy is None else entry["label"]["templates"]
        hypotheses = 0 if taxonomy is None else weak_labels.hypothesis_count(entry["label"])
        try:
            counts = [count_unit(out, unit, taxonomy, "shard" in entry) for unit in units]
        except (InputError, FileNotFoundError, KeyError):  # reported with its unit
            continue
        for fault in checks.account_faults(entry["accounts"], total(counts, [], [], templates, hypotheses)):
            yield DATASET, f"{taxonomy or 'transcripts'}: {fault}", RERUN


def _table(out: OutputDir, name: str) -> pa.Table | str:
    """A table, or what is wrong with it."""
    try:
        return out.read_table(name)
    except FileNotFoundError:
        return "is missing"
    except InputError as error:
        return str(error).removeprefix(f"{out.path(name)}: ").partition(";")[0]


def _change(record: FileRecord, recorded: FileRecord) -> str:
    if record.bytes != recorded.bytes:
        return f"has {record.bytes} bytes, and {recorded.bytes} were written"
    return f"is not what was written (sha256 {record.sha256[:12]}, {recorded.sha256[:12]} in {DATASET})"


def _text(error: Exception) -> str:
    return " ".join(str(error).split())
