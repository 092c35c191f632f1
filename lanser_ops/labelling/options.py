"""The options that decide a label, for every command that labels: added, checked and defaulted here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from lanser_ops.backends import BUNDLED, LABELLERS, PRODUCTION_NLI, backend_of, resolve
from lanser_ops.common.command import positive
from lanser_ops.common.device import DEVICES
from lanser_ops.common.errors import InputError
from lanser_ops.labelling.nli_classes import AGAINST, CONTRADICTION
from lanser_ops.labelling.weak_labels import NO_PRIOR, PRIORS
from schemas.specs import LabelSpec
from schemas.taxonomy import DEFAULT_TEMPLATE, TaxonomyError, check_template, load_taxonomy

AGAINST_HELP = (
    "what entailment is weighed against: contradiction alone, like the zero-shot pipeline, or all of the NLI model's "
    "classes, with which a text that says nothing about a label scores it low; "
    f"default: {CONTRADICTION}"
)
PRIOR_HELP = (
    "subtract what a label scores whatever was said: on average over the corpus, or on an empty text; "
    "default: %(default)s"
)


def add_label_options(parser: argparse.ArgumentParser, priors: Sequence[str] = PRIORS) -> None:
    """``priors`` are the choices of --prior; without any, the option is not added."""
    parser.add_argument("--taxonomy", required=True, help="a shipped name (lanser taxonomies) or a YAML file")
    parser.add_argument(
        "--nli-model",
        default=BUNDLED,
        help=f"'bundled', a directory or a hub id such as {PRODUCTION_NLI}, or classifier:MODEL for a text classifier "
        "whose classes are the labels; default: %(default)s",
    )
    parser.add_argument(
        "--template",
        action="append",
        help=f"may be given several times: scores are averaged; default: the taxonomy's, or {DEFAULT_TEMPLATE!r}",
    )
    # No choices: which values there are depends on the backend, and its scoring() refuses the others.
    parser.add_argument("--against", metavar=f"{{{','.join(AGAINST)}}}", help=AGAINST_HELP)
    if priors:
        parser.add_argument("--prior", choices=priors, default=NO_PRIOR, help=PRIOR_HELP)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """For commands that run a model in their own process."""
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: %(default)s")
    parser.add_argument("--threads", type=positive(int), help="default: one per core")


def label_spec(args: argparse.Namespace) -> LabelSpec:
    """What the options decide. Raises InputError for a bad taxonomy or template, or a model that cannot score it."""
    try:
        taxonomy = load_taxonomy(args.taxonomy)
        templates = [check_template(template, "--template") for template in dict.fromkeys(args.template or [])]
    except TaxonomyError as error:
        raise InputError(str(error)) from None
    model = resolve(LABELLERS, args.nli_model)
    backend = backend_of(LABELLERS, args.nli_model)
    taxonomy, scored, against = backend.scoring(model, taxonomy, templates, args.against)
    return LabelSpec(taxonomy, scored, model, against, vars(args).get("prior", NO_PRIOR))
