"""The experiment of docs/results.md: does pre-training on labels from text help a model hear emotion?

    python -m benchmarks.results --speech SPEECH --ravdess RAVDESS --work out/results --write docs/results.md

Builds weak-label shards of the unlabelled SPEECH, pre-trains every arm on them, fine-tunes each on shares of RAVDESS'
labels in EmoBox's folds, and writes tables and plots into the marked blocks of a document. Every step is a `lanser`
command with its own output, and finished ones are skipped, so the experiment can be interrupted and continued at any
time; tables are made of what there is. benchmarks/experiment/protocol.py has all settings. `--quick` runs a seed of
three arms on 200 clips of the speech, to see that everything works.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.experiment.arms import (
    Places,
    arm_jobs,
    choice_jobs,
    finetune_jobs,
    shard_jobs,
    shipped_job,
    write_training_speakers,
    zero_shot_job,
)
from benchmarks.experiment.jobs import is_done, run_all
from benchmarks.experiment.page import (
    arm_table,
    choice_table,
    command_table,
    difference_table,
    differences,
    shipped_table,
    write_blocks,
    write_images,
    zero_shot_networks,
    zero_shot_table,
)
from benchmarks.experiment.protocol import (
    ARMS,
    EKMAN,
    FROZEN,
    FULL,
    GOEMOTIONS,
    NETWORKS,
    QUICK,
    SHARES,
    WEAK,
    ZERO_SHOT,
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--speech", type=Path, help="folder of unlabelled speech")
    source.add_argument(
        "--shards", nargs=2, type=Path, metavar=(EKMAN.upper(), GOEMOTIONS.upper()),
        help="instead of --speech, finished shards of it for both taxonomies",
    )  # fmt: skip
    parser.add_argument("--ravdess", required=True, type=Path, help="RAVDESS' folder")
    parser.add_argument("--work", type=Path, help="folder for everything that is written; default: out/results[-quick]")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, help="run these alone; default: those for a CPU")
    parser.add_argument("--arms", nargs="+", choices=ARMS, help="run these alone, in this order; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, help="run these alone; tables are made of all that are done")
    parser.add_argument("--write", type=Path, metavar="MARKDOWN", help="document whose marked blocks are replaced")
    parser.add_argument("--tables-only", action="store_true", help="run nothing, write the tables of what is done")
    parser.add_argument("--quick", action="store_true", help="a small part of the experiment, in 15 minutes on 2 cores")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    profile = QUICK if args.quick else FULL
    work = args.work or Path("out/results-quick" if args.quick else "out/results")
    taxonomies = (EKMAN, GOEMOTIONS) if profile.choose else (EKMAN,)
    folders = args.shards or [work / "shards" / name for name in taxonomies]
    places = Places(dict(zip(taxonomies, folders, strict=False)), args.ravdess, work)
    arms = (*profile.baselines, WEAK)
    seeds = args.seeds or profile.seeds
    if not args.tables_only:
        if args.speech:
            run_all(shard_jobs(args.speech, profile.clips, work, taxonomies))
        if profile.choose:
            run_all([shipped_job(places)])
            write_training_speakers(places)
            run_all([job for jobs in choice_jobs(FROZEN, places).values() for job in jobs])
        cpu_networks = [name for name, network in NETWORKS.items() if network.device == "cpu"]
        networks = [FROZEN] if args.quick else [NETWORKS[name] for name in args.networks or cpu_networks]
        chosen = [ARMS[name] for name in args.arms] if args.arms else arms
        for network in networks:
            run_all(arm_jobs(network, chosen, seeds, places))
        run_all(
            [
                zero_shot_job(network, arm, seed, places)
                for network in zero_shot_networks(networks)
                for seed in seeds
                for arm in chosen
                if arm in ZERO_SHOT
            ]
        )
    networks = [FROZEN] if args.quick else list(NETWORKS.values())
    rows = [row for network in networks for row in differences(network, profile.baselines, profile.seeds, places)]
    blocks = {
        "differences": difference_table(rows),
        "zero-shot": zero_shot_table(zero_shot_networks(networks), profile.seeds, places),
        "commands": command_table(networks, profile, places),
        **{
            name: arm_table(network, arms, profile.seeds, places)
            for name, network in NETWORKS.items()
            if any(is_done(finetune_jobs(network, arm, seed, places, SHARES)) for arm in arms for seed in profile.seeds)
        },
    }
    if is_done([shipped_job(places)]):
        blocks["shipped"] = shipped_table(places)
    if profile.choose and is_done([job for jobs in choice_jobs(FROZEN, places).values() for job in jobs]):
        blocks["choice"] = choice_table(places)
    print("\n\n".join(blocks.values()))
    if args.write:
        write_blocks(args.write, blocks)
        write_images(rows, profile.seeds, places, args.write.parent / "images")


if __name__ == "__main__":
    main()
