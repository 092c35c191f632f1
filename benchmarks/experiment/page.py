"""Tables and plots of docs/results.md, which stand between markers there."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Sequence
from pathlib import Path

from benchmarks.experiment.arms import (
    CHOICE_SEEDS,
    Places,
    arm_jobs,
    choice_jobs,
    shipped_job,
    zero_shot_job,
)
from benchmarks.experiment.figures import (
    Difference,
    confusion_at,
    cpu_minutes,
    paired,
    predictions_of,
    ua_by_share,
    zero_shot_predictions,
)
from benchmarks.experiment.jobs import Job
from benchmarks.experiment.protocol import FROZEN, NONE, SHARES, SHUFFLED, WEAK, ZERO_SHOT, Arm, Network, Profile
from training.compare import percent
from training.confusion import draw_confusion
from training.finetune import RESULTS
from training.predictions import read_predictions
from training.statistics import Interval, intervals

BLOCK = re.compile(r"(<!-- ([\w-]+): written by benchmarks/results.py -->\n).*?(<!-- end -->)", re.DOTALL)
DIFFERENCES, CONFUSION_NONE, CONFUSION_WEAK = "differences.svg", "confusion-none.svg", "confusion-weak.svg"
CONFUSION_SHARE = 0.25


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(table(["arm", "UA"], [["none", "61.0"]]))
    | arm | UA |
    |---|---|
    | none | 61.0 |
    """
    lines = [" | ".join(cells) for cells in (heads, *rows)]
    return "\n".join([f"| {lines[0]} |", "|---" * len(heads) + "|", *(f"| {line} |" for line in lines[1:])])


def choice_table(places: Places) -> str:
    """UA of every variant of the weak labels within the training speakers of the first fold, the weak arm in bold."""
    rows = []
    for name, (_, job) in choice_jobs(FROZEN, places).items():
        ua = percent(intervals(read_predictions(job.output))["ua"])
        rows.append([f"**{name}**" if name == WEAK.name else name, ua])
    return table(["weak labels", f"UA, {len(CHOICE_SEEDS)} draws of the labels"], rows)


def shipped_table(places: Places) -> str:
    """UA of the frozen encoder at every share."""
    summary = json.loads((shipped_job(places).output / RESULTS).read_text())["summary"]
    cells = [percent(Interval(row["ua_mean"], *row["ua_interval"])) for row in summary]
    return table(["labels", *(f"{row['fraction']:.0%}" for row in summary)], [["UA", *cells]])


def _name(arm: Arm) -> str:
    """The name of ``arm`` in tables, whichever variant of the weak labels was chosen."""
    return "weak" if arm == WEAK else arm.name


def arm_table(network: Network, arms: Sequence[Arm], seeds: Sequence[int], places: Places) -> str:
    """UA at every share, with its interval, of the arms that were run, over the seeds that all of these have."""
    by_arm = {arm: predictions_of(network, arm, seeds, places) for arm in arms}
    by_arm = {arm: by_seed for arm, by_seed in by_arm.items() if by_seed}
    common = [seed for seed in seeds if all(seed in by_seed for by_seed in by_arm.values())]
    rows = []
    for arm, by_seed in by_arm.items() if common else ():
        figures = ua_by_share({seed: by_seed[seed] for seed in common})
        cells = (percent(figures[share]) for share in SHARES)
        rows.append([_name(arm), *cells, str(len(common))])
    return table(["arm", *(f"{share:.0%}" for share in SHARES), "seeds"], rows)


def differences(network: Network, baselines: Sequence[Arm], seeds: Sequence[int], places: Places) -> list[Difference]:
    """The arm with weak labels minus every baseline, at every share."""
    weak = predictions_of(network, WEAK, seeds, places)
    return [
        Difference(network.name, arm.name, row.fraction, row.difference["ua"], len(row.seeds))
        for arm in baselines
        for row in paired(weak, predictions_of(network, arm, seeds, places))
    ]


def difference_table(rows: Sequence[Difference]) -> str:
    """A row per network and baseline, a column per share."""
    cells: dict[tuple[str, str, int], dict[float, str]] = {}
    for row in rows:
        cells.setdefault((row.network, row.baseline, row.seeds), {})[row.share] = percent(row.ua, "+")
    lines = [
        [network, f"weak - {baseline}", *(by_share[share] for share in SHARES), str(seeds)]
        for (network, baseline, seeds), by_share in cells.items()
    ]
    return table(["network", "difference in UA", *(f"{share:.0%}" for share in SHARES), "seeds"], lines)


def zero_shot_networks(networks: Sequence[Network]) -> list[Network]:
    """Those that are evaluated without human labels, which takes seconds: features are stored, or there is a GPU."""
    return [network for network in networks if network.trained == ("--frozen",) or network.device == "cuda"]


