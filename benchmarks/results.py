"""The experiment of docs/results.md: does pre-training on labels from text help a model hear emotion?

    python -m benchmarks.results --speech SPEECH --ravdess RAVDESS --work out/results --write docs/results.md

Builds weak-label shards of the unlabelled SPEECH, pre-trains every arm on them, fine-tunes each on shares of
RAVDESS' labels in speaker-independent folds, probes what was learned, and writes tables and the curve into the
marked blocks of a document. Every step is a `lanser` command with an output of its own: what is there is not
done again, so the experiment can be stopped and taken up at any time. Jobs run side by side, a thread each. With -m,
since next to this script benchmarks/training.py would hide the package.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from training.finetune import summarise

BACKBONE = "resnet10-quarter"
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
SEEDS = (0, 1, 2)
LABELLED = ("--against", "all")  # docs/labels.md says why
# Chosen on the first fold's training speakers: docs/results.md says what else was tried there.
PRETRAIN = ("--backbone", BACKBONE, "--epochs", "12", "--crop-s", "1", "--no-augment", "--precision", "bf16")
PRETRAIN += ("--in-process", "--checkpoint-every", "500")
LABELS = ("--data", "ravdess", "--folds", "6")
EVALUATE = (*LABELS, "--no-export", "--device", "cpu")
FINETUNE = ("--steps", "200", "--lr", "2e-3", "--precision", "bf16")
SHARES = ("--label-fraction", *map(str, FRACTIONS))
ALL_SEEDS = ("--seeds", *map(str, SEEDS))
TOLD, LOG, RESULTS = "job.json", "log.txt", "results.json"
BLOCK = re.compile(r"(<!-- (\w+): made by benchmarks/results.py -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Arm:
    """How a network comes to fine-tuning; without ``taxonomy`` it has seen nothing before."""

    name: str
    taxonomy: str | None = None
    pretrain: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return re.sub(r"\W+", "-", self.name)


SCRATCH = Arm("from scratch")
CORRECTED = ("--prior-correction", "--margin-weighting")
ARMS = (
    SCRATCH,
    Arm("ekman, hard", "ekman", ("--labels", "hard", *CORRECTED)),
    Arm("ekman, soft", "ekman", ("--labels", "soft", *CORRECTED)),
    Arm("goemotions, hard", "goemotions", ("--labels", "hard", *CORRECTED)),
    Arm("goemotions, soft", "goemotions", ("--labels", "soft", *CORRECTED)),
    Arm("goemotions, hard, shuffled", "goemotions", ("--labels", "hard", *CORRECTED, "--shuffle-labels")),
)
# The other control is heard on the frozen network alone, where it takes a minute.
FROZEN_ARMS = (
    *ARMS,
    Arm("goemotions, soft, shuffled", "goemotions", ("--labels", "soft", *CORRECTED, "--shuffle-labels")),
)


@dataclass(frozen=True)
class Job:
    """A `lanser` command, whose last step writes into ``output``."""

    output: Path
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        return shlex.join(["lanser", *self.arguments])

    def told(self) -> dict:
        """``done`` and the ``seconds`` it took, over all tries; of another command there is nothing to be told."""
        path = self.output / TOLD
        told = json.loads(path.read_text()) if path.exists() else {}
        return told if told.get("command") == self.command else {"command": self.command, "seconds": 0.0, "done": False}


def run_all(jobs: Sequence[Job], at_once: int) -> None:
    """Run what has not been done yet. A job that fails ends the experiment, after those beside it."""
    waiting = [job for job in jobs if not job.told()["done"]]
    with ThreadPoolExecutor(at_once) as pool:
        for number, _ in enumerate(pool.map(run_one, waiting), 1):
            print(f"{number} of {len(waiting)} done: {waiting[number - 1].command}", flush=True)


def run_one(job: Job) -> None:
    """Run ``job`` with one thread, or take it up; what it took so far is added up beside its output."""
    job.output.mkdir(parents=True, exist_ok=True)
    told, start = job.told(), time.monotonic()
    with (job.output / LOG).open("a") as log:
        command = [sys.executable, "-m", "lanser_ops", *job.arguments]
        done = subprocess.run(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=False)
    told |= {"seconds": told["seconds"] + time.monotonic() - start, "done": done.returncode == 0}
    (job.output / TOLD).write_text(json.dumps(told))
    if done.returncode:
        raise SystemExit(f"{job.command}: failed; {job.output / LOG} says why")


def shard_jobs(speech: str, work: Path) -> list[Job]:
    """One build, and relabelling for every further taxonomy."""
    taxonomies = list(dict.fromkeys(arm.taxonomy for arm in ARMS if arm.taxonomy))
    first = work / "shards" / taxonomies[0]
    given = ("build", "--input", speech, "--output", str(first), "--taxonomy", first.name, *LABELLED)
    jobs = [Job(first, given)]
    for name in taxonomies[1:]:
        output = work / "shards" / name
        given = ("relabel", "--shards", str(first), "--output", str(output), "--taxonomy", name, *LABELLED)
        jobs.append(Job(output, given))
    return jobs


def pretrain_jobs(work: Path) -> list[Job]:
    jobs = []
    for arm in (arm for arm in FROZEN_ARMS if arm.taxonomy):
        output = work / "pretrain" / arm.folder
        given = ("pretrain", "--shards", str(work / "shards" / arm.taxonomy), "--output", str(output))
        jobs.append(Job(output, (*given, *PRETRAIN, *arm.pretrain, "--resume", "--device", "cpu")))
    return jobs


def start(arm: Arm, work: Path) -> tuple[str, ...]:
    """Where ``arm`` begins to learn from human labels."""
    return ("--checkpoint", str(work / "pretrain" / arm.folder)) if arm.taxonomy else ("--from-scratch", BACKBONE)


def finetune_jobs(ravdess: str, work: Path) -> list[tuple[Arm, Job]]:
    """Seed by seed, so that an experiment that is stopped has compared all arms as often."""
    jobs = []
    for seed in SEEDS:
        for arm in ARMS:
            output = work / "finetune" / arm.folder / str(seed)
            given = ("finetune", *start(arm, work), *FINETUNE, *EVALUATE, "--root", ravdess, *SHARES)
            jobs.append((arm, Job(output, (*given, "--seeds", str(seed), "--output", str(output)))))
    return jobs


def frozen_jobs(ravdess: str, work: Path) -> list[tuple[Arm, Job]]:
    """A linear classifier on every arm's network as it is; from scratch, on an untrained one."""
    jobs = []
    for arm in FROZEN_ARMS:
        output = work / "frozen" / arm.folder
        given = ("finetune", *start(arm, work), "--frozen", *EVALUATE, "--root", ravdess, *SHARES, *ALL_SEEDS)
        jobs.append((arm, Job(output, (*given, "--output", str(output)))))
    return jobs


