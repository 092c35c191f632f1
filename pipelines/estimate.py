"""What a job will take, from what is left to do and a trial on a sample: arithmetic alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.estimate_options import DryRun
from pipelines.trial import Trial

# Requests to a store, (reads, others), as `python benchmarks/scale.py requests` counts them on GCS: for a recording
# each time that a stage reads its audio, for a unit, for a job. Listings are among the reads.
PER_READING = (1, 0)
PER_UNIT = (57, 31)
PER_JOB = (54, 40)
# Which stage writes the files of a folder.
WRITERS = {
    "transcripts": ("transcribe", "unpack"),
    "rejects": ("transcribe", "unpack"),
    "speech": ("speech",),
    "scores": ("score",),
    "labels": ("label",),
    "shards": ("shard",),
}
# Stages that read the audio of every recording.
READERS = ("transcribe", "speech", "shard")


@dataclass(frozen=True)
class Work:
    """What is left to do. All sequences are by unit.

    ``pieces`` says how many pieces of the sample's kind each unit has, ``recordings`` how many files; ``missing`` is
    the share of the hypotheses that have no scores yet. ``left`` has the units that each stage still has to do.
    """

    pieces: Sequence[float]
    recordings: Sequence[int]
    missing: Sequence[float]
    left: Mapping[str, Sequence[int]]

    @property
    def units(self) -> int:
        """How many units have anything left to do."""
        return len({unit for units in self.left.values() for unit in units})


@dataclass(frozen=True)
class Machines:
    """``workers`` processes of ``threads`` threads; ``cores`` of the one machine that they share, None if each has its
    own."""

    workers: int
    threads: int
    cores: int | None

    @property
    def count(self) -> int:
        return 1 if self.cores else self.workers


@dataclass(frozen=True)
class Estimate:
    """``seconds`` of all workers together, by stage; ``wall_s`` from start to end; ``sizes`` in bytes, by folder.

    ``requests`` are (reads, others).
    """

    audio_s: float
    pairs: int
    seconds: dict[str, float]
    wall_s: float
    machine_hours: float
    sizes: dict[str, int]
    requests: tuple[int, int]


def estimate(
    work: Work, trial: Trial, machines: Machines, given: DryRun, stores: tuple[bool, bool], launch_s: float
) -> Estimate:
    """The time, disk space and requests of a job.

    ``stores`` says whether the input and the output lie in a store; ``launch_s`` is what the job takes before its
    models are loaded. Units are dealt to workers as wholes, and more threads than cores gain nothing.
    """
    left = {stage: sum(work.pieces[unit] for unit in units) for stage, units in work.left.items()}
    per_piece = 1 / max(1, trial.pieces)
    seconds = {stage: trial.seconds.get(stage, 0.0) * per_piece * pieces for stage, pieces in left.items()}
    audio_s = trial.audio_s * per_piece * left.get("transcribe", 0.0)
    if given.audio_rate and "transcribe" in left:
        seconds["transcribe"] += audio_s / given.audio_rate
    transcripts = trial.transcripts * per_piece
    texts = sum(
        different(trial, transcripts * work.pieces[unit]) * work.missing[unit] for unit in work.left.get("score", ())
    )
    pairs = texts * trial.pairs / max(1, trial.scored)
    if given.pair_rate:
        seconds["score"] = seconds.get("score", 0.0) + pairs / given.pair_rate
    elif trial.pairs:
        seconds["score"] = pairs * trial.seconds["score"] / trial.pairs
    units = max(1, work.units)
    share = math.ceil(units / machines.workers) / units
    crowding = max(1.0, min(machines.workers, units) * machines.threads / (machines.cores or math.inf))
    loading_s = sum(spent for stage, spent in trial.loading_s.items() if work.left.get(stage))
    wall_s = launch_s + loading_s + sum(seconds.values()) * share * crowding
    return Estimate(
        audio_s=audio_s,
        pairs=round(pairs),
        seconds=seconds,
        wall_s=wall_s,
        machine_hours=wall_s * machines.count / 3600,
        sizes={
            folder: round(size * per_piece * sum(left.get(stage, 0.0) for stage in WRITERS[folder]))
            for folder, size in trial.sizes.items()
            if folder in WRITERS
        },
        requests=requests(work, stores),
    )


def different(trial: Trial, transcripts: float) -> float:
    """How many different texts a unit of ``transcripts`` has: the labeller scores equal ones once.

    Beyond the sample each further transcript is new with the probability that Good and Turing give (Good, Biometrika
    40, 1953): the share of the sample's texts that occur once.
    """
    if not trial.transcripts or transcripts <= trial.transcripts:
        return transcripts * trial.texts / max(1, trial.transcripts)
    return trial.texts + (transcripts - trial.transcripts) * trial.single / trial.transcripts


def requests(work: Work, stores: tuple[bool, bool]) -> tuple[int, int]:
    """(reads, others) of a job whose input, and whose output, lies in a store, as ``stores`` says."""
    of_input, of_output = stores
    readings = sum(work.recordings[unit] for stage in READERS for unit in work.left.get(stage, ()))
    times = (readings * of_input, work.units * of_output, of_output)
    reads, others = (
        sum(count * cost for count, cost in zip(times, costs, strict=True))
        for costs in zip(PER_READING, PER_UNIT, PER_JOB, strict=True)
    )
    return reads, others
