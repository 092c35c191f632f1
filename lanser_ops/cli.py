"""The command line: which command is which module, and what a user sees when something is wrong."""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from lanser_ops.errors import InputError

COMMANDS = {
    "build": ("pipelines.build", "audio to weak-label shards, one job"),
    "transcribe": ("pipelines.transcribe", "audio to transcripts"),
    "label": ("pipelines.label", "an output directory's transcripts to labels"),
    "shard": ("pipelines.shard", "an output directory's transcripts, labels and audio to shards"),
    "relabel": ("pipelines.relabel", "shards to shards for another taxonomy: no recognition, no decoding"),
    "try": ("lanser_ops.try_texts", "the labels of a few texts, with their scores"),
    "agreement": ("lanser_ops.agreement", "how well weak labels agree with a labelled text file"),
    "pretrain": ("training.pretrain", "learn emotion from weak-label shards"),
    "finetune": ("training.finetune", "fine-tune and evaluate on labelled speech"),
    "probe": ("training.probe", "what a frozen representation knows: emotion, pitch, energy, rate"),
    "predict": ("training.predict", "label probabilities of audio files"),
    "report": ("lanser_ops.report", "report.html and dataset card of an output directory"),
    "taxonomies": ("lanser_ops.show", "what taxonomies there are, or one in full"),
    "inspect": ("lanser_ops.inspect", "what an output directory or a shard holds"),
}
# Packages that only the trainer's commands need.
TRAIN_EXTRA = ("accelerate", "parselmouth", "tensorboard")


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
    try:
        module = importlib.import_module(COMMANDS[argv[0]][0])
    except ModuleNotFoundError as error:
        if error.name not in TRAIN_EXTRA:
            raise
        print(f"lanser {argv[0]}: {error.name} is not installed; pip install 'lanser[train]'", file=sys.stderr)
        return 2
    gc.freeze()  # what is imported stays: without it to look through, a command ends a second earlier
    return module.main(argv[1:])


def guarded(run: Callable[[Sequence[str]], None], argv: Sequence[str] | None, name: str) -> int:
    """Run a command; its errors become one line on stderr and an exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        run(argv)
    except InputError as error:
        print(f"lanser {name}: {_without_place(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"lanser {name}: stopped; the same command goes on where it was", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if "--verbose" in argv:
            raise
        print(f"lanser {name}: {root_cause(error)} (--verbose shows the whole trace)", file=sys.stderr)
        return 1
    return 0


def root_cause(error: BaseException) -> str:
    """The line that says what happened; Beam wraps a worker's error in its whole trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if _names_an_error(line)]
    line = (told or lines or [type(error).__name__])[-1]
    beam, _, inner = line.partition("RuntimeError: ")  # in which Beam wraps an error with the step's name
    return _without_place(inner if not beam and _names_an_error(inner) else line)


def _names_an_error(line: str) -> bool:
    return line.split(":")[0].rsplit(".", 1)[-1].endswith(("Error", "Exception"))


def _without_place(message: str) -> str:
    """``message`` without the name of the Beam step that it came through."""
    return message.split(" [while running")[0]


class Parser(argparse.ArgumentParser):
    """argparse whose errors are one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message} (see lanser {self.prog.split()[-1]} --help)")


def positive(kind: type) -> Callable[[str], float]:
    """An option's type: a number of that kind, finite and more than zero."""

    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return value

    number.__name__ = kind.__name__  # argparse names it in its message
    return number
