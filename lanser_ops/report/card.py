"""The dataset card: README.md with the metadata by which `datasets` and the Hugging Face hub load the shards.

Format: https://huggingface.co/docs/hub/datasets-cards and https://huggingface.co/docs/hub/datasets-manual-configuration
"""

from __future__ import annotations

import posixpath
from typing import Any

import pyarrow as pa
import yaml

from lanser_ops.output.directory import CARD, OutputDir
from lanser_ops.output.statistics import UNKNOWN
from lanser_ops.output.summary import statistics_by_taxonomy
from lanser_ops.report.templates import fill
from schemas.records import JSON_SCHEMA, LABEL_SCHEMA, REASONS, SPEECH_SCHEMA, TRANSCRIPT_SCHEMA

FENCE = "---\n"
# What the hub's viewer and `datasets` call the splits of the shards.
SPLITS = {"train": "train", "val": "validation"}
# Upper bounds of the hub's size categories (exclusive).
SIZES = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M", 10**7: "1M<n<10M"}
LARGEST = "10M<n<100M"


def render(out: OutputDir, content: dict[str, Any], mark: str) -> str:
    """README.md of an output directory with the given dataset.json. It names no path of this machine.

    A licence that somebody has entered in the card that exists is kept: lanser does not know that of the recordings.
    """
    sharded = sharded_taxonomies(content)
    return fill(
        "card.md",
        mark=mark,
        metadata=yaml.safe_dump(_metadata(out, content, sharded), sort_keys=False, allow_unicode=True, width=120),
        taxonomies=[_taxonomy(name, content["taxonomies"][name]) for name in sharded],
        accounts=next(iter(statistics_by_taxonomy(content).values()), None),
        origin=origin(content),
        reasons=REASONS,
    )


def sharded_taxonomies(content: dict[str, Any]) -> list[str]:
    """The taxonomies that there are samples of, in the order in which they were labelled."""
    return [name for name, statistics in statistics_by_taxonomy(content).items() if statistics["samples"]]


def origin(content: dict[str, Any]) -> dict[str, str]:
    """Where audio and transcripts come from; of paths only the last part."""
    if "unpack" in content:
        models = ", ".join(content["unpack"]["asr_models"]) or "none: transcripts came with the input"
        return {"shards": _last_parts(content["unpack"]["inputs"]), "speech recognition": models}
    asr = content["transcribe"]
    return {
        "input": _last_parts(content["plan"]["inputs"]),
        "speech recognition": f"{asr['asr_model']['id']} (sha256 {asr['asr_model']['sha256'][:12]})",
        "languages accepted": ", ".join(asr["languages"]) or "any",
    }


def label_origin(entry: dict[str, Any]) -> dict[str, str]:
    """How the labels of a taxonomy came about; ``entry`` is its section of dataset.json."""
    label = entry["label"]
    rows = {
        "labeller": f"{label['nli_model']['id']} (sha256 {label['nli_model']['sha256'][:12]})",
        "templates": " · ".join(label["templates"]),
        "against": label["against"],
        "prior": f"{label['prior']}, strength {label['prior_strength']}",
    }
    if model := entry.get("shard", {}).get("speech_model"):
        rows["speech model"] = f"{model['id']} (sha256 {model['sha256'][:12]})"
    return rows


def _last_parts(paths: list[str]) -> str:
    return ", ".join(sorted({posixpath.basename(path.rstrip("/")) or path for path in paths}))


def _taxonomy(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    statistics = entry["accounts"]
    return {
        "name": name,
        "accounts": statistics,
        "total": sum(statistics["labels"].values()),
        "splits": _splits(statistics),
        "origin": label_origin(entry),
        "sidecar": _is_sidecar(entry),
    }


def _is_sidecar(entry: dict[str, Any]) -> bool:
    """Whether the samples of a taxonomy have no audio; ``entry`` is its section of dataset.json."""
    return bool(entry.get("shard", {}).get("sidecar"))


def _splits(statistics: dict[str, Any]) -> dict[str, str]:
    """Names of the splits that have samples, by the prefix of their shards."""
    return {prefix: name for prefix, name in SPLITS.items() if statistics["splits"].get(prefix)}


def _metadata(out: OutputDir, content: dict[str, Any], sharded: list[str]) -> dict[str, Any]:
    entries = [content["taxonomies"][name] for name in sharded]
    languages = {code for entry in entries for code in entry["accounts"].get("languages", {})} - {UNKNOWN}
    samples = max((entry["accounts"]["samples"] for entry in entries), default=0)
    metadata: dict[str, Any] = {
        "pretty_name": "Speech with weak emotion labels",
        "license": _licence(out),
        "language": sorted(languages),
        "task_categories": ["audio-classification"],
        "tags": ["emotion-recognition", "speech-emotion-recognition", "weak-labels", "webdataset", "lanser"],
        "size_categories": [next((name for bound, name in SIZES.items() if samples < bound), LARGEST)],
        "configs": [_config(name, entry) for name, entry in zip(sharded, entries, strict=True)],
        "dataset_info": [
            {"config_name": name, "features": _features(entry)} for name, entry in zip(sharded, entries, strict=True)
        ],
    }
    return {key: value for key, value in metadata.items() if value}


def _config(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    """The files of a taxonomy. None of several is the default, so that nobody loads one without naming it."""
    splits = _splits(entry["accounts"])
    files = [{"split": split, "path": f"shards/{name}/{prefix}-*.tar"} for prefix, split in splits.items()]
    return {"config_name": name, "data_files": files}


def _features(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """The columns of a taxonomy's samples as `datasets.Features` are written in a card.

    ``flac`` is bytes: an Audio column can only be loaded where torchcodec and FFmpeg's libraries are installed.
    """
    fields = [*TRANSCRIPT_SCHEMA, *LABEL_SCHEMA, *SPEECH_SCHEMA, *JSON_SCHEMA]
    by_name = {field.name: {"name": field.name, **_feature(field.type)} for field in fields}
    names = {str(index): label["name"] for index, label in enumerate(entry["label"]["taxonomy"])}
    return [
        {"name": "__key__", "dtype": "string"},
        *([] if _is_sidecar(entry) else [{"name": "flac", "dtype": "binary"}]),
        {"name": "json", "struct": list(by_name.values())},
        {"name": "cls", "dtype": {"class_label": {"names": names}}},
    ]


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if not pa.types.is_list(kind):
        return {"dtype": {"float": "float32", "double": "float64"}.get(str(kind), str(kind))}
    inner = _feature(kind.value_type)
    return {"list": inner.get("dtype", inner)}


def _licence(out: OutputDir) -> str:
    """The licence in the metadata of the card that exists, ``unknown`` where there is none."""
    card = out.read_bytes(CARD).decode(errors="replace") if out.exists(CARD) else ""
    if card.startswith(FENCE):
        try:
            metadata = yaml.safe_load(card[len(FENCE) :].partition("\n" + FENCE)[0])
        except yaml.YAMLError:
            return UNKNOWN
        if isinstance(metadata, dict) and isinstance(metadata.get("license"), str):
            return metadata["license"]
    return UNKNOWN