def default_job(ravdess: str, work: Path) -> Job:
    """From scratch with the shipped defaults, at all labels."""
    given = ("finetune", "--from-scratch", "resnet10-half", "--precision", "bf16", *EVALUATE, "--root", ravdess)
    return Job(work / "defaults", (*given, "--output", str(work / "defaults")))


def probe_job(ravdess: str, work: Path) -> Job:
    checkpoints = [str(work / "pretrain" / arm.folder) for arm in FROZEN_ARMS if arm.taxonomy]
    given = ("probe", "--checkpoint", *checkpoints, *LABELS, "--root", ravdess)
    return Job(work / "probe", (*given, *ALL_SEEDS, "--output", str(work / "probe"), "--device", "cpu"))


Curve = dict[str, dict[float, tuple[float, float]]]


def curves(jobs: Sequence[tuple[Arm, Job]]) -> Curve:
    """Mean and standard deviation over seeds of UA, by arm and share of the labels, of all runs of the arm's jobs."""
    runs: dict[str, list[dict]] = {}
    for arm, job in jobs:
        runs.setdefault(arm.name, []).extend(json.loads((job.output / RESULTS).read_text())["runs"])
    return {
        name: {row["fraction"]: (row["ua_mean"], row["ua_std"]) for row in summarise(found)}
        for name, found in runs.items()
    }


