"""The options that decide a label, for every command that labels: added, checked and defaulted here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch

from lanser_ops import models
from lanser_ops.cli import positive
from lanser_ops.dataset import LabelSpec
from lanser_ops.entailment import AGAINST, CONTRADICTION, check_nli_config
from lanser_ops.errors import InputError
from lanser_ops.weak_labels import NO_PRIOR, PRIORS
from schemas.taxonomy import DEFAULT_TEMPLATE, TaxonomyError, check_template, load_taxonomy

DEVICES = ("auto", "cpu", "cuda")
AGAINST_HELP = (
    "what entailment is weighed against: contradiction alone, as the zero-shot pipeline does, or all of the NLI "
    "model's classes, with which a text that says nothing of a label scores it low; default: %(default)s"
)
PRIOR_HELP = (
    "take off what a label scores whatever was said: on average over the corpus, or on an empty text; "
    "default: %(default)s"
)


def add_label_options(made: argparse.ArgumentParser, priors: Sequence[str] = PRIORS) -> None:
    """``priors`` is what the command lets choose from; with none of them it has no --prior."""
    made.add_argument("--taxonomy", required=True, help="a shipped name (lanser taxonomies) or a YAML file")
    made.add_argument(
        "--nli-model",
        default=models.BUNDLED,
        help=f"'bundled', a directory or hub id such as {models.PRODUCTION_NLI}; default: %(default)s",
    )
    made.add_argument(
        "--template",
        action="append",
        help=f"may be given often: scores are averaged; default: the taxonomy's, or {DEFAULT_TEMPLATE!r}",
    )
    made.add_argument("--against", choices=AGAINST, default=CONTRADICTION, help=AGAINST_HELP)
    if priors:
        made.add_argument("--prior", choices=priors, default=NO_PRIOR, help=PRIOR_HELP)


def add_device_options(made: argparse.ArgumentParser) -> None:
    """For commands that run a model in their own process."""
    made.add_argument("--device", choices=DEVICES, default="auto", help="default: %(default)s")
    made.add_argument("--threads", type=positive(int), help="default: one a core")


def nli_device(device: str) -> str:
    """``auto`` made up: CUDA where there is one."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def label_spec(args: argparse.Namespace) -> LabelSpec:
    """Raises InputError for a bad taxonomy or template, or a model that cannot tell entailment."""
    try:
        taxonomy = load_taxonomy(args.taxonomy)
        given = args.template or [taxonomy.template or DEFAULT_TEMPLATE]
        templates = tuple(check_template(template, "--template") for template in dict.fromkeys(given))
        model = models.resolve_nli(args.nli_model)
        check_nli_config(model.path)
    except TaxonomyError as error:
        raise InputError(str(error)) from None
    return LabelSpec(taxonomy, templates, model, args.against, vars(args).get("prior", NO_PRIOR))
