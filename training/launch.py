"""Starting several training processes on CPUs, where `accelerate launch --cpu` starts a single one."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

from lanser_ops.common.errors import InputError


def start_processes(argv: Sequence[str]) -> None:
    """Replace this process by as many as `accelerate launch --cpu` was asked for.

    On CPUs accelerate starts several processes through MPI only. Without a host file it starts one, and passes the
    requested number nowhere but in its own command line (https://github.com/huggingface/accelerate/issues/2741).
    """
    launched = os.environ.get("ACCELERATE_USE_CPU") == "True" and "MASTER_ADDR" in os.environ
    if not launched or "WORLD_SIZE" in os.environ:
        return
    import psutil

    match = re.search(r"--num[_-]processes[= ](\d+)", " ".join(psutil.Process(os.getppid()).cmdline()))
    if not match:
        raise InputError(
            "accelerate launch started one process instead of several: give it --num_processes, "
            "or use torchrun --nproc-per-node N -m training.pretrain … --device cpu"
        )
    if int(match[1]) > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", match[1]]
        os.execv(sys.executable, [sys.executable, *launcher, "-m", "training.pretrain", *argv])
