"""What is said of a job beside its figures, before it runs and afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from lanser_ops.backends import BUNDLED, PRODUCTION_ASR, PRODUCTION_NLI
from lanser_ops.corpus.plan import read_units
from lanser_ops.labelling.label_file import unmatched_rows
from lanser_ops.output import dataset
from lanser_ops.output.directory import OutputDir
from lanser_ops.speech_labelling.classes import class_labels
from pipelines.job_spec import JobSpec

# How many rows are named at most.
NAMED_ROWS = 10


def remarks(job: JobSpec) -> Iterator[str]:
    """A line for each model that is no production model, and for labels that --agree leaves out."""
    yield from _bundled_lines(job)
    yield from _silent_labels(job)


def closing_remarks(job: JobSpec, out: OutputDir) -> Iterator[str]:
    """A line on rows of --labels-from that name nothing, such as those of another corpus, or mistyped ones."""
    if not (job.labels_from and job.label):
        return
    roots, labels = dataset.read_roots(out), job.label.taxonomy.label_names
    if numbers := unmatched_rows(out, read_units(out), roots, job.labels_from, labels):
        named = ", ".join(map(str, numbers[:NAMED_ROWS])) + (", …" if len(numbers) > NAMED_ROWS else "")
        rows = "1 row names" if len(numbers) == 1 else f"{len(numbers):,} rows name"
        yield f"--labels-from {job.labels_from}: {rows} no utterance with a transcript: {named}"


def _bundled_lines(job: JobSpec) -> Iterator[str]:
    advice = "small and bundled for a quick start; for production"
    if job.transcribe and job.asr_name == BUNDLED:
        yield f"ASR: {job.transcribe.asr_model.id}, {advice} --asr-model {PRODUCTION_ASR}"
    if job.label and job.score and not job.labels_from and job.nli_name == BUNDLED:
        yield f"NLI: {job.label.nli_model.id}, {advice} --nli-model {PRODUCTION_NLI}"


def _silent_labels(job: JobSpec) -> Iterator[str]:
    if not (job.label and job.shard and job.shard.agree and job.speech):
        return
    labels = job.label.taxonomy.label_names
    known = class_labels(job.speech.classes, labels).values()
    if unknown := [label for label in labels if label not in known]:
        yield f"--agree: {job.speech.model.id} has no class for {', '.join(unknown)}; such utterances are left out"
