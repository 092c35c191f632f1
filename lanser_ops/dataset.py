"""The output directory: what its files are called, what dataset.json says, and what has changed since.

dataset.json is written before the work (every option, so that a later run can tell what differs) and
after it (counts, hours, seconds). Each stage has a section of its own; a stage whose section differs
cannot go on with the files that are there.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from lanser_ops import storage
from lanser_ops.errors import InputError
from lanser_ops.models import ModelRef
from lanser_ops.plan import PLAN_FILE, PlanOptions, Unit
from schemas.records import SCHEMA_VERSION
from schemas.taxonomy import Taxonomy

DATASET_FILE = "dataset.json"
SENTENCES_FILE = "sentences.json"
NULL_FILE = "null.parquet"
TRANSCRIPTS = "transcripts"
REJECTS = "rejects"
SCORES = "scores"
LABELS = "labels"
SHARDS = "shards"
DOCUMENTS = ("README.md", "report.html")


@dataclass(frozen=True)
class TranscribeSpec:
    """All that decides a transcript."""

    asr_model: ModelRef
    languages: tuple[str, ...]
    other_languages: str
    exact: bool
    beam_size: int
    min_duration_s: float
    max_duration_s: float | None


@dataclass(frozen=True)
class LabelSpec:
    """All that decides a label, given the transcripts.

    ``prior`` is one of `weak_labels.PRIORS`, ``against`` one of `entailment.AGAINST`.
    """

    taxonomy: Taxonomy
    templates: tuple[str, ...]
    nli_model: ModelRef
    against: str
    prior: str


@dataclass(frozen=True)
class ShardSpec:
    """Which labelled utterances are left out of the shards."""

    min_score: float = 0.0
    min_margin: float = 0.0
    keep_flagged: bool = False


def transcripts_file(unit: Unit) -> str:
    return f"{TRANSCRIPTS}/{unit.part}"


def rejects_file(unit: Unit) -> str:
    return f"{REJECTS}/{unit.part}"


def labels_file(taxonomy: str, unit: Unit) -> str:
    return f"{LABELS}/{taxonomy}/{unit.part}"


def shard_file(taxonomy: str, unit: Unit) -> str:
    return f"{SHARDS}/{taxonomy}/{unit.shard}"


def plan_section(
    options: PlanOptions, inputs: list[str], roots: tuple[str, ...], sources: int, plan_sha256: str
) -> dict[str, Any]:
    places = {"inputs": inputs, "roots": list(roots)}
    return {**asdict(options), **places, "sources": sources, "plan_sha256": plan_sha256}


def transcribe_section(spec: TranscribeSpec) -> dict[str, Any]:
    return {**asdict(spec), "languages": list(spec.languages), "asr_model": model_entry(spec.asr_model)}


def label_section(spec: LabelSpec) -> dict[str, Any]:
    return {
        "taxonomy": [asdict(label) for label in spec.taxonomy.labels],
        "templates": list(spec.templates),
        "nli_model": model_entry(spec.nli_model),
        "against": spec.against,
        "prior": spec.prior,
    }


def shard_section(spec: ShardSpec) -> dict[str, Any]:
    return asdict(spec)


def model_entry(model: ModelRef) -> dict[str, str]:
    """A model as dataset.json names it: by content, not by where it lies on this machine."""
    return {"id": model.id, "sha256": model.sha256}


def read_dataset(output: str) -> dict[str, Any]:
    """dataset.json as a dictionary; empty where there is none. Raises InputError where it is not ours."""
    path = storage.join(output, DATASET_FILE)
    if not storage.exists(path):
        return {}
    stored = storage.read_bytes(path)
    try:
        content = json.loads(stored)
        version = content["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a dataset.json that lanser wrote; choose another --output") from None
    if version != SCHEMA_VERSION:
        raise InputError(f"{path}: schema version {version}, this lanser reads {SCHEMA_VERSION}")
    return content


def write_dataset(output: str, content: dict[str, Any]) -> None:
    text = json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2, ensure_ascii=False)
    storage.write_bytes(output, DATASET_FILE, text.encode() + b"\n")


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The options of a section that differ, each with both values, for a person to read."""
    return [
        f"{name} was {_short(before.get(name))}, is now {_short(now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


def _short(value: Any) -> str:
    if isinstance(value, dict) and "id" in value:
        return f"{value['id']} (sha256 {value['sha256'][:8]})"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "/".join(f"{label['name']}={label['hypothesis']}" for label in value)[:120]
    return json.dumps(value, ensure_ascii=False)


def written_files(output: str, taxonomy: str | None, stages: set[str]) -> list[str]:
    """Every file below ``output`` that the given stages write; nothing else that lies there.

    ``stages`` holds ``plan``, ``transcribe``, ``unpack``, ``label`` or ``shard``; the last two concern ``taxonomy``, or
    all taxonomies where it is None (their transcripts are going to change).
    """
    inside = "" if taxonomy is None else f"{taxonomy}/"
    documents = [DATASET_FILE, *DOCUMENTS]
    transcripts = [f"{TRANSCRIPTS}/part-", f"{REJECTS}/part-", f"{SCORES}/"]
    prefixes = {
        "plan": [PLAN_FILE, *documents],
        "transcribe": transcripts,
        "unpack": [*documents, *transcripts],
        "label": [f"{LABELS}/{inside}"],
        "shard": [f"{SHARDS}/{inside}"],
    }
    wanted = tuple(prefix for stage in stages for prefix in prefixes[stage])
    return [path for path in storage.list_files(output) if _is_ours(path[len(output) + 1 :], wanted)]


def _is_ours(name: str, prefixes: tuple[str, ...]) -> bool:
    if not name.startswith(prefixes):
        return False
    base = name.rsplit("/", 1)[-1]
    return name in (PLAN_FILE, DATASET_FILE, *DOCUMENTS) or (
        base.startswith(("part-", "train-", "val-"))
        and base.endswith((".parquet", ".tar"))
        or base in (SENTENCES_FILE, NULL_FILE)
    )
