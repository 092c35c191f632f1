"""The options that decide a label, for every command that labels: added, checked and defaulted here."""

from __future__ import annotations

import argparse

from lanser_ops.backends import BUNDLED, LABELLERS, PRODUCTION_NLI, backend_of, resolve
from lanser_ops.common.command import between, positive, whole
from lanser_ops.common.device import DEVICES
from lanser_ops.common.errors import InputError
from lanser_ops.labelling.context import MAX_CONTEXT
from lanser_ops.labelling.nli_classes import AGAINST
from lanser_ops.labelling.weak_labels import NO_PRIOR, PRIORS
from schemas.specs import LabelSpec
from schemas.taxonomy import DEFAULT_TEMPLATE, TaxonomyError, check_template, load_taxonomy

AGAINST_HELP = (
    "what entailment is weighed against: all of the NLI model's classes, with which a text that says nothing about a "
    f"label scores it low, or contradiction alone, like the zero-shot pipeline; default: {LabelSpec.against}"
)
PRIOR_HELP = (
    "subtract what a label scores whatever was said: on average over the corpus, or on an empty text; "
    "default: %(default)s"
)
STRENGTH_HELP = (
    "the share of the prior that is subtracted, from 0 (nothing) to 1 (every label gets about an equal share of the "
    "corpus); default: %(default)g"
)
THRESHOLD_HELP = (
    "where the taxonomy has 'neutral: absence': the label is neutral unless another label's log score, less its share "
    "of the prior, exceeds this; default: %(default)g"
)

CONTEXT_HELP = (
    "previous utterances of the same recording or dialogue that the labeller reads before each transcript; "
    "default: %(default)s"
)


def add_label_options(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--prior", choices=PRIORS, default=LabelSpec.prior, help=PRIOR_HELP)
    parser.add_argument(
        "--prior-strength", type=between(0, 1), default=LabelSpec.prior_strength, metavar="S", help=STRENGTH_HELP
    )
    parser.add_argument(
        "--neutral-threshold",
        type=between(-100, 100),
        default=LabelSpec.neutral_threshold,
        metavar="X",
        help=THRESHOLD_HELP,
    )
    parser.add_argument(
        "--context", type=whole(0, MAX_CONTEXT), default=LabelSpec.context, metavar="K", help=CONTEXT_HELP
    )


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """For commands that run a model in their own process."""
    parser.add_argument("--device", choices=DEVICES, default="auto", help="default: %(default)s")
    parser.add_argument("--threads", type=positive(int), help="default: one per core")


def label_spec(args: argparse.Namespace) -> LabelSpec:
    """What the options decide.

    Raises InputError for a bad taxonomy or template, a model that cannot score it, or a threshold without a use.
    """
    try:
        taxonomy = load_taxonomy(args.taxonomy)
        templates = [check_template(template, "--template") for template in dict.fromkeys(args.template or [])]
    except TaxonomyError as error:
        raise InputError(str(error)) from None
    model = resolve(LABELLERS, args.nli_model)
    backend = backend_of(LABELLERS, args.nli_model)
    taxonomy, scored, against = backend.scoring(model, taxonomy, templates, args.against)
    # Two ways to ask for no correction, which give the same files.
    is_none = args.prior == NO_PRIOR or args.prior_strength == 0
    prior, strength = (NO_PRIOR, 0.0) if is_none else (args.prior, args.prior_strength)
    threshold = args.neutral_threshold
    if taxonomy.absence is None and threshold != LabelSpec.neutral_threshold:
        raise InputError(f"--neutral-threshold {threshold:g}: {taxonomy.name} has no 'neutral: absence'; leave it out")
    if taxonomy.absence is not None and prior == NO_PRIOR and threshold >= 0:
        raise InputError(
            f"--neutral-threshold {threshold:g}: without a prior no log score is above 0, so every utterance would be "
            "neutral; give a threshold below 0, such as -1, or a prior"
        )
    return LabelSpec(taxonomy, scored, model, against, prior, strength, threshold, args.context)
