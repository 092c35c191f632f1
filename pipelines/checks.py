"""What is refused before a job: places that its workers cannot see, directories that are not made this way."""

from __future__ import annotations

from lanser_ops import resume, storage
from lanser_ops.errors import InputError
from pipelines.graph import Stages


def check_places(wanted: Stages, output: str) -> None:
    """Raise InputError for a folder of this machine, which Dataflow's workers cannot see."""
    inputs = wanted.inputs.names if wanted.inputs else []
    given = [("--input", inputs), ("--shards", wanted.shards), ("--output", [output])]
    for option, place in ((option, place) for option, places in given for place in places):
        if not storage.is_remote(place):
            raise InputError(f"{option} {place}: Dataflow's workers cannot see this machine's folders; give gs://…")


def check_origin(output: str, wanted: Stages, before: dict) -> None:
    """A directory's transcripts come from audio or from shards; --overwrite does not turn one into the other."""
    if wanted.shards and any(resume.stored(before, stage, None) for stage in ("plan", "transcribe")):
        raise InputError(f"--output {output}: was made from audio by lanser build; relabel into another folder")
    if not wanted.shards and resume.stored(before, "unpack", None):
        raise InputError(
            f"--output {output}: was made from shards by lanser relabel; use that again, or another --output"
        )


def check_order(output: str, wanted: Stages, before: dict, taxonomy: str | None) -> None:
    if not wanted.inputs and not wanted.shards and not resume.stored(before, "transcribe", None):
        raise InputError(f"--output {output}: no transcripts there; run lanser transcribe or lanser build first")
    if not wanted.score and wanted.shard and not resume.stored(before, "label", taxonomy):
        raise InputError(f"--output {output}: no labels for {taxonomy} there; run lanser label first")