def curve_table(found: Curve) -> str:
    lines = ["| arm | " + " | ".join(f"{share:.0%}" for share in FRACTIONS) + " |", "|---" * (len(FRACTIONS) + 1) + "|"]
    for name, by_share in found.items():
        cells = (f"{100 * mean:.1f} ± {100 * std:.1f}" for mean, std in by_share.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def probe_table(probe: Job) -> str:
    told = json.loads((probe.output / "probe.json").read_text())["representations"]
    names = {str(probe.output.parent / "pretrain" / arm.folder): arm.name for arm in FROZEN_ARMS}
    qualities = list(next(iter(told.values())))
    lines = [
        "| representation | " + " | ".join(qualities).replace("_", " ") + " |",
        "|---" * (len(qualities) + 1) + "|",
    ]
    for name, by_quality in told.items():
        cells = (f"{one['mean']:.3f}" + (f" ± {one['std']:.3f}" if one["std"] else "") for one in by_quality.values())
        lines.append(f"| {names.get(name, name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def command_lines(stages: dict[str, Sequence[Job]]) -> str:
    """How long every stage took, in hours of one thread, and one of its commands."""
    lines = []
    for name, jobs in stages.items():
        hours = sum(job.told()["seconds"] for job in jobs) / 3600
        lines += [
            f"{name}: {len(jobs)} × such as the following, {hours:.2f} h in all",
            "",
            f"    {jobs[-1].command}",
            "",
        ]
    cpu = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    lines.append(
        f"On {len(cpu)} cores ({cpu[0]}), Python {platform.python_version()}, {os.cpu_count()} jobs side by side."
    )
    return "\n".join(lines)


def draw(found: Curve, path: Path) -> None:
    """UA over the share of labels, a line an arm, with its standard deviation."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "lanser"  # else no two drawings are alike
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, by_share in found.items():
        means, stds = ([100 * one[place] for one in by_share.values()] for place in (0, 1))
        dashes = "--" if name == SCRATCH.name or "shuffled" in name else "-"
        axes.errorbar([100 * share for share in by_share], means, stds, label=name, capsize=3, linestyle=dashes)
    axes.set(xlabel="share of the training labels, %", ylabel="UA, % (mean and sd over seeds)", xscale="log")
    axes.set_xticks([100 * share for share in FRACTIONS], [f"{share:.0%}" for share in FRACTIONS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})


def write(document: Path, blocks: dict[str, str]) -> None:
    """Put ``blocks`` in the places of ``document`` that are marked for them."""
    text = document.read_text(encoding="utf-8")
    made = BLOCK.sub(lambda found: f"{found[1]}{blocks[found[2]]}\n{found[3]}", text)
    document.write_text(made, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", required=True, help="folder of unlabelled speech")
    parser.add_argument("--ravdess", required=True, help="RAVDESS' folder")
    parser.add_argument("--work", type=Path, default=Path("out/results"))
    parser.add_argument("--write", type=Path, metavar="MARKDOWN", help="document whose marked blocks are replaced")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="at once; default: one a core")
    args = parser.parse_args()
    shards, pretraining = shard_jobs(args.speech, args.work), pretrain_jobs(args.work)
    finetuning, frozen = finetune_jobs(args.ravdess, args.work), frozen_jobs(args.ravdess, args.work)
    defaults, probe = default_job(args.ravdess, args.work), probe_job(args.ravdess, args.work)
    stages = {
        "Shards": shards,
        "Pre-training": pretraining,
        "Frozen": [job for _, job in frozen],
        "Fine-tuning": [job for _, job in finetuning],
        "Shipped defaults": [defaults],
        "Probe": [probe],
    }
    run_all(shards, 1)
    run_all(pretraining, args.jobs)
    run_all([job for name in ("Frozen", "Fine-tuning", "Shipped defaults", "Probe") for job in stages[name]], args.jobs)
    found = curves(finetuning)
    (shipped,) = json.loads((defaults.output / RESULTS).read_text())["summary"]
    blocks = {
        "curves": curve_table(found) + "\n\n![UA over the share of labels](results.svg)",
        "frozen": curve_table(curves(frozen)),
        "defaults": f"UA {100 * shipped['ua_mean']:.1f} %, WA {100 * shipped['wa_mean']:.1f} %, "
        f"macro-F1 {100 * shipped['macro_f1_mean']:.1f} %",
        "probe": probe_table(probe),
        "commands": command_lines(stages)
        .replace(args.speech, "SPEECH")
        .replace(args.ravdess, "RAVDESS")
        .replace(str(args.work), "out/results"),
    }
    print("\n\n".join(blocks.values()))
    if args.write:
        write(args.write, blocks)
        draw(found, args.write.with_suffix(".svg"))


if __name__ == "__main__":
    main()
