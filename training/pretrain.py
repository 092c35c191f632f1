"""``lanser pretrain``: learn emotion from weak labels.

For several GPUs ``accelerate launch --num_processes N -m training.pretrain --shards … --output RUN``, for several
processes on CPUs ``accelerate launch --cpu --num_processes N …``, or torchrun.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import set_seed

from training.checkpoints import list_checkpoints
from training.dataset import Layout, check_layout
from training.device import add_device_option, pick_device
from training.errors import InputError, Parser, count, guarded, positive
from training.features import Augment
from training.loop import end_processes
from training.losses import TargetSpec
from training.model import RESNETS, new_model
from training.shards import Index, find_shards, read_index
from training.trainer import Plan, make_schedule, train

OPTIONS = "run.json"
# Options that may differ when a run is resumed: they change neither the samples' order nor the arithmetic.
FREE = ("shards", "output", "resume", "verbose", "device", "checkpoint_every", "log_every", "max_steps")
PEAK_RATE = {True: 1e-3, False: 3e-5}  # for a network that starts from nothing, and for a pretrained encoder


def parser() -> Parser:
    made = Parser("lanser pretrain", description="Learn emotion from weak-label shards.")
    made.add_argument("--shards", nargs="+", required=True, metavar="DIR_OR_GLOB", help="what lanser build wrote")
    made.add_argument("--output", required=True, type=Path, metavar="RUN")
    backbones = f"{', '.join(RESNETS)}, or an audio encoder's directory or hub id"
    made.add_argument("--backbone", default="resnet50", help=backbones)
    made.add_argument("--epochs", type=count, default=20)
    made.add_argument("--batch-size", type=count, default=32, help="samples a process takes at once")
    made.add_argument("--accumulate", type=count, default=1, help="micro-batches per optimizer step")
    made.add_argument("--lr", type=positive, help="peak learning rate (1e-3; 3e-5 for audio encoders)")
    made.add_argument("--weight-decay", type=float, default=0.01)
    made.add_argument("--warmup", type=float, default=0.05, help="share of the steps")
    made.add_argument("--crop-s", type=positive, default=4.0, help="seconds of a clip that are looked at")
    made.add_argument("--labels", choices=("hard", "soft"), default="hard")
    made.add_argument("--temperature", type=positive, default=1.0, help="of soft labels; above 1 is flatter")
    made.add_argument("--prior-correction", action="store_true", help="divide scores by their mean over the corpus")
    made.add_argument("--margin-weighting", action="store_true")
    made.add_argument("--class-balance", action="store_true")
    made.add_argument("--shuffle-labels", action="store_true", help="control: targets of random other samples")
    made.add_argument("--no-augment", dest="augment", action="store_false")
    made.add_argument("--workers", type=count, default=1, help="loader processes per process")
    made.add_argument("--in-process", action="store_true", help="read in this process, without loader processes")
    made.add_argument("--buffer", type=count, default=500, help="samples a reader shuffles among")
    made.add_argument("--seed", type=int, default=0)
    add_device_option(made)
    made.add_argument("--precision", choices=("no", "bf16", "fp16"), default="no")
    made.add_argument("--checkpoint-every", type=count, default=500, metavar="STEPS")
    made.add_argument("--log-every", type=count, default=1, metavar="STEPS")
    made.add_argument("--max-steps", type=count, help="stop, with a checkpoint, after so many steps in all")
    made.add_argument("--resume", action="store_true", help="go on after the last checkpoint of RUN")
    made.add_argument("--verbose", action="store_true", help="show the whole trace of an error")
    return made


def run(argv: Sequence[str] | None = None) -> None:
    """Parse ``argv`` and train; raises InputError for what the user has to mend."""
    args = parser().parse_args(argv)
    _start_processes(sys.argv[1:] if argv is None else argv)
    pick_device(args.device)  # refuses a GPU that is not there; accelerate chooses among the others
    if args.in_process and args.workers > 1:
        raise InputError("--in-process reads with one worker; leave --workers out")
    index = read_index(find_shards(args.shards, "train"))
    several = DistributedDataParallelKwargs(find_unused_parameters=args.backbone not in RESNETS)
    accelerator = Accelerator(cpu=args.device == "cpu", mixed_precision=args.precision, kwargs_handlers=[several])
    layout = Layout(
        args.seed, args.batch_size, args.crop_s, args.workers, args.buffer,
        accelerator.process_index, accelerator.num_processes,
    )  # fmt: skip
    check_layout(index, layout)
    set_seed(args.seed)
    model = new_model(args.backbone, index.taxonomy, index.labels)
    checkpoint = _prepare_output(args, index, accelerator)
    targets = TargetSpec(
        args.labels == "soft", args.temperature, args.prior_correction, args.margin_weighting, args.class_balance,
        args.shuffle_labels,
    )  # fmt: skip
    plan = Plan(
        output=args.output,
        index=index,
        layout=layout,
        targets=targets,
        schedule=make_schedule(index, layout, args.epochs, args.accumulate),
        accumulate=args.accumulate,
        peak=args.lr or PEAK_RATE[args.backbone in RESNETS],
        weight_decay=args.weight_decay,
        warmup=args.warmup,
        augment=Augment() if args.augment else None,
        processes=not args.in_process,
        checkpoint_every=args.checkpoint_every,
        log_every=args.log_every,
        max_steps=args.max_steps or math.inf,
        validation=find_shards(args.shards, "val"),
    )
    try:
        train(plan, accelerator, model, checkpoint)
    finally:
        end_processes(accelerator)


def main(argv: Sequence[str] | None = None) -> int:
    return guarded(run, argv, "pretrain")


def _start_processes(argv: Sequence[str]) -> None:
    """Start as many processes as `accelerate launch --cpu` was asked for, in the place of the one that it started.

    On CPUs it starts several through MPI only. Without a host file it starts one, and the number that it was asked for
    stands nowhere but in its own command (https://github.com/huggingface/accelerate/issues/2741).
    """
    launched = os.environ.get("ACCELERATE_USE_CPU") == "True" and "MASTER_ADDR" in os.environ
    if not launched or "WORLD_SIZE" in os.environ:
        return
    asked = re.search(r"--num[_-]processes[= ](\d+)", " ".join(psutil.Process().parent().cmdline()))
    if not asked:
        raise InputError(
            "accelerate launch started one process where several were asked for: give it --num_processes, "
            "or use torchrun --nproc-per-node N -m training.pretrain … --device cpu"
        )
    if int(asked[1]) > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", asked[1]]
        os.execv(sys.executable, [sys.executable, *launcher, "-m", "training.pretrain", *argv])


def _prepare_output(args: argparse.Namespace, index: Index, accelerator: Accelerator) -> Path | None:
    """Make RUN, or check that it is this run; the checkpoint to go on from, if there is one."""
    content = hashlib.sha256("\n".join([*index.keys, *index.labels]).encode()).hexdigest()
    options = {name: value for name, value in vars(args).items() if name not in FREE}
    options |= {"processes": accelerator.num_processes, "shards_sha256": content, "taxonomy": index.taxonomy}
    path = args.output / OPTIONS
    there = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
    accelerator.wait_for_everyone()
    if there is not None and not args.resume:
        raise InputError(f"{args.output}: holds a run; go on with it with --resume, or choose another --output")
    if there is not None and there != options:
        differ = [name for name in sorted(options.keys() | there.keys()) if options.get(name) != there.get(name)]
        told = ", ".join(f"{name} was {there.get(name)}, now {options.get(name)}" for name in differ)
        raise InputError(f"{args.output}: cannot go on with other options ({told})")
    if there is None and accelerator.is_main_process:
        args.output.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(options, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    checkpoints = list_checkpoints(args.output)
    return checkpoints[-1] if checkpoints else None


if __name__ == "__main__":
    raise SystemExit(main())
