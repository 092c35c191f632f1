"""The command line options of the pipelines: each is added, checked and defaulted here and nowhere else.

Those of labels, which commands without a pipeline have too, are in `lanser_ops.label_options`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from lanser_ops import asr, models, storage
from lanser_ops.cli import Parser
from lanser_ops.dataset import ShardSpec, TranscribeSpec
from lanser_ops.errors import InputError
from lanser_ops.plan import PlanOptions
from lanser_ops.transcribe import CutOptions

DIRECT_RUNNERS = (None, "DirectRunner", "direct")


@dataclass(frozen=True)
class RunOptions:
    """How a job runs, none of which decides an output; ``beam`` is what goes on to Beam."""

    output: str
    overwrite: bool
    device: str
    workers: int
    threads: int
    verbose: bool
    beam: PipelineOptions


def parser(command: str, description: str) -> Parser:
    """A parser that knows the options of every job; the others are added by the functions below."""
    made = Parser(
        prog=f"lanser {command}",
        description=description,
        epilog="Options that are not listed go to Beam (--runner, --region, --temp_location, …).",
        allow_abbrev=False,
    )
    made.add_argument("--output", required=True, metavar="DIR", help="local folder, gs://… or s3://…")
    made.add_argument("--overwrite", action="store_true", help="remove what lanser wrote there and no longer fits")
    made.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: %(default)s")
    made.add_argument("--workers", type=_positive(int), help="worker processes of the direct runner; default: 1")
    made.add_argument("--threads", type=_positive(int), help="threads a worker; default: cores / workers")
    made.add_argument("--verbose", action="store_true", help="show Beam's log, and whole traces")
    return made


def add_source_options(made: argparse.ArgumentParser) -> None:
    plan = PlanOptions()
    made.add_argument(
        "--input",
        required=True,
        action="append",
        nargs="+",
        metavar="SRC",
        help="a folder, a glob, a manifest (.csv .tsv .jsonl .parquet) or a WebDataset tar; may be given often",
    )
    made.add_argument("--num-shards", type=_positive(int), help="how many work units; wins over --shard-size-mb")
    made.add_argument(
        "--shard-size-mb",
        type=_positive(float),
        default=plan.shard_size_mb,
        help="megabytes of input in a unit; default: %(default)g",
    )
    made.add_argument(
        "--val-fraction",
        type=_fraction,
        default=plan.val_fraction,
        help="of the recordings; default: %(default)g",
    )


def add_asr_options(made: argparse.ArgumentParser) -> None:
    cut = CutOptions()
    made.add_argument(
        "--asr-model",
        default=models.BUNDLED,
        help="'bundled', a faster-whisper directory (also in gs:// or s3://) or a hub id "
        f"such as {models.PRODUCTION_ASR}; default: %(default)s",
    )
    made.add_argument(
        "--language",
        default="auto",
        help="'auto', or codes such as en or en,de: others become rejects; default: auto",
    )
    made.add_argument(
        "--other-languages",
        choices=("reject", "flag"),
        default="reject",
        help="what becomes of an utterance outside --language: out, or kept with a flag; default: %(default)s",
    )
    made.add_argument("--exact", action="store_true", help="recognise everything in Whisper's full 30 s window")
    made.add_argument("--beam-size", type=_positive(int), default=asr.BEAM_SIZE, help="default: %(default)s")
    made.add_argument(
        "--min-duration",
        type=_positive(float),
        default=cut.min_duration_s,
        help="seconds; shorter utterances are rejects; default: %(default)s",
    )
    made.add_argument(
        "--max-duration",
        type=_positive(float),
        help="seconds; longer recordings are cut at pauses; default: over 30 s, into at most 20 s",
    )


def add_shard_options(made: argparse.ArgumentParser) -> None:
    made.add_argument("--min-score", type=_fraction, default=ShardSpec.min_score, help="default: %(default)s")
    made.add_argument("--min-margin", type=_fraction, default=ShardSpec.min_margin, help="default: %(default)s")
    made.add_argument("--keep-flagged", action="store_true", help="keep utterances whose transcript is in doubt")


def parse(made: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, RunOptions]:
    """Parse ``argv``; what our parser does not know must be an option of Beam's."""
    args, unknown = made.parse_known_args(argv)
    beam = PipelineOptions(_checked_beam_flags(unknown))
    storage.set_options(beam)  # models and input are looked at before there is a pipeline
    direct = beam.get_all_options()
    workers = args.workers or direct.get("direct_num_workers") or 1
    return args, RunOptions(
        output=storage.absolute(args.output),
        overwrite=args.overwrite,
        device=args.device,
        workers=workers,
        threads=args.threads or max(1, (os.cpu_count() or 1) // workers),
        verbose=args.verbose,
        beam=beam,
    )


def is_direct(options: RunOptions) -> bool:
    return options.beam.view_as(StandardOptions).runner in DIRECT_RUNNERS


def plan_options(args: argparse.Namespace) -> PlanOptions:
    return PlanOptions(args.num_shards, args.shard_size_mb, args.val_fraction)


def input_names(args: argparse.Namespace) -> list[str]:
    return [name for group in args.input for name in group]


def transcribe_spec(args: argparse.Namespace) -> TranscribeSpec:
    """Raises InputError for a model that is not there or a language that Whisper does not know."""
    wanted = () if args.language == "auto" else _language_codes(args.language)
    if args.max_duration is not None and not args.min_duration < args.max_duration <= asr.WINDOW_S:
        raise InputError(f"--max-duration {args.max_duration:g}: must lie between --min-duration and 30 s")
    model = models.resolve_asr(args.asr_model)
    if wanted and "en" not in wanted and models.knows_english_alone(model):
        raise InputError(
            f"--language {args.language}: {model.id} knows English alone; --asr-model takes a multilingual one"
        )
    return TranscribeSpec(
        asr_model=model,
        languages=wanted,
        other_languages=args.other_languages,
        exact=args.exact,
        beam_size=args.beam_size,
        min_duration_s=args.min_duration,
        max_duration_s=args.max_duration,
    )


def _language_codes(names: str) -> tuple[str, ...]:
    codes = set()
    for name in names.split(","):
        code = asr.language_code(name)
        if code is None:
            raise InputError(f"--language {name.strip()}: Whisper knows no such language (en, de, fr, …, or auto)")
        codes.add(code)
    return tuple(sorted(codes))


def shard_spec(args: argparse.Namespace) -> ShardSpec:
    return ShardSpec(args.min_score, args.min_margin, args.keep_flagged)


def _checked_beam_flags(flags: list[str]) -> list[str]:
    """``flags``, if Beam knows them all: Beam itself drops a mistyped one without a word."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for options in PipelineOptions.__subclasses__():
        try:
            options._add_argparse_args(known)
        except argparse.ArgumentError:
            continue
    known.error = lambda message: (_ for _ in ()).throw(InputError(message))
    _, unknown = known.parse_known_args(flags)
    if unknown:
        raise InputError(f"unknown option {unknown[0]}; neither lanser nor Beam has it")
    return flags


def _positive(kind: type):
    def number(text: str) -> float:
        value = kind(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not a positive number")
        return value

    number.__name__ = kind.__name__  # argparse names it in its message
    return number


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} does not lie between 0 and 1")
    return value
