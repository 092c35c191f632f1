"""The options that decide a label, for every command that labels: added, checked and defaulted here."""

from __future__ import annotations

import argparse

from lanser_ops import storage
from lanser_ops.backends import BUNDLED, LABELLERS, PRODUCTION_NLI, backend_of, resolve
from lanser_ops.common.command import between, positive, warn, whole
from lanser_ops.common.device import DEVICES
from lanser_ops.common.errors import InputError
from lanser_ops.labelling.nli_classes import AGAINST
from schemas.calibration import RANGES, Calibration, FittedOn, parse_calibration
from schemas.specs import CORPUS_PRIOR, MAX_CONTEXT, NO_PRIOR, PRIORS, LabelSpec
from schemas.strict_yaml import YamlError
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
    f"corpus); default: {LabelSpec.prior_strength:g}"
)
THRESHOLD_HELP = (
    "where the taxonomy has 'neutral: absence': the label is neutral unless another label's log score, less its share "
    f"of the prior, exceeds this; default: {LabelSpec.neutral_threshold:g}"
)
CALIBRATION_HELP = (
    "a file of lanser calibrate: its values take the place of the defaults of --prior-strength, --neutral-threshold, "
    "--temperature, --min-score and --min-margin"
)
TEMPERATURE_HELP = (
    "divides log scores before they become score and margin: above 1 they are less certain, below 1 more; the label "
    f"stays the same; default: {LabelSpec.temperature:g}"
)

CONTEXT_HELP = (
    "previous utterances of the same recording or dialogue that the labeller reads before each transcript; "
    "default: %(default)s"
)


def add_label_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("labels")
    group.add_argument(
        "--taxonomy", required=True, metavar="T", help="a shipped name (lanser taxonomies) or a YAML file"
    )
    group.add_argument(
        "--nli-model",
        metavar="MODEL",
        default=BUNDLED,
        help=f"'bundled', a directory or a hub id such as {PRODUCTION_NLI}, or classifier:MODEL for a text classifier "
        "whose classes are the labels; default: %(default)s",
    )
    group.add_argument(
        "--template",
        metavar="TEXT",
        action="append",
        help=f"may be given several times: scores are averaged; default: the taxonomy's, or {DEFAULT_TEMPLATE!r}",
    )
    # No choices: which values there are depends on the backend, and its scoring() refuses the others.
    group.add_argument("--against", metavar=f"{{{','.join(AGAINST)}}}", help=AGAINST_HELP)
    group.add_argument("--prior", choices=PRIORS, default=LabelSpec.prior, help=PRIOR_HELP)
    # No defaults: a value of --calibration comes before the default, and a flag before both.
    for name, metavar, what in (
        ("prior_strength", "S", STRENGTH_HELP),
        ("neutral_threshold", "X", THRESHOLD_HELP),
        ("temperature", "T", TEMPERATURE_HELP),
    ):
        flag = f"--{name.replace('_', '-')}"
        group.add_argument(flag, type=between(*RANGES[name]), metavar=metavar, help=what)
    group.add_argument(
        "--context", type=whole(0, MAX_CONTEXT), default=LabelSpec.context, metavar="K", help=CONTEXT_HELP
    )
    group.add_argument("--calibration", metavar="FILE.yaml", help=CALIBRATION_HELP)


def read_calibration(path: str | None) -> Calibration | None:
    """The file of --calibration, None without one. Raises InputError where it cannot be used."""
    if path is None:
        return None
    try:
        return parse_calibration(storage.read_bytes(path), path)
    except OSError as error:
        reason = error.strerror or " ".join(str(error).split())
        raise InputError(f"--calibration {path}: cannot be read ({reason})") from None
    except YamlError as error:
        raise InputError(f"--calibration {error}") from None


def calibrated(args: argparse.Namespace, calibration: Calibration | None, name: str, default: float) -> float:
    """The value of the option ``name``: the user's, else that of ``calibration``, else ``default``."""
    stored = calibration.values.get(name) if calibration else None
    return next((value for value in (getattr(args, name), stored) if value is not None), default)


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """For commands that run a model in their own process."""
    group = parser.add_argument_group("running")
    group.add_argument("--device", choices=DEVICES, default="auto", help="what the models run on")
    group.add_argument("--threads", type=positive(int), metavar="N", help="of the model; default: one per core")


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
    calibration = read_calibration(args.calibration)
    if calibration:
        _check_calibration(args, calibration, FittedOn.of(taxonomy, scored, model, against))
    # Two ways to ask for no correction, which give the same files.
    strength = calibrated(args, calibration, "prior_strength", LabelSpec.prior_strength)
    if args.prior == NO_PRIOR and args.prior_strength:
        warn(f"--prior-strength {strength:g} does nothing with --prior {NO_PRIOR}")
    elif strength == 0 and args.prior not in (NO_PRIOR, LabelSpec.prior):
        warn(f"--prior {args.prior} does nothing with --prior-strength 0")
    is_none = args.prior == NO_PRIOR or strength == 0
    prior, strength = (NO_PRIOR, 0.0) if is_none else (args.prior, strength)
    threshold = calibrated(args, calibration, "neutral_threshold", LabelSpec.neutral_threshold)
    if taxonomy.absence is None and threshold != LabelSpec.neutral_threshold:
        raise InputError(f"--neutral-threshold {threshold:g}: {taxonomy.name} has no 'neutral: absence'; leave it out")
    if taxonomy.absence is not None and prior == NO_PRIOR and threshold >= 0:
        raise InputError(
            f"--neutral-threshold {threshold:g}: without a prior no log score is above 0, so every utterance would be "
            "neutral; give a threshold below 0, such as -1, or a prior"
        )
    temperature = calibrated(args, calibration, "temperature", LabelSpec.temperature)
    return LabelSpec(taxonomy, scored, model, against, prior, strength, threshold, temperature, args.context)


def _check_calibration(args: argparse.Namespace, calibration: Calibration, scoring: FittedOn) -> None:
    """Raises InputError for a calibration whose values mean nothing for the scores that ``scoring`` describes."""
    fitted = calibration.fitted_on
    where = f"--calibration {calibration.path}: was fitted on"
    again = "calibrate again, or leave the file out"
    if (fitted.taxonomy, fitted.labels) != (scoring.taxonomy, scoring.labels):
        same = "other labels of the same name" if fitted.taxonomy == scoring.taxonomy else f"not {scoring.taxonomy}"
        raise InputError(f"{where} the taxonomy {fitted.taxonomy}, {same}; {again}")
    if fitted.nli_sha256 != scoring.nli_sha256:
        raise InputError(f"{where} scores of {fitted.nli_model}, not of {scoring.nli_model}; {again}")
    if fitted.against != scoring.against:
        raise InputError(f"{where} --against {fitted.against}, not {scoring.against}; {again}")
    if fitted.templates != scoring.templates:
        raise InputError(f"{where} other templates ({', '.join(fitted.templates)}); {again}")
    if args.prior not in (NO_PRIOR, CORPUS_PRIOR) and args.prior_strength is None:
        raise InputError(f"{where} the corpus prior, not --prior {args.prior}; give --prior-strength, or leave it out")
