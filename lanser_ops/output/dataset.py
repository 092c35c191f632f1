"""dataset.json: the options of every stage, then counts, hours and seconds.

It is written before the work, with every option, so that a later run can tell what differs, and again after it. Each
stage has a section of its own; a stage whose section differs cannot continue from the files that exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, fields
from typing import Any

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from lanser_ops.output.dataset_format import dataset_fault
from lanser_ops.output.directory import DATASET, ROOTS, OutputDir
from schemas.records import SCHEMA_VERSION, SourceRow
from schemas.specs import LabelSpec, ModelRef, PlanSpec, ShardSpec, TranscribeSpec, context_field, source_field
from schemas.taxonomy import Label, Taxonomy


def read_dataset(out: OutputDir) -> dict[str, Any]:
    """dataset.json as a dictionary; empty if it does not exist. Raises InputError where lanser did not write it."""
    if not out.exists(DATASET):
        return {}
    path = out.path(DATASET)
    try:
        text = out.read_bytes(DATASET)
        content = json.loads(text)
        if b"\\ud" in text.lower():  # half a character, which could not be written again: a ValueError
            json.dumps(content, ensure_ascii=False).encode()
        version = content["schema_version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path}: not a dataset.json that lanser wrote; choose another --output") from None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: has schema version {version}, but this lanser reads {SCHEMA_VERSION}; choose another --output, "
            "and fill it from the shards of this one with lanser relabel --shards, which needs no audio"
        )
    if fault := dataset_fault(content):
        raise InputError(f"{path}: not as lanser wrote it ({fault}); restore it, or choose another --output")
    return content


def write_dataset(out: OutputDir, content: dict[str, Any]) -> None:
    text = json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2, ensure_ascii=False)
    out.write_bytes(DATASET, text.encode() + b"\n")


def plan_section(spec: PlanSpec, inputs: Iterable[str], sources: int, plan_sha256: str) -> dict[str, Any]:
    return {**asdict(spec), "inputs": place_names(inputs), "sources": sources, "plan_sha256": plan_sha256}


def place_names(places: Iterable[str]) -> list[str]:
    """Files, folders and patterns as outputs name them: without what only this machine has, the path to them.

    >>> place_names(["/home/me/corpus/", "/data/b/*/x.wav", "gs://bucket/corpus"])
    ['b/*/x.wav', 'corpus', 'gs://bucket/corpus']
    """
    return sorted({_place_name(storage.absolute(place)) for place in places})


def _place_name(place: str) -> str:
    if storage.is_remote(place):
        return place
    parts = place.split("/")
    patterns = [index for index, part in enumerate(parts) if any(char in part for char in "*?[")]
    return "/".join(parts[max(1, (patterns[0] if patterns else len(parts)) - 1) :])


def write_roots(out: OutputDir, roots: Sequence[str]) -> None:
    out.write_bytes(ROOTS, json.dumps(list(roots)).encode())


def read_roots(out: OutputDir) -> tuple[str, ...]:
    """The folders of the recordings, which a plan's rows index; of an output of relabel its shards, as they were given.

    Raises InputError where they are not known.
    """
    try:
        roots = json.loads(out.read_bytes(ROOTS))
    except (FileNotFoundError, ValueError, RecursionError):
        roots = None
    if not isinstance(roots, list) or not all(isinstance(root, str) for root in roots):
        raise InputError(
            f"{out.path(ROOTS)}: is missing or damaged, and with it where the audio is; "
            "run lanser transcribe with their --input"
        )
    return tuple(roots)


def recording_path(row: SourceRow, roots: Sequence[str]) -> str:
    """Where the recording of a plan's row lies. Raises InputError where ``roots`` are not those of the plan."""
    if not 0 <= row.root < len(roots):
        raise InputError(f"{ROOTS}: has no folder for {row.source}; run lanser transcribe with the --input of the plan")
    return storage.join(roots[row.root], row.path)


def transcribe_section(spec: TranscribeSpec) -> dict[str, Any]:
    fields = {**asdict(spec), "languages": list(spec.languages), "asr_model": model_entry(spec.asr_model)}
    if not spec.short_windows:  # as before there was that option
        del fields["short_windows"]
    return fields


def label_section(spec: LabelSpec) -> dict[str, Any]:
    return {
        "taxonomy": [{"name": label.name, "hypotheses": list(label.hypotheses)} for label in spec.taxonomy.labels],
        "aggregate": spec.taxonomy.aggregate,
        "templates": list(spec.templates),
        "nli_model": model_entry(spec.nli_model),
        "against": spec.against,
        "prior": spec.prior,
        "prior_strength": spec.prior_strength,
        "neutral_threshold": spec.neutral_threshold,
        **context_field(spec.context),
        **source_field(spec.label_source),
        "temperature": spec.temperature,
    }


def read_label_spec(taxonomy: str, section: dict[str, Any]) -> LabelSpec:
    """The options of a label section; the model has no path."""
    labels = tuple(Label(label["name"], tuple(label["hypotheses"])) for label in section["taxonomy"])
    options = {field.name: section[field.name] for field in fields(LabelSpec) if field.name in section}
    return LabelSpec(
        **{
            **options,
            "taxonomy": Taxonomy(taxonomy, labels, None, "", section["aggregate"]),
            "templates": tuple(section["templates"]),
            "nli_model": ModelRef(**section["nli_model"], path=""),
        }
    )


def shard_section(spec: ShardSpec) -> dict[str, Any]:
    """Options that are not given are None, as they are in an output of before there were such options."""
    options = {name: value for name, value in asdict(spec).items() if name != "speech"}
    switches = {name: getattr(spec, name) or None for name in ("agree", "redact", "sidecar")}
    return {**options, **switches, "speech_model": spec.speech and model_entry(spec.speech.model)}


def model_entry(model: ModelRef) -> dict[str, str]:
    """A model as dataset.json names it: by content, not by its path on this machine."""
    return {"id": model.id, "sha256": model.sha256}


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
        return "/".join(f"{label['name']}={','.join(label['hypotheses'])}" for label in value)[:120]
    return json.dumps(value, ensure_ascii=False)
