"""The command line: which command is which module, and what a user sees when something is wrong."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from collections.abc import Sequence

COMMANDS = {
    "build": ("pipelines.build", "audio to weak-label shards, one job"),
    "transcribe": ("pipelines.transcribe", "audio to transcripts"),
    "label": ("pipelines.label", "an output directory's transcripts to labels"),
    "shard": ("pipelines.shard", "an output directory's transcripts, labels and audio to shards"),
    "relabel": ("pipelines.relabel", "shards to shards for another taxonomy: no recognition, no decoding"),
    "try": ("lanser_ops.commands.try_texts", "the labels of a few texts, with their scores"),
    "agreement": ("lanser_ops.commands.agreement", "how well weak labels agree with a labelled text file"),
    "pretrain": ("training.pretrain", "learn emotion from weak-label shards"),
    "finetune": ("training.finetune", "fine-tune and evaluate on labelled speech"),
    "probe": ("training.probe", "what a frozen representation knows: emotion, pitch, energy, rate"),
    "predict": ("training.predict", "label probabilities of audio files"),
    "report": ("lanser_ops.commands.report", "report.html and dataset card of an output directory"),
    "verify": ("lanser_ops.commands.verify", "whether an output directory holds what it says, to the last byte"),
    "taxonomies": ("lanser_ops.commands.taxonomies", "what taxonomies there are, or one in full"),
    "inspect": ("lanser_ops.commands.inspect", "what an output directory or a shard holds"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``lanser COMMAND …``; returns the exit status: 0 done, 2 bad input, 1 anything else."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print("usage: lanser COMMAND …   (lanser COMMAND --help says more)\n")
        for name, (_, what) in COMMANDS.items():
            print(f"  {name:<11} {what}")
        return 0 if argv else 2
    if argv[0] not in COMMANDS:
        print(f"lanser: no command {argv[0]!r}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    logging.basicConfig(level=logging.ERROR, format="%(message)s")  # as in pipelines/__init__.py
    status = importlib.import_module(COMMANDS[argv[0]][0]).main(argv[1:])
    gc.freeze()  # the last collection need not scan what was imported: with torch loaded, it took a second
    return status
