"""Which command is which module."""

from __future__ import annotations

import importlib
from types import ModuleType

# By purpose, in the order of use. Each command is a module with ``build_parser()`` and ``main(argv)``, which imports
# nothing heavy before its arguments are checked.
GROUPS = {
    "speech to labels": {
        "build": ("pipelines.build", "audio to weak-label shards, one job"),
        "transcribe": ("pipelines.transcribe", "audio to transcripts"),
        "label": ("pipelines.label", "an output directory's transcripts to labels"),
        "shard": ("pipelines.shard", "an output directory's transcripts, labels and audio to shards"),
        "relabel": ("pipelines.relabel", "shards to shards for another taxonomy: no recognition, no decoding"),
    },
    "labels": {
        "taxonomies": ("lanser_ops.commands.taxonomies", "what taxonomies there are, or one in full"),
        "try": ("lanser_ops.commands.try_texts", "the labels of a few texts, with their scores"),
        "sample": ("lanser_ops.commands.sample", "utterances to label by hand, with their audio"),
        "calibrate": ("lanser_ops.commands.calibrate", "label options fitted on what people labelled"),
        "agreement": ("lanser_ops.commands.agreement", "how well weak labels agree with a labelled text file"),
    },
    "what came out": {
        "inspect": ("lanser_ops.commands.inspect", "what an output directory or a shard holds"),
        "verify": ("lanser_ops.commands.verify", "whether an output directory holds what it says, to the last byte"),
        "report": ("lanser_ops.commands.report", "report.html and dataset card of an output directory"),
        "export-shards": ("lanser_ops.commands.export_shards", "shards for other loaders: datasets, Lhotse, NeMo, …"),
    },
    "models": {
        "pretrain": ("training.pretrain", "learn emotion from weak-label shards"),
        "finetune": ("training.finetune", "fine-tune and evaluate on labelled speech"),
        "evaluate": ("training.evaluate", "a trained model on another corpus, as it is"),
        "compare": ("training.compare", "the difference between two arms, with its interval"),
        "probe": ("training.probe", "what a frozen representation knows: emotion, pitch, energy, rate"),
        "predict": ("training.predict", "label probabilities of audio files"),
        "export-model": ("training.export_model", "a trained model as ONNX or for the Hugging Face hub"),
    },
    "this command line": {
        "config": ("lanser_ops.commands.config", "a file of a command's options, for its --config"),
        "completion": ("lanser_ops.commands.completion", "completion of commands and options for a shell"),
    },
}
COMMANDS = {name: command for group in GROUPS.values() for name, command in group.items()}


def command_module(name: str) -> ModuleType:
    """The module of the command ``name``, imported."""
    return importlib.import_module(COMMANDS[name][0])
