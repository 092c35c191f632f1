"""The command line options of the pipelines: each is added, checked and defaulted here and nowhere else.

Those of labels, which commands without a pipeline have too, are in `lanser_ops.labelling.options`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lanser_ops import storage
from lanser_ops.asr.base import MAX_CLIP_S
from lanser_ops.backends import ASR, BUNDLED, PRODUCTION_ASR, SPEECH, backend_of, resolve
from lanser_ops.common.command import between, positive, warn
from lanser_ops.common.device import DEVICES
from lanser_ops.common.errors import InputError
from lanser_ops.common.events import add_log_format, set_format
from lanser_ops.common.parser import Parser, add_flag
from lanser_ops.common.selection import add_selection_options, add_threshold_options, selection_spec
from lanser_ops.labelling.options import calibrated, label_spec, read_calibration
from lanser_ops.speech_labelling.classes import check_classes
from pipelines.beam_flags import check_flags
from pipelines.estimate_options import DryRun, read_dry_run
from schemas.specs import CutSpec, LabelSpec, PlanSpec, ShardSpec, SpeechSpec, TranscribeSpec
from schemas.taxonomy import Taxonomy
from schemas.units import Part

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

# Dataflow's name for the GPU that serves Whisper and an NLI model at the lowest price, and for its driver.
ACCELERATOR = "type:nvidia-l4;count:1;install-nvidia-driver"
ACCELERATOR_FORM = re.compile(
    r"type:[a-z0-9-]+;count:[1-9][0-9]*(;machine_type:[a-z0-9-]+)?(;install-nvidia-driver(:[a-z0-9.]+)?)?"
)
# What the smallest machine with an L4 has. The models and a unit's audio take far less.
MIN_RAM = "16GB"
RAM_FORM = re.compile(r"[1-9][0-9]*(\.[0-9]+)?[KMGT]i?B")


@dataclass(frozen=True)
class RunOptions:
    """How a job runs, none of which decides an output.

    ``part`` is None for a job that does all units, ``dry_run`` where the job is to run; ``workers`` and ``threads`` are
    None where the user gave none.
    ``hints`` are Beam's resource hints for the inference steps, by name; empty where no GPU is asked for. ``beam`` is
    None where no option goes to Beam, so that Beam is not imported before everything else is checked.
    """

    output: str
    part: Part | None
    overwrite: bool
    verify: bool
    device: str
    workers: int | None
    threads: int | None
    verbose: bool
    hints: dict[str, str]
    dry_run: DryRun | None
    beam: PipelineOptions | None


def job_parser(command: str, description: str, example: str) -> Parser:
    """A parser that knows the options of every job; the others are added by the functions below."""
    parser = Parser(
        command,
        description,
        example,
        notes="Options that are not listed go to Beam (--runner, --region, --temp_location, …).",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--output", required=True, metavar="DIR", help="local folder, gs://… or s3://…")
    output.add_argument(
        "--part",
        type=_part,
        metavar="K/N",
        help="do the K-th of N parts of the units, beside jobs for the others; the last one to end accounts for all",
    )
    add_flag(output, "--overwrite", "remove what lanser wrote there and no longer fits")
    add_flag(output, "--verify", "read everything at the end and check it, as lanser verify does")
    machine = parser.add_argument_group("running")
    machine.add_argument("--device", choices=DEVICES, default="auto", help="what the models run on")
    machine.add_argument(
        "--workers", type=positive(int), metavar="N", help="worker processes of the direct runner; default: 1"
    )
    machine.add_argument(
        "--threads",
        type=positive(int),
        metavar="N",
        help="threads per worker; default: cores / workers, or 1 where the runner starts one worker per core",
    )
    machine.add_argument(
        "--accelerator",
        nargs="?",
        type=_of_form(ACCELERATOR_FORM, ACCELERATOR),
        const=ACCELERATOR,
        metavar="HINT",
        help="ask Dataflow for a GPU, for the inference steps alone; without a value: %(const)s",
    )
    machine.add_argument(
        "--min-ram",
        type=_of_form(RAM_FORM, MIN_RAM),
        metavar="SIZE",
        help=f"memory of a machine for the inference steps; default: {MIN_RAM} with --accelerator",
    )
    add_log_format(machine)
    add_flag(machine, "--verbose", "show Beam's log, and whole traces")
    return parser


def add_source_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("input")
    plan = PlanSpec()
    group.add_argument(
        "--input",
        required=True,
        action="append",
        nargs="+",
        metavar="SRC",
        help="a folder, a glob, a manifest (.csv .tsv .jsonl .parquet) or a WebDataset tar; may be given often",
    )
    group.add_argument(
        "--num-shards", type=positive(int), metavar="N", help="how many work units; wins over --shard-size-mb"
    )
    group.add_argument(
        "--shard-size-mb",
        type=positive(float),
        metavar="MB",
        default=plan.shard_size_mb,
        help="megabytes of input in a unit; default: %(default)g",
    )
    group.add_argument(
        "--val-fraction",
        type=between(0, 1),
        metavar="SHARE",
        default=plan.val_fraction,
        help="the share of the recordings whose utterances go into val shards; default: %(default)g",
    )


def add_asr_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("recognition")
    cut = CutSpec()
    group.add_argument(
        "--asr-model",
        metavar="MODEL",
        default=BUNDLED,
        help="'bundled', a faster-whisper directory (also in gs:// or s3://), a hub id, or transformers:MODEL; "
        f"for production {PRODUCTION_ASR}; default: %(default)s",
    )
    group.add_argument(
        "--language",
        metavar="CODES",
        default="auto",
        help="'auto', or codes such as en or en,de: others become rejects; default: auto",
    )
    group.add_argument(
        "--other-languages",
        choices=("reject", "flag"),
        default="reject",
        help="what becomes of an utterance outside --language: out, or kept with a flag; default: %(default)s",
    )
    windows = group.add_mutually_exclusive_group()
    add_flag(windows, "--exact", "recognise everything in Whisper's full 30 s window, as a GPU always does")
    add_flag(windows, "--short-windows", "on a CPU, encode less silence after short utterances, which is faster")
    group.add_argument(
        "--beam-size",
        type=positive(int),
        metavar="N",
        default=TranscribeSpec.beam_size,
        help="hypotheses that Whisper's beam search keeps",
    )
    group.add_argument(
        "--min-duration",
        type=positive(float),
        metavar="S",
        default=cut.min_duration_s,
        help="seconds; shorter utterances are rejects; default: %(default)s",
    )
    group.add_argument(
        "--max-duration",
        type=positive(float),
        metavar="S",
        help="seconds; longer recordings are cut at pauses; default: over 30 s, into at most 20 s",
    )


def add_labels_from_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument_group("labels from elsewhere").add_argument(
        "--labels-from",
        metavar="FILE",
        help="labels or scores (.csv .tsv .jsonl .parquet) by key or path, in the place of a labeller's; default: none",
    )


def shard_label_spec(args: argparse.Namespace) -> LabelSpec:
    """The label stage of a command that takes --labels-from. Raises InputError as `label_spec` does."""
    if args.labels_from is None:
        return label_spec(args)
    from lanser_ops.labelling.label_file import file_label_spec  # imports pyarrow: not for a mistyped option

    return file_label_spec(args)


def add_shard_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("shards")
    add_threshold_options(group)
    add_flag(group, "--keep-flagged", "keep utterances whose transcript is in doubt")
    add_flag(group, "--agree", "leave out utterances whose label is not the one that the speech model favours")
    add_flag(group, "--redact", "leave the transcripts out of the shards, for a data set that is to be published")
    add_selection_options(parser)


def add_speech_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speech model")
    group.add_argument(
        "--speech-model",
        metavar="MODEL",
        help="a model that scores the emotion of the audio, beside the text: a directory (also in gs:// or s3://) or "
        "hub id of a transformers audio classifier, or lanser:RUN/model of lanser finetune; default: none",
    )


def parse(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, RunOptions]:
    """Parse ``argv``; what our parser does not know must be an option of Beam's."""
    args, flags = parser.parse_known_args(argv)
    set_format(args.log_format)  # which a file of options may have chosen
    beam = None
    if flags:
        check_flags(parser, flags)
        from pipelines.beam_options import parse_beam_flags

        beam = parse_beam_flags(flags)
    if beam is None:
        for name in ("accelerator", "min_ram"):
            if getattr(args, name):
                warn(f"--{name.replace('_', '-')} does nothing without --runner, which names a service")
    hints = {"accelerator": args.accelerator, "min_ram": args.min_ram or (args.accelerator and MIN_RAM)}
    dry_run = read_dry_run(args)
    if dry_run and args.part:
        raise InputError("--dry-run describes the job for all units; leave out --part")
    return args, RunOptions(
        output=storage.absolute(args.output),
        part=args.part,
        overwrite=args.overwrite,
        verify=args.verify,
        device=args.device,
        workers=args.workers,
        threads=args.threads,
        verbose=args.verbose,
        hints={name: value for name, value in hints.items() if value},
        dry_run=dry_run,
        beam=beam,
    )


