"""The experiment of docs/results.md: does pre-training on labels from text help a model hear emotion?

    python -m benchmarks.results --speech SPEECH --ravdess RAVDESS --work out/results --write docs/results.md

Builds weak-label shards of the unlabelled SPEECH, pre-trains every arm on them, fine-tunes each on shares of
RAVDESS' labels in speaker-independent folds, probes what was learned, and writes tables and the curve into the
marked blocks of a document. Every step is a `lanser` command with its own output, and finished steps are skipped, so
the experiment can be interrupted and continued at any time. Jobs run in parallel, with one thread each. With -m,
since for a script benchmarks/training.py would shadow the package.
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
from typing import Any

from training.evaluation import summarise

BACKBONE = "resnet10-quarter"
FRACTIONS = (0.1, 0.25, 0.5, 1.0)
SEEDS = (0, 1, 2)
LABELLED = ("--against", "all", "--prior-strength", "0")  # the trainer subtracts the prior
# Chosen on the first fold's training speakers; docs/results.md lists the alternatives.
PRETRAIN = ("--backbone", BACKBONE, "--epochs", "12", "--crop-s", "1", "--no-augment", "--precision", "bf16")
PRETRAIN += ("--in-process", "--checkpoint-every", "500")
LABELS = ("--data", "ravdess", "--folds", "6")
EVALUATE = (*LABELS, "--no-export", "--device", "cpu")
FINETUNE = ("--steps", "200", "--lr", "2e-3", "--precision", "bf16")
SHARES = ("--label-fraction", *map(str, FRACTIONS))
ALL_SEEDS = ("--seeds", *map(str, SEEDS))
JOB, LOG, RESULTS = "job.json", "log.txt", "results.json"
BLOCK = re.compile(r"(<!-- (\w+): made by benchmarks/results.py -->\n).*?(<!-- end -->)", re.DOTALL)


@dataclass(frozen=True)
class Arm:
    """How a network is pre-trained before fine-tuning; without ``taxonomy`` it is not."""

    name: str
    taxonomy: str | None = None
    pretrain: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        return re.sub(r"\W+", "-", self.name)


SCRATCH = Arm("from scratch")
CORRECTED = ("--prior-strength", "1", "--margin-weighting")
ARMS = (
    SCRATCH,
    Arm("ekman, hard", "ekman", ("--labels", "hard", *CORRECTED)),
    Arm("ekman, soft", "ekman", ("--labels", "soft", *CORRECTED)),
    Arm("goemotions, hard", "goemotions", ("--labels", "hard", *CORRECTED)),
    Arm("goemotions, soft", "goemotions", ("--labels", "soft", *CORRECTED)),
    Arm("goemotions, hard, shuffled", "goemotions", ("--labels", "hard", *CORRECTED, "--shuffle-labels")),
)
# The other control is evaluated on the frozen network only, which takes a minute.
FROZEN_ARMS = (
    *ARMS,
    Arm("goemotions, soft, shuffled", "goemotions", ("--labels", "soft", *CORRECTED, "--shuffle-labels")),
)


@dataclass(frozen=True)
class Job:
    """A `lanser` command that writes to ``output``."""

    output: Path
    arguments: tuple[str, ...]

    @property
    def command(self) -> str:
        return shlex.join(["lanser", *self.arguments])

    def status(self) -> dict[str, Any]:
        """Whether it is ``done``, and how many ``seconds`` it took over all attempts; anew for another command."""
        path = self.output / JOB
        status = json.loads(path.read_text()) if path.exists() else {}
        if status.get("command") == self.command:
            return status
        return {"command": self.command, "seconds": 0.0, "done": False}


def run_all(jobs: Sequence[Job], parallel: int) -> None:
    """Run the jobs that are not done. One that fails ends the experiment, after those beside it have finished."""
    waiting = [job for job in jobs if not job.status()["done"]]
    with ThreadPoolExecutor(parallel) as pool:
        for number, _ in enumerate(pool.map(run_job, waiting), 1):
            print(f"{number} of {len(waiting)} done: {waiting[number - 1].command}", flush=True)


def run_job(job: Job) -> None:
    """Start or continue ``job`` with one thread; the time of all attempts is summed beside its output."""
    job.output.mkdir(parents=True, exist_ok=True)
    status, begin = job.status(), time.monotonic()
    with (job.output / LOG).open("a") as log:
        command = [sys.executable, "-m", "lanser_ops", *job.arguments]
        finished = subprocess.run(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
    status |= {"seconds": status["seconds"] + time.monotonic() - begin, "done": finished.returncode == 0}
    (job.output / JOB).write_text(json.dumps(status))
    if finished.returncode:
        raise SystemExit(f"{job.command}: failed; see {job.output / LOG}")


def shard_jobs(speech: str, work: Path) -> list[Job]:
    """A build, and relabelling for every further taxonomy."""
    taxonomies = list(dict.fromkeys(arm.taxonomy for arm in ARMS if arm.taxonomy))
    first = work / "shards" / taxonomies[0]
    arguments = ("build", "--input", speech, "--output", str(first), "--taxonomy", first.name, *LABELLED)
    jobs = [Job(first, arguments)]
    for name in taxonomies[1:]:
        output = work / "shards" / name
        arguments = ("relabel", "--shards", str(first), "--output", str(output), "--taxonomy", name, *LABELLED)
        jobs.append(Job(output, arguments))
    return jobs


def pretrain_jobs(work: Path) -> list[Job]:
    jobs = []
    for arm in (arm for arm in FROZEN_ARMS if arm.taxonomy):
        output = work / "pretrain" / arm.folder
        arguments = ("pretrain", "--shards", str(work / "shards" / arm.taxonomy), "--output", str(output))
        jobs.append(Job(output, (*arguments, *PRETRAIN, *arm.pretrain, "--resume", "--device", "cpu")))
    return jobs


def start(arm: Arm, work: Path) -> tuple[str, ...]:
    """The network that ``arm`` fine-tunes on human labels."""
    return ("--checkpoint", str(work / "pretrain" / arm.folder)) if arm.taxonomy else ("--backbone", BACKBONE)


def finetune_jobs(ravdess: str, work: Path) -> list[tuple[Arm, Job]]:
    """Ordered by seed, so that an interrupted experiment has run all arms equally often."""
    jobs = []
    for seed in SEEDS:
        for arm in ARMS:
            output = work / "finetune" / arm.folder / str(seed)
            arguments = ("finetune", *start(arm, work), *FINETUNE, *EVALUATE, "--root", ravdess, *SHARES)
            jobs.append((arm, Job(output, (*arguments, "--seeds", str(seed), "--output", str(output)))))
    return jobs


def frozen_jobs(ravdess: str, work: Path) -> list[tuple[Arm, Job]]:
    """A linear classifier on every arm's unchanged network; from scratch, on an untrained network."""
    jobs = []
    for arm in FROZEN_ARMS:
        output = work / "frozen" / arm.folder
        arguments = ("finetune", *start(arm, work), "--frozen", *EVALUATE, "--root", ravdess, *SHARES, *ALL_SEEDS)
        jobs.append((arm, Job(output, (*arguments, "--output", str(output)))))
    return jobs


