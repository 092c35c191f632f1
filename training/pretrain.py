"""``lanser pretrain``: learn emotion from weak labels.

For several GPUs ``accelerate launch --num_processes N -m training.pretrain --shards … --output RUN``, for several
processes on CPUs ``accelerate launch --cpu --num_processes N …``, or torchrun.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from lanser_ops.common.command import between, guarded, positive, print_next, seed_number, warn
from lanser_ops.common.device import DEVICES, resolve_device
from lanser_ops.common.errors import InputError, naming
from lanser_ops.common.parser import Parser
from lanser_ops.common.selection import add_selection_options, add_threshold_options, selection_spec
from schemas.taxonomy import Taxonomy, TaxonomyError, load_taxonomy
from training.backbones import RESNETS, peak_rate
from training.launch import start_processes
from training.model_options import ModelOptions, add_model_options, add_step_options, read_model_options
from training.qualities import LABELS, OBJECTIVES, QUALITIES, ObjectiveSpec
from training.shards import find_shards, parse_sources
from training.tracking import add_tracker_option, tracker_options

OPTIONS = "run.json"
CORPUS_BAND, FULL_BAND = "corpus", "full"
# Options that may differ when a run is resumed: they change neither the samples' order nor the arithmetic.
FREE = {"shards", "output", "cache", "resume", "verbose", "device", "checkpoint_every", "log_every", "max_steps"}
FREE |= {"sidecar", "tracker", "config"}
# The other processes wait for the first one while it measures prosody; on GPUs the default is 10 minutes.
MAX_WAIT = timedelta(days=1)


def build_parser() -> Parser:
    parser = Parser(
        "pretrain", "Learn emotion from weak-label shards.", example="lanser pretrain --shards out --output run"
    )
    data = parser.add_argument_group("data")
    data.add_argument(
        "--shards", nargs="+", required=True, metavar="PLACE",
        help="the output of lanser build, or a glob, local, gs:// or s3://; several with shares are mixed, as in "
        "A:0.7 B:0.3",
    )  # fmt: skip
    data.add_argument(
        "--sidecar", nargs="+", default=[], metavar="PLACE",
        help="labels to train on in place of those in the shards: the output of lanser relabel --sidecar, or a glob",
    )  # fmt: skip
    data.add_argument(
        "--map", metavar="TAXONOMY",
        help="train on other labels, made of the hypotheses of those in the shards: a shipped name or a YAML file, "
        "usually one with 'group:'",
    )  # fmt: skip
    add_threshold_options(data)
    add_selection_options(parser)
    add_model_options(parser, default="resnet50")
    sound = parser.add_argument_group("sound")
    sound.add_argument(
        "--band", choices=(FULL_BAND, CORPUS_BAND), default=FULL_BAND,
        help=f"{CORPUS_BAND}: remove, also from what the model hears later, what lies above the band of the shards' "
        f"speech; default: {FULL_BAND}, which removes nothing",
    )  # fmt: skip
    sound.add_argument(
        "--shuffle-pieces", type=positive(float), metavar="S",
        help="train on clips cut into pieces of S seconds, in a random order, in which words are hard to hear; "
        "default: clips as they are",
    )  # fmt: skip
    objective = parser.add_argument_group("objective")
    objective.add_argument(
        "--objective", choices=OBJECTIVES, default=LABELS,
        help="controls that need no labels: prosody, regressed, or masked input, reconstructed",
    )  # fmt: skip
    objective.add_argument("--labels", choices=("hard", "soft"), default="hard", help="one label, or all with shares")
    objective.add_argument(
        "--temperature", type=positive(float), default=1.0, metavar="T", help="of soft labels; above 1 is flatter"
    )
    objective.add_argument(
        "--prior-strength",
        type=between(0, 1),
        metavar="S",
        help="choose labels again with this share of the corpus prior, as lanser build --prior-strength does; "
        "default: the labels and prior of the shards",
    )
    objective.add_argument(
        "--auxiliary", nargs="+", choices=QUALITIES, default=[], metavar="QUALITY",
        help=f"beside the labels, regress some of {', '.join(QUALITIES)}; default: none",
    )  # fmt: skip
    objective.add_argument(
        "--auxiliary-weight", type=positive(float), default=ObjectiveSpec.auxiliary_weight, metavar="X",
        help="of the loss of --auxiliary",
    )  # fmt: skip
    objective.add_argument(
        "--margin-weighting", action="store_true", help="weight samples by the margin of their label"
    )
    objective.add_argument("--class-balance", action="store_true", help="weight samples by the rarity of their label")
    objective.add_argument("--shuffle-labels", action="store_true", help="control: targets of random other samples")
    training = parser.add_argument_group("training")
    training.add_argument("--epochs", type=positive(int), default=20, metavar="N", help="passes over the samples")
    training.add_argument(
        "--batch-size", type=positive(int), default=32, metavar="N", help="samples per process and micro-batch"
    )
    training.add_argument(
        "--accumulate", type=positive(int), default=1, metavar="N", help="micro-batches per optimizer step"
    )
    add_step_options(training, warmup=0.05, crop_s=4.0)
    training.add_argument("--no-augment", dest="augment", action="store_false", help="without SpecAugment and gain")
    training.add_argument(
        "--max-steps", type=positive(int), metavar="N", help="stop, with a checkpoint, after this many steps in all"
    )
    training.add_argument("--seed", type=seed_number, default=0, help="of weights, order and augmentation")
    running = parser.add_argument_group("running")
    running.add_argument(
        "--output", required=True, type=Path, metavar="RUN", help="folder for model, log and checkpoints"
    )
    running.add_argument("--resume", action="store_true", help="continue from the last checkpoint of RUN")
    running.add_argument("--device", choices=DEVICES, default="auto", help="what the network runs on")
    running.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no", help="mixed precision")
    running.add_argument("--workers", type=positive(int), default=1, metavar="N", help="loader processes per process")
    running.add_argument("--in-process", action="store_true", help="read in this process, without loader processes")
    running.add_argument(
        "--buffer", type=positive(int), default=500, metavar="N", help="samples in a reader's shuffle buffer"
    )
    running.add_argument(
        "--checkpoint-every", type=positive(int), default=500, metavar="STEPS", help="steps between checkpoints"
    )
    running.add_argument(
        "--log-every", type=positive(int), default=1, metavar="STEPS", help="steps between lines of the log"
    )
    add_tracker_option(running)
    running.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return parser


def run(argv: Sequence[str]) -> None:
    """Parse ``argv`` and train; raises InputError for what the user has to fix."""
    args = build_parser().parse_args(argv)
    model_options = read_model_options(args)
    if model_options.frozen and args.workers > 1:
        raise InputError("--frozen trains on features in memory, without loader processes; leave --workers out")
    if args.in_process and args.workers > 1:
        raise InputError("--in-process reads with a single worker; leave --workers out")
    if (args.output / OPTIONS).exists() and not args.resume:
        raise InputError(f"{args.output}: holds a run; continue it with --resume, or choose another --output")
    _warn(args, model_options)
    objective = _objective(args)
    groups = _groups(args.map)
    sources = parse_sources(args.shards)
    for source in sources:
        find_shards(source.locations, "train")
    find_shards(args.sidecar, "train")
    # Not for --help or a mistyped option: they take seconds to import, and are not in every installation.
    from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
    from accelerate.utils import set_seed

    from training.blocks import open_blocks
    from training.checkpoints import list_checkpoints
    from training.dataset import Layout, check_layout
    from training.features import Augment
    from training.level import measure_sound
    from training.loop import end_processes
    from training.losses import TargetSpec
    from training.model import new_model
    from training.objectives import PretrainNetwork
    from training.prepare import SampleSpec, prepare, with_prosody
    from training.summaries import first_waves, standardise, summarise
    from training.trainer import Plan, make_schedule, train

    start_processes(argv)
    device = resolve_device(args.device)  # accelerate chooses among several GPUs
    if device == "cpu" and args.precision == "fp16":
        raise InputError("--precision fp16: needs a GPU; use --precision bf16, or leave it out")
    targets = TargetSpec(
        args.labels == "soft", args.temperature, args.prior_strength, args.margin_weighting, args.class_balance,
        args.shuffle_labels,
    )  # fmt: skip
    trackers = tracker_options(args.tracker, args.output)
    spec = SampleSpec(targets, selection_spec(args), groups, args.seed, tuple(args.sidecar))
    samples, validation, lines = prepare(sources, spec)
    unused = DistributedDataParallelKwargs(
        find_unused_parameters=args.backbone not in RESNETS or objective.objective != LABELS
    )
    waiting = InitProcessGroupKwargs(timeout=MAX_WAIT)
    accelerator = Accelerator(
        cpu=device == "cpu", mixed_precision=args.precision, kwargs_handlers=[unused, waiting], **trackers
    )
    layout = Layout(
        args.seed, args.batch_size, args.crop_s, args.workers, args.buffer,
        accelerator.process_index, accelerator.num_processes, args.shuffle_pieces,
    )  # fmt: skip
    check_layout(samples, layout)
    if model_options.frozen and accelerator.num_processes > 1:
        raise InputError("--frozen trains in a single process; start it without accelerate launch or torchrun")
    sound = measure_sound(first_waves(samples))
    if args.band == FULL_BAND:
        sound = replace(sound, band_hz=None)
    set_seed(args.seed)
    model = new_model(args.backbone, samples.taxonomy, samples.labels, model_options.pooling, sound)
    open_blocks(model, model_options.blocks)
    network = PretrainNetwork(model, objective, from_summaries=model_options.frozen)
    content = hashlib.sha256("\n".join([*samples.keys, *samples.labels]).encode()).hexdigest()
    options = {name: value for name, value in vars(args).items() if name not in FREE}
    options |= {"processes": accelerator.num_processes, "shards_sha256": content, "taxonomy": samples.taxonomy}
    options |= {"shares": list(samples.shares) if samples.shares else None}
    options |= {"map": {label.name: list(label.hypotheses) for label in groups.labels} if groups else None}
    is_new = _check_output(args.output, options)
    accelerator.wait_for_everyone()  # every process has looked before the first one writes
    if accelerator.is_main_process:
        print(*lines, sep="\n", file=sys.stderr)
        if is_new:
            _write_options(args.output, options)
    if objective.qualities:
        with accelerator.main_process_first():  # the others read what it has stored
            samples, validation = with_prosody(samples, validation, objective.qualities, args.output / "prosody")
    summaries = validation_summaries = None
    if model_options.frozen:
        summaries = summarise(model, samples, accelerator.device, model_options.cache, layout)
        standardise(model, summaries)
        if validation is not None:
            validation_summaries = summarise(model, validation, accelerator.device, model_options.cache)
    checkpoints = list_checkpoints(args.output)
    plan = Plan(
        output=args.output,
        samples=samples,
        layout=layout,
        schedule=make_schedule(samples, layout, args.epochs, args.accumulate),
        accumulate=args.accumulate,
        peak=args.lr or peak_rate(args.backbone in RESNETS or model_options.frozen),
        weight_decay=args.weight_decay,
        warmup=args.warmup,
        layer_decay=model_options.layer_decay,
        augment=Augment() if args.augment and not model_options.frozen else None,
        processes=not args.in_process,
        checkpoint_every=args.checkpoint_every,
        log_every=args.log_every,
        max_steps=args.max_steps or math.inf,
        validation=validation,
        options=options,
        summaries=summaries,
        validation_summaries=validation_summaries,
    )
    try:
        with naming(str(args.output)):
            metrics = train(plan, accelerator, network, checkpoints[-1] if checkpoints else None)
    finally:
        end_processes(accelerator)
    if metrics is not None and accelerator.is_main_process:
        _print_end(args.output, plan.schedule.steps, metrics)


def _objective(args: argparse.Namespace) -> ObjectiveSpec:
    if args.auxiliary and args.objective != LABELS:
        raise InputError(f"--auxiliary goes with the labels, not with --objective {args.objective}; leave one out")
    return ObjectiveSpec(args.objective, tuple(dict.fromkeys(args.auxiliary)), args.auxiliary_weight)


def _warn(args: argparse.Namespace, model_options: ModelOptions) -> None:
    """Name the options that do nothing in this run."""
    if args.temperature != 1.0 and args.labels == "hard":
        warn("--temperature does nothing with --labels hard; add --labels soft")
    if args.auxiliary_weight != ObjectiveSpec.auxiliary_weight and not args.auxiliary:
        warn("--auxiliary-weight does nothing without --auxiliary")
    if not args.augment and model_options.frozen:
        warn("--no-augment does nothing with --frozen, which trains on stored features")
    if args.objective != LABELS:
        given = {
            "--labels soft": args.labels == "soft",
            "--margin-weighting": args.margin_weighting,
            "--class-balance": args.class_balance,
            "--shuffle-labels": args.shuffle_labels,
        }
        for name in (name for name, is_given in given.items() if is_given):
            warn(f"{name} does nothing with --objective {args.objective}, which has no labels")


def _groups(name: str | None) -> Taxonomy | None:
    try:
        return load_taxonomy(name) if name else None
    except TaxonomyError as error:
        raise InputError(f"--map {error}") from None


def _print_end(output: Path, steps: int, metrics: dict[str, dict[str, float]]) -> None:
    """Say what was written, how good it is, and what comes next."""
    from training.trainer import BEST, MODEL, describe

    last = f"; {describe(metrics['last'])}" if metrics else "; no validation shards"
    print(f"wrote {output / MODEL}: {steps} steps{last}")
    if metrics:
        print(f"wrote {output / BEST}: after epoch {metrics['best']['epoch']:.0f}; {describe(metrics['best'])}")
    print_next("finetune", "--checkpoint", output, "--data", "CSV_OR_CORPUS", "--output", "RUN")


def main(argv: Sequence[str] | None = None) -> int:
    interrupted = "interrupted; continue from the last checkpoint with --resume"
    return guarded(run, argv, "pretrain", interrupted=interrupted, extra="train")


def _check_output(output: Path, options: dict[str, Any]) -> bool:
    """Whether ``output`` holds no run yet. Raises InputError for a run that cannot be continued."""
    path = output / OPTIONS
    if not path.exists():
        return True
    try:
        saved = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); choose another --output") from None
    names = [name for name in sorted(options.keys() | saved.keys()) if options.get(name) != saved.get(name)]
    if names:
        changes = ", ".join(f"{name} was {saved.get(name)}, now {options.get(name)}" for name in names)
        raise InputError(f"{output}: cannot continue with other options ({changes})")
    return False


def _write_options(output: Path, options: dict[str, Any]) -> None:
    """Write ``options`` to RUN/run.json, under a temporary name first, so that the file is complete if it exists.

    Raises InputError where nothing can be written.
    """
    temporary = output / f".{OPTIONS}"
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(options, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        temporary.rename(output / OPTIONS)
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written to ({error.strerror})") from None


if __name__ == "__main__":
    raise SystemExit(main())
