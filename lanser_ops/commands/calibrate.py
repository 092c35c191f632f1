"""``lanser calibrate``: label options fitted on what people labelled, with what each costs and gains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lanser_ops.common.command import guarded, print_next, share
from lanser_ops.common.errors import InputError
from lanser_ops.common.label_scores import log_prior
from lanser_ops.common.parser import Parser
from lanser_ops.labelling import calibration
from lanser_ops.labelling.calibration import Fit, Interval, LabelledRows, Values
from lanser_ops.labelling.human_labels import HumanLabel, read_human_labels
from lanser_ops.shards.labelled import LabelledSample, Scoring, read_labelled_samples
from schemas.calibration import Calibration, dump_calibration
from schemas.specs import NULL_PRIOR

# Fewer labels cannot tell any two settings apart.
MIN_LABELLED = 30
OBJECTIVES = {"macro-f1": "macro_f1", "wa": "wa", "ua": "ua"}
# How figures are called in the output, and whether they are shares.
FIGURES = {
    "macro_f1": ("macro-F1", True),
    "wa": ("WA", True),
    "ua": ("UA", True),
    "log_loss": ("log loss", False),
    "calibration_error": ("calibration error", True),
    "precision": ("precision", True),
    "share": ("utterances", True),
}
THRESHOLDS_SHOWN = (0.0, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def build_parser() -> Parser:
    parser = Parser(
        "calibrate",
        "Fit prior strength, temperature and thresholds on a sample that people have labelled.",
        example="lanser calibrate out --csv sample.csv",
    )
    parser.add_argument("directory", metavar="DIR", help="what lanser sample drew from")
    parser.add_argument("--csv", required=True, metavar="FILE", help="the sample, its column 'human' filled in")
    parser.add_argument("--taxonomy", metavar="NAME", help="which one, where DIR has the shards of several")
    parser.add_argument(
        "--output", type=Path, default=Path("calibration.yaml"), metavar="YAML", help="default: %(default)s"
    )
    parser.add_argument(
        "--objective",
        choices=OBJECTIVES,
        default="macro-f1",
        help="what the options that decide a label are fitted for: every label counts the same (macro-f1, ua) or every "
        "utterance (wa); default: %(default)s",
    )
    parser.add_argument(
        "--precision",
        type=share,
        metavar="P",
        help="also set the threshold that keeps the most utterances with this share of right labels, such as 0.8",
    )
    parser.add_argument(
        "--accept-all", action="store_true", help="also set values whose gain may be an accident of the sample"
    )
    return parser


def run(argv: Sequence[str]) -> None:
    args = build_parser().parse_args(argv)
    scoring, samples = read_labelled_samples(args.directory, args.taxonomy)
    if scoring.prior == NULL_PRIOR:
        raise InputError(
            f"{args.directory}: was labelled with --prior null, which shards do not hold; relabel it first"
        )
    labelled, empty = read_human_labels(args.csv, scoring.fitted_on.labels)
    rows = labelled_rows(labelled, samples, scoring, args.csv)
    print(
        f"{len(labelled)} labelled rows, {empty} without a label skipped; "
        f"{len(samples):,} utterances in {args.directory}"
    )
    print("all figures have 95 % intervals; those after -> are of rows that a value was not fitted on; shares in %")
    values = Values(scoring.prior_strength, scoring.neutral_threshold, scoring.temperature)
    options = ["prior_strength"] if scoring.absence is None else ["prior_strength", "neutral_threshold"]
    for option in options:
        values = _decided(
            calibration.fit_labels(rows, option, values, OBJECTIVES[args.objective]), values, args.accept_all
        )
    values = _decided(calibration.fit_temperature(rows, values), values, args.accept_all)
    chosen = {option: getattr(values, option) for option in (*options, "temperature")}
    print("\n".join(_thresholds(rows, values)))
    if args.precision is not None:
        chosen |= _threshold(calibration.fit_threshold(rows, values, args.precision), args.precision, args.accept_all)
    content = dump_calibration(Calibration(scoring.fitted_on, len(labelled), chosen))
    try:
        args.output.write_bytes(content)
    except OSError as error:
        raise InputError(f"--output {args.output}: cannot be written ({error.strerror})") from None
    print(f"\nwrote {args.output}: " + ", ".join(f"{option} {value:g}" for option, value in chosen.items()))
    shards = ["--shards", args.directory, "--taxonomy", scoring.fitted_on.taxonomy]
    print_next("relabel", *shards, "--calibration", args.output, "--output", "DIR2")


def labelled_rows(
    labelled: Sequence[HumanLabel], samples: Sequence[LabelledSample], scoring: Scoring, csv: str
) -> LabelledRows:
    """The people's labels beside the stored scores, in key order, whatever the order of the file.

    Raises InputError for a row that is not in the shards, and for labels too few or of one kind only.
    """
    by_key = {sample.key: sample for sample in samples}
    for label in labelled:
        if label.key not in by_key:
            raise InputError(
                f"--csv {csv}: row {label.row}: {label.key} is not in the shards; name the directory of the sample"
            )
    ordered = sorted(labelled, key=lambda label: label.key)
    truth = np.array([label.label_index for label in ordered], np.int64)
    if len(labelled) < MIN_LABELLED or len(np.unique(truth)) < 2:
        raise InputError(
            f"--csv {csv}: has {len(labelled)} labels of {len(np.unique(truth))} kinds; "
            f"at least {MIN_LABELLED} of two kinds are needed, better 200"
        )
    # As for a build: utterances in doubt do not count for the prior.
    certain = [sample.entailment for sample in samples if not sample.flagged]
    return LabelledRows(
        entailment=np.stack([by_key[label.key].entailment for label in ordered]),
        truth=truth,
        weight=np.array([label.weight for label in ordered], np.float64),
        stratum=np.array([by_key[label.key].label_index for label in ordered], np.int64),
        prior=log_prior(np.array(certain, np.float32).reshape(len(certain), len(scoring.fitted_on.labels))),
        absence=scoring.absence,
    )


def _decided(fit: Fit, values: Values, accept_all: bool) -> Values:
    """``values`` with the fitted one if it is to be set; prints what it does."""
    is_set = fit.fitted != fit.current and (accept_all or fit.is_gain)
    print("\n".join(_report(fit, is_set)))
    return replace(values, **{fit.option: fit.fitted}) if is_set else values


def _threshold(fit: Fit | None, precision: float, accept_all: bool) -> dict[str, float]:
    """The threshold by the name of its option, empty if none is to be set; prints what it does."""
    if fit is None or fit.after["precision"].high < precision:
        print(f"\nno threshold reaches a precision of {precision:.0%} on rows that it was not fitted on: none is set")
        return {}
    is_set = accept_all or fit.is_gain
    print("\n".join(_report(fit, is_set)))
    return {fit.option: fit.fitted} if is_set else {}


def _report(fit: Fit, is_set: bool) -> Iterator[str]:
    """What an option does, line by line."""
    name, _ = FIGURES[fit.decisive]
    if fit.fitted == fit.current:
        decision = f"keep {fit.current:g}, which fits best"
    elif not is_set:
        decision = f"keep {fit.current:g}: the interval of what {fit.fitted:g} gains in {name} holds zero"
    else:
        warning = "" if fit.is_gain else f", though the interval of the gain in {name} holds zero (--accept-all)"
        decision = f"{fit.current:g} -> {fit.fitted:g}{warning}"
    yield f"\n{fit.option}: {decision}"
    for figure, gain in fit.gains.items():
        before, after = (_shown(each[figure], figure) for each in (fit.before, fit.after))
        yield f"  {FIGURES[figure][0]:<18} {before} -> {after}   {_shown(gain, figure, sign='+')}"


def _shown(interval: Interval, figure: str, sign: str = "") -> str:
    """An estimate with its interval; shares in percent."""
    factor, digits = (100, 1) if FIGURES[figure][1] else (1, 3)
    value, low, high = (f"{factor * part:{sign}.{digits}f}" for part in (interval.value, interval.low, interval.high))
    return f"{value} ({low} to {high})"


def _thresholds(rows: LabelledRows, values: Values) -> Iterator[str]:
    """What thresholds of the score keep, line by line."""
    yield "\n  score at least   utterances, %           precision, %"
    for threshold, figures in calibration.thresholds(rows, values, THRESHOLDS_SHOWN).items():
        share_kept, precision = (_shown(figures[name], name) for name in ("share", "precision"))
        yield f"  {threshold:<16g} {share_kept:<23} {precision}"


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "calibrate", interrupted="interrupted; nothing was written to --output")


if __name__ == "__main__":
    raise SystemExit(main())
