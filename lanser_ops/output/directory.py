"""The output directory: where each of its files lies, and how it is read and written.

Names are relative to the directory. A file appears under its name only when it is whole (`storage.atomic_writer`).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from lanser_ops import storage
from lanser_ops.common.errors import InputError, first_line
from schemas.records import Transcript, WeakLabel, from_table
from schemas.specs import ModelRef, ScoreSet
from schemas.tables import FORMS, table_fault
from schemas.units import Unit

DATASET = "dataset.json"
PLAN = "plan.parquet"
CARD = "README.md"
REPORT = "report.html"
# Where the recordings lie for the jobs of this directory: the only paths of the machine in it, and not to be published.
ROOTS = ".private/roots.json"
SENTENCES = "sentences.json"
NULL = "null.parquet"


@dataclass(frozen=True)
class OutputDir:
    """An output directory at ``root``, a local path, gs://… or s3://….

    ``job`` names the job that writes to it, in the names of its temporary files.

    >>> out = OutputDir("/data/out")
    >>> unit = Unit(index=7, count=32, split="train", sources=100, bytes=1_000_000)
    >>> out.labels("ekman", unit)
    'labels/ekman/part-00007-of-00032.parquet'
    >>> out.path(out.shard("ekman", unit))
    '/data/out/shards/ekman/train-00007-of-00032.tar'
    """

    root: str
    job: str = ""

    def transcripts(self, unit: Unit) -> str:
        return f"transcripts/{unit.part}"

    def rejects(self, unit: Unit) -> str:
        return f"rejects/{unit.part}"

    def labels(self, taxonomy: str, unit: Unit) -> str:
        return f"labels/{taxonomy}/{unit.part}"

    def shards(self, taxonomy: str) -> str:
        return f"shards/{taxonomy}"

    def shard(self, taxonomy: str, unit: Unit) -> str:
        return f"{self.shards(taxonomy)}/{unit.shard}"

    def scores(self, score_set: ScoreSet, unit: Unit) -> str:
        return f"scores/{score_set.name}/{unit.part}"

    def null_scores(self, score_set: ScoreSet) -> str:
        """The scores of the empty premise, which a null prior takes off."""
        return f"scores/{score_set.name}/{NULL}"

    def sentences(self, score_set: ScoreSet) -> str:
        """The hypotheses of a score set, and what their scores depend on."""
        return f"scores/{score_set.name}/{SENTENCES}"

    def speech_scores(self, model: ModelRef, unit: Unit) -> str:
        """What a speech model scores the audio of the unit's utterances."""
        return f"speech/{model.sha256[:16]}/{unit.part}"

    def marker(self, stage: str, unit: Unit, taxonomy: str | None) -> str:
        """The file that marks ``stage`` (``transcribe``, ``unpack``, ``label``, ``shard``) as done for the unit.

        A unit without samples has no shard. Raises ValueError where the stage needs a taxonomy and there is none.
        """
        if stage in ("transcribe", "unpack"):
            return self.transcripts(unit)
        if taxonomy is None:
            raise ValueError(f"the stage {stage!r} concerns one taxonomy")
        return self.shard(taxonomy, unit) if stage == "shard" else self.labels(taxonomy, unit)

    def path(self, name: str) -> str:
        return storage.join(self.root, name)

    def exists(self, name: str) -> bool:
        return storage.exists(self.path(name))

    def names(self, folder: str = "") -> dict[str, int]:
        """Size in bytes of every file below ``folder``, by name."""
        files = storage.list_files(self.path(folder) if folder else self.root)
        return {path[len(self.root.rstrip("/")) + 1 :]: size for path, size in files.items()}

    def read_bytes(self, name: str) -> bytes:
        return storage.read_bytes(self.path(name))

    def write_bytes(self, name: str, content: bytes) -> None:
        storage.write_bytes(self.root, name, content, self.job)

    def read_table(self, name: str, columns: list[str] | None = None) -> pa.Table:
        """Raises InputError, which names the file, for one that is not a whole Parquet file of the folder's form."""
        try:
            table = storage.read_table(self.path(name), columns)
        except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a column's name that is not UTF-8
            if getattr(error, "errno", None) is not None:  # of the disk or the store, not of what is in the file
                raise
            raise self.damaged(name, first_line(error)[:80]) from None
        form = FORMS.get(name.split("/")[0])
        fault = table_fault(table, form, columns) if form else None
        if fault:
            raise self.damaged(name, fault)
        return table

    def damaged(self, name: str, fault: str) -> InputError:
        """The error for a file that is not what was written."""
        return InputError(f"{self.path(name)}: is damaged ({fault}); delete it, and run the command that made it")

    def write_table(self, name: str, table: pa.Table) -> None:
        storage.write_table(self.root, name, table, self.job)

    def open_read(self, name: str) -> BinaryIO:
        return storage.open_read(self.path(name))

    def writer(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A stream whose content appears under ``name`` when the block ends without an error."""
        return storage.atomic_writer(self.root, name, self.job)

    def delete(self, names: Iterable[str]) -> None:
        storage.delete_files([self.path(name) for name in names], self.root)

    def read_transcripts(self, unit: Unit) -> list[Transcript]:
        return from_table(self.read_table(self.transcripts(unit)), Transcript)

    def read_labels(self, taxonomy: str, unit: Unit) -> list[WeakLabel]:
        return from_table(self.read_table(self.labels(taxonomy, unit)), WeakLabel)
