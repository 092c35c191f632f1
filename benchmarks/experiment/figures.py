"""Figures and differences of the experiment, from the predictions that its jobs have left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.experiment.arms import Places, finetune_jobs, zero_shot_job
from benchmarks.experiment.jobs import Job, is_done
from benchmarks.experiment.protocol import SHARES, Arm, Network
from schemas.metrics import confusion
from training.predictions import Prediction, read_predictions
from training.statistics import Comparison, Interval, compare, intervals


@dataclass(frozen=True)
class Difference:
    """An arm minus another one in UA, at one share of the labels, by ``seeds`` pre-training seeds."""

    network: str
    baseline: str
    share: float
    ua: Interval
    seeds: int


def predictions_of(network: Network, arm: Arm, seeds: Sequence[int], places: Places) -> dict[int, list[Prediction]]:
    """The predictions of every seed that is done."""
    by_seed = {}
    for seed in seeds:
        jobs = finetune_jobs(network, arm, seed, places, SHARES)
        if is_done(jobs):
            by_seed[seed] = [row for job in jobs for row in read_predictions(job.output)]
    return by_seed


def zero_shot_predictions(
    network: Network, arm: Arm, seeds: Sequence[int], places: Places
) -> dict[int, list[Prediction]]:
    """As `predictions_of`; `lanser evaluate` knows nothing of the seed of what it evaluates."""
    by_seed = {}
    for seed in seeds:
        job = zero_shot_job(network, arm, seed, places)
        if job.seconds() is not None:
            by_seed[seed] = [replace(row, seed=seed) for row in read_predictions(job.output)]
    return by_seed


def paired(arm: dict[int, list[Prediction]], baseline: dict[int, list[Prediction]]) -> list[Comparison]:
    """The comparison at every share, over the seeds that both arms have; empty without any."""
    seeds = sorted(arm.keys() & baseline.keys())
    if not seeds:
        return []
    return compare(*([row for seed in seeds for row in side[seed]] for side in (arm, baseline)))


def ua_by_share(by_seed: dict[int, list[Prediction]]) -> dict[float, Interval]:
    """UA at every share, with its interval."""
    rows = [row for seed in by_seed for row in by_seed[seed]]
    shares = sorted({row.fraction for row in rows})
    return {share: intervals([row for row in rows if row.fraction == share])["ua"] for share in shares}


def confusion_at(by_seed: dict[int, list[Prediction]], share: float) -> tuple[np.ndarray, list[str]]:
    """The confusion matrix of all seeds at ``share``, int64 (labels, labels), and the labels."""
    rows = [row for seed in by_seed for row in by_seed[seed] if row.fraction == share]
    labels = list(rows[0].probabilities)
    gold, predicted = ([labels.index(getattr(row, name)) for row in rows] for name in ("gold", "predicted"))
    return confusion(gold, predicted, len(labels)), labels


def cpu_minutes(jobs: Sequence[Job]) -> float:
    """The CPU time of those ``jobs`` that are done, in minutes."""
    return sum(job.seconds() or 0.0 for job in jobs) / 60
