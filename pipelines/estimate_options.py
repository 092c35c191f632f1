"""The options of ``--dry-run``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from lanser_ops.common.command import at_least, positive, warn
from lanser_ops.common.parser import add_flag

# Rates of one worker that an estimate takes as given instead of loading a model.
RATES = {
    "--asr-rate": "seconds of audio that a worker recognises in a second, for --dry-run; default: measured",
    "--pair-rate": "pairs that a worker scores in a second, for --dry-run; default: measured",
}


@dataclass(frozen=True)
class DryRun:
    """What an estimate is told; None is measured, or left out.

    The rates are those of one worker, in seconds of audio and in pairs per second; the price is that of a machine.
    """

    audio_rate: float | None
    pair_rate: float | None
    hourly_price: float | None


def add_dry_run_options(parser: argparse.ArgumentParser, rates: Sequence[str]) -> None:
    """``rates`` are those of RATES that concern the command."""
    group = parser.add_argument_group("estimate")
    add_flag(group, "--dry-run", "run a sample, say what the job would take, and write nothing to --output")
    group.add_argument(
        "--hourly-price",
        type=at_least(0),
        metavar="PRICE",
        help="of a machine, for the cost in the estimate of --dry-run; default: none",
    )
    for name in rates:
        group.add_argument(name, type=positive(float), metavar="RATE", help=RATES[name])


def read_dry_run(args: argparse.Namespace) -> DryRun | None:
    """None without --dry-run, and for a command that has no such option."""
    given = {name: getattr(args, name, None) for name in ("asr_rate", "pair_rate", "hourly_price")}
    if getattr(args, "dry_run", False):
        return DryRun(given["asr_rate"], given["pair_rate"], given["hourly_price"])
    for name, value in given.items():
        if value is not None:
            warn(f"--{name.replace('_', '-')} does nothing without --dry-run")
    return None