def plan_options(args: argparse.Namespace) -> PlanSpec:
    if args.num_shards and args.shard_size_mb != PlanSpec.shard_size_mb:
        warn("--shard-size-mb does nothing with --num-shards, which decides")
    return PlanSpec(args.num_shards, args.shard_size_mb, args.val_fraction)


def input_names(args: argparse.Namespace) -> list[str]:
    return [name for group in args.input for name in group]


def transcribe_spec(args: argparse.Namespace) -> TranscribeSpec:
    """Raises InputError for a model that is not there or a language that Whisper does not know."""
    backend = backend_of(ASR, args.asr_model)
    languages = () if args.language == "auto" else _language_codes(args.language, backend.language_code)
    if args.other_languages != TranscribeSpec.other_languages and not languages:
        warn(f"--other-languages {args.other_languages} does nothing with --language auto, which admits all")
    if args.max_duration is not None and not args.min_duration < args.max_duration <= MAX_CLIP_S:
        raise InputError(f"--max-duration {args.max_duration:g}: must lie between --min-duration and 30 s")
    spec = TranscribeSpec(
        asr_model=resolve(ASR, args.asr_model),
        languages=languages,
        other_languages=args.other_languages,
        exact=args.exact,
        short_windows=args.short_windows,
        beam_size=args.beam_size,
        min_duration_s=args.min_duration,
        max_duration_s=args.max_duration,
    )
    backend.check(spec)
    return spec


