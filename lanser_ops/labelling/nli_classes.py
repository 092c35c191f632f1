"""The classes of an NLI model: which one is entailment, and what it is weighed against."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lanser_ops.backends import PRODUCTION_NLI
from lanser_ops.labelling.model_files import ModelFiles

ADVICE = f"use a model fine-tuned on NLI with safetensors weights, such as {PRODUCTION_NLI}"

# What entailment is weighed against.
CONTRADICTION, ALL = AGAINST = ("contradiction", "all")


def model_files(path: str) -> ModelFiles:
    """A directory as an NLI model, for error messages."""
    return ModelFiles(path, "NLI model", ADVICE)


def entailment_index(classes: Sequence[str], files: ModelFiles) -> tuple[int, int]:
    """Class indices of entailment and of its opposite (contradiction, or not_entailment), by the names of ``classes``.

    Names are compared without case and punctuation and may begin with ``LABEL_``; one that begins with ``not``,
    ``non`` or ``no`` is never entailment. Raises InputError where the names do not tell them apart.
    """
    names = [re.sub(r"^label(?=\W|_)|[^a-z]", "", name.lower()) for name in classes]
    entailment = [index for index, name in enumerate(names) if name.startswith("entail")]
    opposite = [index for index, name in enumerate(names) if name.startswith("contradict")]
    opposite = opposite or [index for index, name in enumerate(names) if re.match("no[nt]?entail", name)]
    if len(entailment) == len(opposite) == 1:
        return entailment[0], opposite[0]
    lacking = "contradiction or not_entailment" if len(entailment) == 1 else "entailment"
    raise files.error(f"has the classes {', '.join(classes)}: not exactly one is {lacking}")
