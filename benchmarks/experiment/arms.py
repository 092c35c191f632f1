"""The commands of the experiment: shards, the choice of the weak labels, and every arm of every network."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.experiment.jobs import Job
from benchmarks.experiment.protocol import (
    ALL_SHARES,
    FOLDS,
    FROZEN,
    GOEMOTIONS,
    SHARES,
    VARIANTS,
    WHISPER,
    Arm,
    Network,
)
from lanser_ops.common.errors import InputError
from training.corpora.read import read_corpus

CHOICE_SHARE, CHOICE_SEEDS, CHOICE_FOLDS = "0.25", ("0", "1", "2"), "5"
ZERO_SHOT_MAP = Path(__file__).parents[2] / "examples" / "goemotions-ekman.yaml"


@dataclass(frozen=True)
class Places:
    """``shards`` by taxonomy, the folder of RAVDESS, and the folder that everything is written to."""

    shards: dict[str, Path]
    ravdess: Path
    work: Path

    @property
    def training_speakers(self) -> Path:
        """The CSV of the training speakers of the first fold."""
        return self.work / "training-speakers.csv"

    @property
    def frozen_cache(self) -> tuple[str, ...]:
        return ("--frozen", "--cache", str(self.work / "features"))


def shard_jobs(speech: Path, clips: int | None, work: Path, taxonomies: Sequence[str]) -> list[Job]:
    """A build of ``speech``, of which ``clips`` files are used, and relabelling for every further taxonomy."""
    first, *others = taxonomies
    folder = work / "shards" / first
    source = speech if clips is None else write_manifest(speech, clips, work / "speech.csv")
    jobs = [Job(folder, ("build", "--input", str(source), "--output", str(folder), "--taxonomy", first))]
    for name in others:
        output = work / "shards" / name
        arguments = ("relabel", "--shards", str(folder), "--output", str(output), "--taxonomy", name)
        jobs.append(Job(output, arguments))
    return jobs


def write_manifest(speech: Path, clips: int, path: Path) -> Path:
    """Write a manifest of ``clips`` audio files of ``speech``, at equal distances in the order of their names."""
    files = sorted(file for file in speech.resolve().rglob("*") if file.suffix.lower() in (".wav", ".flac", ".ogg"))
    if not files:
        raise InputError(f"{speech}: no .wav, .flac or .ogg files; give the folder of unlabelled speech")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path"])
        writer.writerows([str(file)] for file in files[:: max(1, len(files) // clips)][:clips])
    return path


def write_training_speakers(places: Places) -> None:
    """Write the clips of the training speakers of the first fold, with labels relative to RAVDESS' folder."""
    corpus = read_corpus("ravdess", str(places.ravdess), None)
    places.work.mkdir(parents=True, exist_ok=True)
    with places.training_speakers.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "speaker"])
        for row in corpus.utterances:
            if row.group not in corpus.emobox[0]:
                writer.writerow([row.path.relative_to(places.ravdess), row.label, row.group])


def running(network: Network) -> tuple[str, ...]:
    """The options that put ``network`` on its device and turn trackers off."""
    return "--device", network.device, "--tracker"


def pretrain_job(network: Network, arm: Arm, seed: int, places: Places) -> Job:
    """Pre-training of an arm that has any."""
    assert arm.taxonomy is not None
    output = places.work / "pretrain" / network.folder / arm.folder / str(seed)
    trained = places.frozen_cache if network.trained == ("--frozen",) else network.trained
    arguments = ("pretrain", "--shards", str(places.shards[arm.taxonomy]), "--output", str(output), *network.model)
    arguments += (*trained, *network.pretrain, *arm.options, "--seed", str(seed), "--resume", "--log-every", "50")
    return Job(output, (*arguments, *running(network)))


def start(network: Network, arm: Arm, seed: int, places: Places) -> tuple[str, ...]:
    """What `lanser finetune` starts from."""
    if arm.taxonomy is None:
        return network.plain
    return ("--checkpoint", str(pretrain_job(network, arm, seed, places).output))


def finetune_jobs(network: Network, arm: Arm, seed: int, places: Places, shares: Sequence[float]) -> list[Job]:
    """Fine-tuning of one seed: a single command, or one per share where the steps depend on the share."""
    trained = places.frozen_cache if network.trained == ("--frozen",) else network.trained
    common = ("finetune", *start(network, arm, seed, places), *trained, *network.finetune)
    common += ("--data", "ravdess", "--root", str(places.ravdess), "--folds", FOLDS, "--no-export")
    folder = places.work / "finetune" / network.folder / arm.folder / str(seed)
    seeds = ("--seeds", str(seed), *running(network))
    if network.steps is None:
        fractions = ("--label-fraction", *map(str, shares))
        return [Job(folder, (*common, *fractions, *seeds, "--output", str(folder)))]
    jobs = []
    for share in shares:
        steps = ("--label-fraction", str(share), "--steps", str(round(network.steps * share)))
        output = folder / str(share)
        jobs.append(Job(output, (*common, *steps, *seeds, "--output", str(output))))
    return jobs


def arm_jobs(
    network: Network, arms: Sequence[Arm], seeds: Sequence[int], places: Places, shares: Sequence[float] = SHARES
) -> list[Job]:
    """All arms of a network, ordered by seed, so that an experiment that is stopped has run all arms equally often."""
    jobs: list[Job] = []
    for seed in seeds:
        for arm in arms:
            if arm.taxonomy is not None:
                jobs.append(pretrain_job(network, arm, seed, places))
            jobs += finetune_jobs(network, arm, seed, places, shares)
    return jobs


def choice_jobs(network: Network, places: Places) -> dict[str, list[Job]]:
    """For every variant of the weak labels, pre-training and fine-tuning within the training speakers."""
    jobs = {}
    for arm in VARIANTS:
        pretraining = pretrain_job(network, arm, 0, places)
        output = places.work / "choice" / arm.folder
        arguments = ("finetune", *start(network, arm, 0, places), *places.frozen_cache)
        arguments += ("--data", str(places.training_speakers), "--root", str(places.ravdess), "--folds", CHOICE_FOLDS)
        arguments += ("--label-fraction", CHOICE_SHARE, "--no-export", "--seeds", *CHOICE_SEEDS, *running(network))
        jobs[arm.name] = [pretraining, Job(output, (*arguments, "--output", str(output)))]
    return jobs


def shipped_job(places: Places) -> Job:
    """The frozen Whisper encoder with the shipped defaults, features included."""
    output = places.work / "shipped"
    arguments = ("finetune", *WHISPER, "--frozen", "--data", "ravdess", "--root", str(places.ravdess))
    arguments += ("--folds", FOLDS, "--label-fraction", *map(str, ALL_SHARES), "--no-export", "--output", str(output))
    return Job(output, (*arguments, *running(FROZEN)))


def zero_shot_job(network: Network, arm: Arm, seed: int, places: Places) -> Job:
    """The weak labels of ``arm`` alone, on the emotions that RAVDESS shares with them."""
    output = places.work / "zero-shot" / network.folder / arm.folder / str(seed)
    (checkpoint,) = start(network, arm, seed, places)[1:]
    arguments = ("evaluate", "--checkpoint", checkpoint, "--data", "ravdess", "--root", str(places.ravdess))
    if arm.taxonomy == GOEMOTIONS and "--map" not in arm.options:
        arguments += ("--map", str(ZERO_SHOT_MAP))
    cache = places.frozen_cache[1:] if network.trained == ("--frozen",) else ()
    return Job(output, (*arguments, *cache, "--device", network.device, "--output", str(output)))