def default_job(ravdess: str, work: Path) -> Job:
    """From scratch with the shipped defaults, at all labels."""
    arguments = ("finetune", "--backbone", "resnet10-half", "--precision", "bf16", *EVALUATE, "--root", ravdess)
    return Job(work / "defaults", (*arguments, "--output", str(work / "defaults")))


def probe_job(ravdess: str, work: Path) -> Job:
    checkpoints = [str(work / "pretrain" / arm.folder) for arm in FROZEN_ARMS if arm.taxonomy]
    arguments = ("probe", "--checkpoint", *checkpoints, *LABELS, "--root", ravdess)
    return Job(work / "probe", (*arguments, *ALL_SEEDS, "--output", str(work / "probe"), "--device", "cpu"))


Curve = dict[str, dict[float, tuple[float, float]]]


def curves(jobs: Sequence[tuple[Arm, Job]]) -> Curve:
    """Mean and standard deviation over seeds of UA, by arm and share of the labels, of all runs of the arm's jobs."""
    runs: dict[str, list[dict]] = {}
    for arm, job in jobs:
        runs.setdefault(arm.name, []).extend(json.loads((job.output / RESULTS).read_text())["runs"])
    return {
        name: {row["fraction"]: (row["ua_mean"], row["ua_std"]) for row in summarise(of_arm)}
        for name, of_arm in runs.items()
    }


