"""The form of dataset.json: what of it this lanser reads, and of which type. Somebody may have edited the file."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.records import REASONS
from schemas.specs import PRIORS
from schemas.taxonomy import AGGREGATES, NAME_PATTERN

# No number in dataset.json comes near; larger ones do not fit into an integer of 64 bits, or are infinite.
LARGEST = 1e18


@dataclass(frozen=True)
class Optional:
    """The form of an entry that may be absent."""

    form: Any


@dataclass(frozen=True)
class Nullable:
    """The form of a value that may be null."""

    form: Any


@dataclass(frozen=True)
class Each:
    """The form of the values of a mapping; its keys are of ``keys``, if that is given."""

    form: Any
    keys: Container[str] | None = None


class _TaxonomyNames:
    """All names of folders that a taxonomy may have: see `NAME_PATTERN`."""

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and NAME_PATTERN.fullmatch(name) is not None


# A form is a type (float admits integers), a tuple of the values that there may be, a list with the form of its items,
# a mapping with the forms of its entries, `Optional`, `Nullable` or `Each`.
_MODEL = {"id": str, "sha256": str}
_COUNTS = Each(int)
_ACCOUNTS = {
    **dict.fromkeys(("sources", "utterances", "transcripts", "labelled", "samples"), int),
    "splits": _COUNTS,
    "rejects": Each(int, REASONS),
    "labels": _COUNTS,
    "label_hours": Optional(Each(float)),
    "languages": Optional(_COUNTS),
    "hours": {"audio": float, "samples": float},
    "audio_seconds": Optional(float),
    **dict.fromkeys(("pairs", "pairs_scored"), Optional(int)),
    "seconds": Each(float),
    "template_agreement": Optional({"with_label": Each(float), "pairwise": float}),
}
_LABEL = {
    "taxonomy": [{"name": str, "hypotheses": [str]}],
    "aggregate": AGGREGATES,
    "templates": [str],
    "nli_model": _MODEL,
    "against": str,
    "prior": PRIORS,
    "prior_strength": float,
    "neutral_threshold": Optional(float),
    "temperature": Optional(float),
    "context": Optional(int),
    "label_source": Optional(str),
}
_SHARD = {
    **dict.fromkeys(("min_score", "min_margin"), float),
    **dict.fromkeys(("keep_top", "balance"), Optional(Nullable(float))),
    **dict.fromkeys(("max_repeats", "per_label"), Optional(Nullable(int))),
    **dict.fromkeys(("agree", "redact", "sidecar"), Optional(Nullable(bool))),
    "speech_model": Optional(Nullable(_MODEL)),
}
_TAXONOMY = {"label": Optional(_LABEL), "shard": Optional(_SHARD), "accounts": Optional(_ACCOUNTS)}
_PLAN = {
    "num_shards": Nullable(int),
    **dict.fromkeys(("shard_size_mb", "val_fraction"), float),
    "inputs": [str],
    "sources": int,
    "plan_sha256": str,
}
FORM = {
    "schema_version": int,
    "plan": Optional(_PLAN),
    "transcribe": Optional({"asr_model": _MODEL, "languages": [str], "short_windows": Optional(bool)}),
    "unpack": Optional({"inputs": [str], "tars": int, "asr_models": [str], "sha256": str}),
    "taxonomies": Optional(Each(_TAXONOMY, _TaxonomyNames())),
    "accounts": Optional(_ACCOUNTS),
    "files": Optional(Each({"bytes": int, "sha256": str})),
}


def dataset_fault(content: Any) -> str | None:
    """What of dataset.json's ``content`` readers would stumble over; None if there is nothing."""
    return form_fault(content, FORM) or _first(
        _counts_fault(entry, f"taxonomies.{name}") for name, entry in content.get("taxonomies", {}).items()
    )


def _counts_fault(entry: Mapping[str, Any], place: str) -> str | None:
    """Counts of a taxonomy come with its options, and count labels that it has."""
    if "accounts" not in entry:
        return None
    if "label" not in entry:
        return f"{place} has accounts and no 'label'"
    counts = entry["accounts"]["labels"]
    if others := sorted(counts.keys() - {label["name"] for label in entry["label"]["taxonomy"]}):
        return f"{place}.accounts.labels has {_shown(others[0])}, which is not a label of it"
    if others := sorted(counts.keys() - entry["accounts"].get("label_hours", counts).keys()):
        return f"{place}.accounts.label_hours has no {_shown(others[0])}"
    return None


def form_fault(value: Any, form: Any, place: str = "") -> str | None:
    """What of ``value``, which was read from JSON, is not of ``form``; None if all of it is.

    >>> form_fault({"plan": {"num_shards": "4"}}, {"plan": {"num_shards": Nullable(int)}})
    "plan.num_shards is '4'"
    >>> form_fault({"files": {}}, {"files": Each(int), "plan": {}})
    "there is no 'plan'"
    """
    if isinstance(form, Optional):
        return form_fault(value, form.form, place)
    if isinstance(form, Nullable):
        return None if value is None else form_fault(value, form.form, place)
    if isinstance(form, Each) and isinstance(value, dict):
        unknown = next((key for key in value if form.keys is not None and key not in form.keys), None)
        if unknown is not None:
            return f"{place} has {_shown(unknown)}, which this lanser does not know"
        return _first(form_fault(inner, form.form, _joined(place, key)) for key, inner in value.items())
    if isinstance(form, Mapping) and isinstance(value, dict):
        missing = next((key for key in form if key not in value and not isinstance(form[key], Optional)), None)
        if missing is not None:
            return f"{place + ' has' if place else 'there is'} no {missing!r}"
        return _first(form_fault(value[key], form[key], _joined(place, key)) for key in form if key in value)
    if isinstance(form, list) and isinstance(value, list):
        return _first(form_fault(item, form[0], f"{place}[{index}]") for index, item in enumerate(value))
    kinds = (int, float) if form is float else (form,)
    is_value = isinstance(form, tuple) and value in form
    if is_value or (type(value) in kinds and (type(value) not in (int, float) or abs(value) < LARGEST)):
        return None
    return f"{place or 'all of it'} is {_shown(value)}"


def _first(faults: Iterable[str | None]) -> str | None:
    return next((fault for fault in faults if fault), None)


def _joined(place: str, key: str) -> str:
    shown = key if key.isprintable() else ascii(key)
    return f"{place}.{shown[:60]}" if place else shown[:60]


def _shown(value: Any) -> str:
    return ascii(value)[:60]