def zero_shot_table(networks: Sequence[Network], seeds: Sequence[int], places: Places) -> str:
    """UA of weak labels alone, of shuffled ones, and the difference."""
    rows = []
    for network in networks:
        shuffled = zero_shot_predictions(network, SHUFFLED, seeds, places)
        for arm in (arm for arm in ZERO_SHOT if arm != SHUFFLED):
            for row in paired(zero_shot_predictions(network, arm, seeds, places), shuffled):
                sides = percent(row.arm["ua"]), percent(row.baseline["ua"]), percent(row.difference["ua"], "+")
                rows.append([network.name, _name(arm), *sides, str(len(row.seeds))])
    return table(["network", "labels", "UA", "shuffled", "difference", "seeds"], rows)


def command_table(networks: Sequence[Network], profile: Profile, places: Places) -> str:
    """The CPU time of every part, and an example of its commands."""
    parts: dict[str, list[Job]] = {}
    if profile.choose:
        parts["the encoder as it is shipped"] = [shipped_job(places)]
    for network in networks:
        jobs = arm_jobs(network, (*profile.baselines, WEAK), profile.seeds, places)
        for command in ("pretrain", "finetune"):
            parts[f"{network.name}: {command}"] = [job for job in jobs if job.arguments[0] == command]
    parts["zero-shot"] = [
        zero_shot_job(network, WEAK, seed, places) for network in zero_shot_networks(networks) for seed in profile.seeds
    ]
    lines = []
    for name, jobs in parts.items():
        done = [job for job in jobs if job.seconds() is not None]
        if done:
            lines += [f"{name}: {len(done)} commands, {cpu_minutes(done):.1f} min of CPU time, such as", ""]
            lines += ['```bash skip="one of many runs, takes minutes"', anonymous(done[-1].command, places), "```", ""]
    processor = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    lines.append(
        f"{len(processor)} cores ({processor[0]}), Python {platform.python_version()}, no GPU; commands with `--device "
        "cuda` ran on a machine that has one."
    )
    return "\n".join(lines)


def anonymous(command: str, places: Places) -> str:
    """``command`` with the folders that the reader has elsewhere by their names."""
    for folder, name in ((places.work, "out/results"), (places.ravdess, "RAVDESS")):
        command = command.replace(str(folder), name)
    for taxonomy, folder in places.shards.items():
        command = command.replace(str(folder), f"SHARDS/{taxonomy}")
    return command.replace(f"{Path(__file__).parents[2]}/", "")


def draw_differences(rows: Sequence[Difference], path: Path) -> None:
    """Draw every difference with its interval, one below the other."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "lanser"}):  # otherwise identifiers are random
        figure = Figure(figsize=(10, 1.2 + 0.32 * len(rows)), layout="constrained")
        axes = figure.subplots()
        positions = list(range(len(rows)))[::-1]
        for position, row in zip(positions, rows, strict=True):
            low, high = (row.ua.estimate if limit is None else limit for limit in (row.ua.low, row.ua.high))
            colour = f"C{SHARES.index(row.share)}"
            axes.plot([100 * low, 100 * high], [position, position], color=colour)
            axes.plot(100 * row.ua.estimate, position, "o", color=colour)
        axes.axvline(0, color="0.4", linewidth=0.8)
        axes.set_yticks(positions, [f"{row.network}: weak - {row.baseline}, {row.share:.0%}" for row in rows])
        axes.set(xlabel="difference in UA, points, with its 95 % interval")
        axes.grid(axis="x", alpha=0.3)
        figure.savefig(path, metadata={"Date": None})


def write_images(rows: Sequence[Difference], seeds: Sequence[int], places: Places, folder: Path) -> None:
    """Draw the differences, and the confusion matrices of the frozen network with and without weak labels."""
    folder.mkdir(parents=True, exist_ok=True)
    draw_differences(rows, folder / DIFFERENCES)
    for arm, name in ((NONE, CONFUSION_NONE), (WEAK, CONFUSION_WEAK)):
        by_seed = predictions_of(FROZEN, arm, seeds, places)
        if by_seed:
            draw_confusion(*confusion_at(by_seed, CONFUSION_SHARE), folder / name)


def write_blocks(document: Path, blocks: dict[str, str]) -> None:
    """Replace the marked blocks of ``document`` that ``blocks`` has, by name; others stay as they are."""
    text = document.read_text(encoding="utf-8")
    text = BLOCK.sub(
        lambda match: f"{match[1]}{blocks[match[2]]}\n{match[3]}" if match[2] in blocks else match[0], text
    )
    document.write_text(text, encoding="utf-8")
