"""Do with the shards in the first argument what ``energon prepare`` does."""

from __future__ import annotations

import sys
from pathlib import Path

from megatron.energon.flavors.webdataset.prepare import WebdatasetPreparator

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    WebdatasetPreparator.prepare_dataset(
        folder,
        sorted(path.name for path in folder.glob("*.tar")),
        split_parts_patterns=[("train", "train-.*"), ("val", "val-.*")],
        workers=1,
    )
    print("\n{}")
