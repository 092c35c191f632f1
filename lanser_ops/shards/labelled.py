"""The weak labels of a set of shards, from their JSON alone: what people draw from, and what they correct."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import orjson

from lanser_ops import storage, tar
from lanser_ops.common.errors import InputError
from lanser_ops.common.progress import tracked
from lanser_ops.output.directory import OutputDir
from lanser_ops.shards.read import KEY
from lanser_ops.shards.relabel import tar_sizes
from lanser_ops.tar import BrokenTar, Member
from schemas.calibration import FittedOn
from schemas.specs import MAX_JSON_BYTES

MEMBER = re.compile(rf"({KEY.pattern})\.(flac|json)")
# Fields of a sample that are read here, beside its lists.
TEXTS = ("taxonomy", "nli_model", "nli_sha256", "against", "prior")
NUMBERS = ("score", "margin", "prior_strength", "neutral_threshold", "temperature")


@dataclass(frozen=True)
class Scoring:
    """How the labels of the shards were chosen; ``absence`` is the index of the label without hypotheses."""

    fitted_on: FittedOn
    absence: int | None
    prior: str
    prior_strength: float
    neutral_threshold: float
    temperature: float


@dataclass(frozen=True)
class LabelledSample:
    """A weak label, and where its audio lies: ``flac_bytes`` at ``flac_offset`` of the tar ``path``.

    ``entailment`` is float32 (labels,), never corrected; ``flagged`` says whether the transcript is in doubt. ``text``
    is None where the shard was written with --redact.
    """

    key: str
    text: str | None
    label_index: int
    score: float
    margin: float
    flagged: bool
    entailment: np.ndarray
    path: str
    flac_offset: int
    flac_bytes: int


def read_labelled_samples(directory: str, taxonomy: str | None) -> tuple[Scoring, list[LabelledSample]]:
    """All samples, in key order, of the shards in ``directory``, an output directory or a folder of shards.

    ``taxonomy`` names the one to read where an output directory has several.

    Raises InputError, one line, where there are no shards, several sets of them, or samples that lanser did not write.
    """
    out = OutputDir(storage.absolute(directory))
    folder = out.path(out.shards(taxonomy)) if taxonomy else out.root
    samples: dict[str, LabelledSample] = {}
    scorings: set[Scoring] = set()
    paths = sorted(tar_sizes(folder, folder))
    for path in tracked(paths, len(paths), "reading shards"):
        for scoring, sample in _samples(path):
            scorings.add(scoring)
            if len(scorings) > 1:
                raise InputError(f"{path}: its labels were chosen with other options than those before; relabel them")
            if sample.key in samples:
                raise InputError(
                    f"{path}: {sample.key} is also in {samples[sample.key].path}; name the shards of one build"
                )
            samples[sample.key] = sample
    if not samples:
        raise InputError(f"{folder}: the shards have no samples")
    return scorings.pop(), [samples[key] for key in sorted(samples)]


def _samples(path: str) -> Iterator[tuple[Scoring, LabelledSample]]:
    """The samples of a tar. Raises InputError for what is not a shard of this lanser."""
    flacs: dict[str, Member] = {}
    name = path
    try:
        with storage.open_read(path) as stream:
            for member in tar.read_members(stream):
                matched = MEMBER.fullmatch(member.name)
                if matched and matched[2] == "flac":
                    flacs[matched[1]] = member
                elif matched:
                    name = f"{path}: {member.name}"
                    fields = orjson.loads(tar.read_content(stream, member, MAX_JSON_BYTES))
                    if matched[1] not in flacs:
                        raise InputError(f"{name}: has no audio beside it; a sidecar is read beside its shards")
                    yield _scoring(fields), _sample(fields, path, matched[1], flacs[matched[1]])
    except InputError:
        raise
    except (BrokenTar, OSError, KeyError, TypeError, ValueError) as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise InputError(f"{name}: not a weak label of this lanser ({reason}); relabel the shards") from None


def _scoring(fields: dict[str, Any]) -> Scoring:
    """Raises KeyError, TypeError or ValueError for a field that is not as this lanser writes it."""
    lists = {name: tuple(fields[name]) for name in ("labels", "templates")}
    if not all(isinstance(text, str) for text in (*chain(*lists.values()), *(fields[name] for name in TEXTS))):
        raise ValueError("a name is not a text")
    numbers = {name: float(fields[name]) for name in NUMBERS}
    if not np.isfinite(list(numbers.values())).all() or numbers["temperature"] <= 0:
        raise ValueError("a number is out of range")
    fitted_on = FittedOn(
        taxonomy=fields["taxonomy"],
        labels=lists["labels"],
        templates=lists["templates"],
        nli_model=fields["nli_model"],
        nli_sha256=fields["nli_sha256"],
        against=fields["against"],
    )
    hypotheses = list(fields["hypotheses"])
    return Scoring(
        fitted_on,
        absence=hypotheses.index([]) if [] in hypotheses else None,
        prior=fields["prior"],
        prior_strength=numbers["prior_strength"],
        neutral_threshold=numbers["neutral_threshold"],
        temperature=numbers["temperature"],
    )


def _sample(fields: dict[str, Any], path: str, key: str, flac: Member) -> LabelledSample:
    """Raises KeyError, TypeError or ValueError for a field that is not as this lanser writes it."""
    if not isinstance(fields["text"], str | None):
        raise ValueError("its text is not a text")
    labels = len(fields["labels"])
    entailment = np.array(fields["entailment"], np.float32)
    if entailment.shape != (labels,) or not ((entailment >= 0) & (entailment <= 1)).all():
        raise ValueError("not one score from 0 to 1 for each label")
    return LabelledSample(
        key=key,
        text=fields["text"],
        label_index=range(labels).index(fields["label_index"]),
        score=float(fields["score"]),
        margin=float(fields["margin"]),
        flagged=bool(fields["flags"]),
        entailment=entailment,
        path=path,
        flac_offset=flac.offset,
        flac_bytes=flac.size,
    )
