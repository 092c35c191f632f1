"""dataset.json: the options of every stage, then counts, hours and seconds.

It is written before the work, with every option, so that a later run can tell what differs, and again after it. Each
stage has a section of its own; a stage whose section differs cannot continue from the files that exist.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from lanser_ops.common.errors import InputError
from lanser_ops.output.directory import DATASET, OutputDir
from schemas.records import SCHEMA_VERSION
from schemas.specs import LabelSpec, ModelRef, PlanSpec, ShardSpec, TranscribeSpec, context_field, source_field


def read_dataset(out: OutputDir) -> dict[str, Any]:
    """dataset.json as a dictionary; empty if it does not exist. Raises InputError where lanser did not write it."""
    if not out.exists(DATASET):
        return {}
    path = out.path(DATASET)
    try:
        content = json.loads(out.read_bytes(DATASET))
        version = content["schema_version"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not a dataset.json that lanser wrote; choose another --output") from None
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{path}: has schema version {version}, but this lanser reads {SCHEMA_VERSION}; choose another --output, "
            "and fill it from the shards of this one with lanser relabel --shards, which needs no audio"
        )
    return content


def write_dataset(out: OutputDir, content: dict[str, Any]) -> None:
    text = json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2, ensure_ascii=False)
    out.write_bytes(DATASET, text.encode() + b"\n")


def plan_section(
    spec: PlanSpec, inputs: list[str], roots: tuple[str, ...], sources: int, plan_sha256: str
) -> dict[str, Any]:
    places = {"inputs": inputs, "roots": list(roots)}
    return {**asdict(spec), **places, "sources": sources, "plan_sha256": plan_sha256}


def transcribe_section(spec: TranscribeSpec) -> dict[str, Any]:
    return {**asdict(spec), "languages": list(spec.languages), "asr_model": model_entry(spec.asr_model)}


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


def shard_section(spec: ShardSpec) -> dict[str, Any]:
    """Options that are not given are None, as they are in an output of before there were such options."""
    fields = {name: value for name, value in asdict(spec).items() if name != "speech"}
    return {**fields, "agree": spec.agree or None, "speech_model": spec.speech and model_entry(spec.speech.model)}


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
