"""The backend ``classifier``: a text classifier whose classes are the emotions, one forward pass per transcript.

A label is scored by the model's class of that name: "joy", or its hypothesis "happy". There are no templates. The
probability of a class is over all classes of the model, whichever of them a taxonomy uses, so scores are shared between
taxonomies. Resolving and checking a model is here, and imports nothing heavy; scoring is in `classifier_scorer`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lanser_ops import models
from lanser_ops.common.device import resolve_device
from lanser_ops.common.errors import InputError
from lanser_ops.labelling.model_files import ModelFiles, read_config
from schemas.specs import LabelSpec, ModelRef
from schemas.taxonomy import Label, Taxonomy

if TYPE_CHECKING:
    from lanser_ops.labelling.classifier_scorer import ClassifierScorer

ADVICE = "use a text classifier with safetensors weights whose classes are the taxonomy's labels"
# The only template: a hypothesis is the name of a class.
TEMPLATE = "{}"

# What a class is weighed against: the model's other classes, or its own absence.
SOFTMAX, SIGMOID = AGAINST = ("softmax", "sigmoid")
MULTI_LABEL = "multi_label_classification"


def resolve(name: str) -> ModelRef:
    """The text classifier of that name."""
    advice = "a transformers model directory is needed"
    return models.find_model(name, "--nli-model", models.download_snapshot, "config.json", advice)


def scoring(
    model: ModelRef, taxonomy: Taxonomy, templates: Sequence[str], against: str | None
) -> tuple[Taxonomy, tuple[str, ...], str]:
    """The taxonomy with the model's class names for hypotheses, the template ``{}``, and softmax or sigmoid.

    Without ``against`` the model's ``problem_type`` decides: sigmoid for multi-label classification. Raises InputError
    for a label that no class or more than one label matches, for templates, and for an unknown ``against``.
    """
    if templates:
        raise InputError(f"--template {templates[0]}: a text classifier takes no template; leave it out")
    if against not in (None, *AGAINST):
        raise InputError(f"--against {against}: the scores of a text classifier are {' or '.join(AGAINST)}")
    files = model_files(model.path)
    config = read_config(files)
    labels = class_labels(taxonomy, config.classes, files)
    default = SIGMOID if config.problem_type == MULTI_LABEL else SOFTMAX
    return replace(taxonomy, labels=labels, template=None), (TEMPLATE,), against or default


def load(spec: LabelSpec, device: str, threads: int | None) -> ClassifierScorer:
    """Load the classifier of ``spec``; see `classifier_scorer.load_scorer`."""
    from lanser_ops.labelling.classifier_scorer import load_scorer

    files = model_files(spec.nli_model.path)
    return load_scorer(files, resolve_device(device), threads, independent=spec.against == SIGMOID)


def has_gpu() -> bool:
    """Whether torch sees a GPU on this machine."""
    return resolve_device("auto") == "cuda"


def model_files(path: str) -> ModelFiles:
    """A directory as a text classifier, for error messages."""
    return ModelFiles(path, "text classifier", ADVICE)


def class_labels(taxonomy: Taxonomy, classes: Sequence[str], files: ModelFiles) -> tuple[Label, ...]:
    """The taxonomy's labels with classes for hypotheses: those that match a hypothesis, else the name of the label."""
    class_of: dict[str, str] = {}
    for name in classes:
        if _words(name) in class_of:
            names = f"{class_of[_words(name)]!r} and {name!r}"
            raise files.error(f"has the classes {names}, which differ at most in case and punctuation")
        class_of[_words(name)] = name
    label_of: dict[str, str] = {}
    labels = []
    for label in taxonomy.labels:
        matches = list(dict.fromkeys(class_of[word] for word in map(_words, label.hypotheses) if word in class_of))
        matches = matches or [class_of[word] for word in [_words(label.name)] if word in class_of]
        if label.hypotheses and not matches:
            raise files.error(f"has no class for the label {label.name!r}; its classes are {', '.join(classes)}")
        for match in matches:
            other = label_of.setdefault(match, label.name)
            if other != label.name:
                raise files.error(f"has a single class {match!r} for the labels {other!r} and {label.name!r}")
        labels.append(Label(label.name, tuple(matches)))
    return tuple(labels)


def _words(text: str) -> str:
    """``text`` without case and punctuation, unless it has nothing else."""
    folded = unicodedata.normalize("NFC", text.casefold())
    return " ".join(re.findall(r"[^\W_]+", folded)) or folded
