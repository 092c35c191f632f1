"""What is refused before a job: places that its workers cannot see, directories that another command made."""

from __future__ import annotations

from lanser_ops import storage
from lanser_ops.common.errors import InputError
from lanser_ops.labelling.label_file import OPTION
from lanser_ops.output import resume
from lanser_ops.output.directory import OutputDir
from lanser_ops.shards.relabel import ShardSource
from lanser_ops.speech_labelling.classes import check_classes
from pipelines.job_spec import JobSpec


def check_places(job: JobSpec, out: OutputDir) -> None:
    """Raise InputError for a folder of this machine, which Dataflow's workers cannot see."""
    inputs = job.inputs.names if job.inputs else []
    files = [job.labels_from] if job.labels_from else []
    given = [("--input", inputs), ("--shards", job.shards), (OPTION, files), ("--output", [out.root])]
    for option, place in ((option, place) for option, places in given for place in places):
        if not storage.is_remote(place):
            raise InputError(f"{option} {place}: Dataflow's workers cannot see this machine's folders; give gs://…")


def check_origin(out: OutputDir, job: JobSpec, before: dict) -> None:
    """A directory's transcripts come from audio or from shards; --overwrite does not turn one into the other."""
    if job.shards and any(resume.stored(before, stage, None) for stage in ("plan", "transcribe")):
        raise InputError(f"--output {out.root}: was made from audio by lanser build; relabel into another folder")
    if not job.shards and resume.stored(before, "unpack", None):
        raise InputError(
            f"--output {out.root}: was made from shards by lanser relabel; use that again, or another --output"
        )


def check_order(out: OutputDir, job: JobSpec, before: dict) -> None:
    """Raise InputError where the files that the first stage of the job reads do not exist."""
    if not job.inputs and not job.shards and not resume.stored(before, "transcribe", None):
        raise InputError(f"--output {out.root}: no transcripts there; run lanser transcribe or lanser build first")
    if not job.score and job.shard and not resume.stored(before, "label", job.taxonomy):
        raise InputError(f"--output {out.root}: no labels for {job.taxonomy} there; run lanser label first")


def check_voices(job: JobSpec, source: ShardSource) -> None:
    """Raise InputError where --agree finds no scores of a speech model in the shards, or none for the taxonomy."""
    if not (job.label and job.shard and job.shard.agree):
        return
    for tar, classes in zip(source.tars, source.speech_classes, strict=True):
        if not classes:
            raise InputError(
                f"--agree: {tar.path} has no scores of a speech model; build the shards with --speech-model"
            )
        check_classes(f"--agree: the speech model of {tar.path}", classes, job.label.taxonomy)
