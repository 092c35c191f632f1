"""``python -m lanser_ops.worker_process GPU…``: a worker process of Beam's direct runner that sees one of the GPUs.

The variable is set before anything can ask CUDA for devices, and every library then finds a single one, ``cuda:0``; so
backends need not know that there are others.
"""

from __future__ import annotations

import os
import sys

from lanser_ops.common.device import DEALT_GPU, VISIBLE_GPUS, deal

WORKER_ID = "WORKER_ID"  # Beam's name of this worker, such as worker_3
WORKER_MODULE = "apache_beam.runners.worker.sdk_worker_main"


def main() -> None:
    gpu = deal(os.environ[WORKER_ID], sys.argv[1:])
    os.environ |= {VISIBLE_GPUS: gpu, DEALT_GPU: gpu}
    os.execv(sys.executable, [sys.executable, "-m", WORKER_MODULE])


if __name__ == "__main__":
    main()
