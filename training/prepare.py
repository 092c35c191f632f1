"""From the locations of shards to samples with their targets: corpus by corpus, then mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from lanser_ops.common.errors import InputError
from schemas.specs import ShardSpec
from schemas.taxonomy import Taxonomy
from training.labels import grouped, selected
from training.losses import TargetSpec, chosen, label_prior, make_targets
from training.mixture import SampleSet, join
from training.prosody import measure_shards, standardised
from training.qualities import QUALITIES
from training.shards import Index, Source, find_shards, read_index


@dataclass(frozen=True)
class SampleSpec:
    """Which samples are trained on and with which labels. ``groups`` is the taxonomy of ``--map``.

    ``sidecars`` are the locations of tars whose labels take the place of those in the shards.
    """

    targets: TargetSpec
    selection: ShardSpec
    groups: Taxonomy | None
    seed: int
    sidecars: tuple[str, ...] = ()


def prepare(sources: Sequence[Source], spec: SampleSpec) -> tuple[SampleSet, SampleSet | None, list[str]]:
    """The samples to train on, those to validate on, None without validation shards, and a line about each corpus.

    Each corpus has its own prior, thresholds and selection. Validation samples are labelled as the training samples of
    their corpus are, and none is left out.

    Raises InputError for shards that cannot be read, do not fit together, or cannot be used as ``spec`` says.
    """
    train, validation, lines = [], [], []
    for source in sources:
        index = _read(source, "train", spec)
        prior = label_prior(index, spec.targets)
        if spec.groups is not None and spec.groups.absence is not None and prior is None:
            raise InputError(
                f"--map {spec.groups.name}: has 'neutral: absence', and without a prior every utterance would be "
                "neutral; add --prior-strength"
            )
        choice = chosen(index, spec.targets, prior)
        subset = selected(choice, spec.selection)
        lines.append(_line(source, choice, subset))
        train.append((subset, make_targets(subset, spec.targets, prior, spec.seed)))
        if find_shards(source.locations, "val") and (not spec.sidecars or find_shards(spec.sidecars, "val")):
            heldout = _read(source, "val", spec)
            _check_alike(index, heldout)
            validation.append((heldout, make_targets(heldout, spec.targets, prior, spec.seed)))
    shares = [source.share for source in sources if source.share is not None] or None
    return (
        join([index for index, _ in train], [targets for _, targets in train], shares),
        join([index for index, _ in validation], [targets for _, targets in validation]) if validation else None,
        lines,
    )


def _read(source: Source, split: str, spec: SampleSpec) -> Index:
    """The samples of a split, under the labels that ``spec`` asks for."""
    sidecars = find_shards(spec.sidecars, split)
    if spec.sidecars and not sidecars:
        raise InputError(f"--sidecar {spec.sidecars[0]}: no {split}-*.tar; give the output of lanser relabel --sidecar")
    index = read_index(find_shards(source.locations, split), sidecars)
    return index if spec.groups is None else grouped(index, spec.groups)


def _check_alike(index: Index, validation: Index) -> None:
    """Raise InputError unless the validation shards were labelled as the training shards were."""
    for name in ("taxonomy", "labels", "scoring"):
        trained, validated = getattr(index, name), getattr(validation, name)
        if trained != validated:
            raise InputError(
                f"{validation.shards[0]}: {name} {validated}, but the training shards have {trained}; "
                "give training and validation shards of one build"
            )


def _line(source: Source, index: Index, subset: Index) -> str:
    """What is trained on of a corpus: ``subset`` of ``index``."""
    counts = np.bincount(subset.label_index, minlength=len(subset.labels)).tolist()
    labels = ", ".join(f"{label} {count}" for label, count in zip(subset.labels, counts, strict=True))
    share = "" if source.share is None else f", {100 * source.share:.3g} % of every epoch"
    return f"{' '.join(source.locations)}: {len(subset.keys)} of {len(index.keys)} samples{share}: {labels}"


def with_prosody(
    samples: SampleSet, validation: SampleSet | None, qualities: Sequence[str], folder: Path
) -> tuple[SampleSet, SampleSet | None]:
    """Both sets with ``qualities`` of their prosody as further targets, standardised over the training samples.

    What was measured is stored in ``folder``.
    """
    columns = [QUALITIES.index(quality) for quality in qualities]
    trained = measure_shards(samples.shards, samples.keys, folder / "train.npy")[:, columns]
    measured = np.where(np.isnan(trained).all(axis=0), 0.0, trained)  # a quality that no sample has
    mean, std = np.nanmean(measured, axis=0), np.nanstd(measured, axis=0)
    heldout = None
    if validation is not None:
        values = measure_shards(validation.shards, validation.keys, folder / "val.npy")[:, columns]
        heldout = _extended(validation, standardised(values, mean, std))
    return _extended(samples, standardised(trained, mean, std)), heldout


def _extended(samples: SampleSet, values: np.ndarray) -> SampleSet:
    return replace(samples, targets=torch.cat([samples.targets, torch.from_numpy(values).float()], dim=1))