def _language_codes(names: str, code_of: Callable[[str], str | None]) -> tuple[str, ...]:
    codes = set()
    for name in names.split(","):
        code = code_of(name)
        if code is None:
            raise InputError(
                f"--language {name.strip()}: the recogniser knows no such language (en, de, fr, …, or auto)"
            )
        codes.add(code)
    return tuple(sorted(codes))


def speech_spec(args: argparse.Namespace, taxonomy: Taxonomy) -> SpeechSpec | None:
    """Raises InputError for a model that is not there or knows none of the labels, and for --agree without a model."""
    if args.speech_model is None:
        if args.agree:
            raise InputError("--agree: there is nothing to agree with; give --speech-model")
        return None
    model = resolve(SPEECH, args.speech_model)
    classes = backend_of(SPEECH, args.speech_model).classes(model)
    check_classes(f"--speech-model {args.speech_model}", classes, taxonomy)
    return SpeechSpec(model, classes)


def shard_spec(args: argparse.Namespace, speech: SpeechSpec | None = None) -> ShardSpec:
    calibration = read_calibration(args.calibration)
    return replace(
        selection_spec(args),
        min_score=calibrated(args, calibration, "min_score", ShardSpec.min_score),
        min_margin=calibrated(args, calibration, "min_margin", ShardSpec.min_margin),
        keep_flagged=args.keep_flagged,
        speech=speech,
        agree=args.agree,
        redact=args.redact,
    )


def _of_form(form: re.Pattern[str], example: str) -> Callable[[str], str]:
    def checked(text: str) -> str:
        if not form.fullmatch(text):
            raise argparse.ArgumentTypeError(f"{text!r} is not of the form {example}")
        return text

    return checked


def _part(text: str) -> Part:
    """An option's type: a part of a job's units, such as 3/16."""
    matched = re.fullmatch(r"([1-9][0-9]{0,4})/([1-9][0-9]{0,4})", text)
    if not matched or int(matched[1]) > int(matched[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a part such as 3/16, from 1/16 to 16/16")
    return Part(int(matched[1]), int(matched[2]))