def curve_table(by_arm: Curve) -> str:
    lines = ["| arm | " + " | ".join(f"{share:.0%}" for share in FRACTIONS) + " |", "|---" * (len(FRACTIONS) + 1) + "|"]
    for name, by_share in by_arm.items():
        cells = (f"{100 * mean:.1f} ± {100 * std:.1f}" for mean, std in by_share.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def probe_table(probe: Job) -> str:
    representations = json.loads((probe.output / "probe.json").read_text())["representations"]
    names = {str(probe.output.parent / "pretrain" / arm.folder): arm.name for arm in FROZEN_ARMS}
    qualities = list(next(iter(representations.values())))
    lines = [
        "| representation | " + " | ".join(qualities).replace("_", " ") + " |",
        "|---" * (len(qualities) + 1) + "|",
    ]
    for name, by_quality in representations.items():
        cells = (
            f"{figure['mean']:.3f}" + (f" ± {figure['std']:.3f}" if figure["std"] else "")
            for figure in by_quality.values()
        )
        lines.append(f"| {names.get(name, name)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def command_lines(stages: dict[str, Sequence[Job]]) -> str:
    """The time of every stage, in hours of a single thread, and an example of its commands."""
    lines = []
    for name, jobs in stages.items():
        hours = sum(job.status()["seconds"] for job in jobs) / 3600
        lines += [
            f"{name}: {len(jobs)} jobs like this one, {hours:.2f} h in total",
            "",
            f"    {jobs[-1].command}",
            "",
        ]
    cpu = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    lines.append(
        f"On {len(cpu)} cores ({cpu[0]}), Python {platform.python_version()}, {os.cpu_count()} jobs in parallel."
    )
    return "\n".join(lines)


def draw(by_arm: Curve, path: Path) -> None:
    """Plot UA over the share of labels, a line per arm, with its standard deviation."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    pyplot.rcParams["svg.hashsalt"] = "lanser"  # otherwise identifiers are random
    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, by_share in by_arm.items():
        means, stds = ([100 * figure for figure in figures] for figures in zip(*by_share.values(), strict=True))
        dashes = "--" if name == SCRATCH.name or "shuffled" in name else "-"
        axes.errorbar([100 * share for share in by_share], means, stds, label=name, capsize=3, linestyle=dashes)
    axes.set(xlabel="share of the training labels, %", ylabel="UA, % (mean and sd over seeds)", xscale="log")
    axes.set_xticks([100 * share for share in FRACTIONS], [f"{share:.0%}" for share in FRACTIONS])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})


def write(document: Path, blocks: dict[str, str]) -> None:
    """Replace the marked blocks of ``document`` by ``blocks``, by name."""
    text = document.read_text(encoding="utf-8")
    text = BLOCK.sub(lambda match: f"{match[1]}{blocks[match[2]]}\n{match[3]}", text)
    document.write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--speech", required=True, help="folder of unlabelled speech")
    parser.add_argument("--ravdess", required=True, help="RAVDESS' folder")
    parser.add_argument("--work", type=Path, default=Path("out/results"))
    parser.add_argument("--write", type=Path, metavar="MARKDOWN", help="document whose marked blocks are replaced")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="in parallel; default: one per core")
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
    by_arm = curves(finetuning)
    (shipped,) = json.loads((defaults.output / RESULTS).read_text())["summary"]
    blocks = {
        "curves": curve_table(by_arm) + "\n\n![UA over the share of labels](results.svg)",
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
        draw(by_arm, args.write.with_suffix(".svg"))


if __name__ == "__main__":
    main()
