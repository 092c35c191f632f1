"""Beam model handlers: one element of RunInference is one work unit.

Beam loads, shares and counts the models; what is done with them is in `lanser_ops.stages`.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from apache_beam.ml.inference.base import ModelHandler
from transformers.utils.logging import disable_progress_bar

from lanser_ops import models, stages
from lanser_ops.asr import AsrOptions, Clip, Hypothesis, Recognizer, load_recognizer, resolve_device
from lanser_ops.dataset import LabelSpec, TranscribeSpec
from lanser_ops.entailment import Scorer, Scores, load_scorer, score
from lanser_ops.errors import InputError
from lanser_ops.label_options import nli_device
from lanser_ops.models import ModelRef
from lanser_ops.scores import ScoreSet
from lanser_ops.transcribe import POOL_SECONDS, CutOptions
from lanser_ops.unit_run import UnitRun

M_ARENA_MAX = -8  # malloc.h


@dataclass(frozen=True)
class Worker:
    """Where and on what a stage runs; none of it changes an output (but see ``threads`` in the README)."""

    output: str
    roots: tuple[str, ...]
    device: str
    threads: int


class TranscribeHandler(ModelHandler[UnitRun, UnitRun, Recognizer]):
    """Units to transcripts on disk, with a faster-whisper model."""

    def __init__(self, worker: Worker, model_name: str, spec: TranscribeSpec):
        super().__init__(max_batch_size=1)
        self._worker, self._model_name, self._spec = worker, model_name, spec

    def load_model(self) -> Recognizer:
        settle()
        spec = self._spec
        model = same_model(models.resolve_asr(self._model_name), spec.asr_model)
        return load_recognizer(
            AsrOptions(
                model_dir=model.path,
                device=self._worker.device,
                threads=self._worker.threads,
                languages=spec.languages,
                other_languages=spec.other_languages,
                exact=spec.exact,
                beam_size=spec.beam_size,
            )
        )

    def share_model_across_processes(self) -> bool:
        """On a GPU the workers of a machine use one model by turns; on CPUs each has its own."""
        return resolve_device(self._worker.device) == "cuda"

    def run_inference(
        self, batch: Sequence[UnitRun], model: Recognizer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[UnitRun]:
        cut = CutOptions(self._spec.min_duration_s, self._spec.max_duration_s)
        return list(self._transcribe(batch, model, cut))

    def _transcribe(self, batch: Sequence[UnitRun], model: Recognizer, cut: CutOptions) -> Iterator[UnitRun]:
        pool_seconds = POOL_SECONDS[resolve_device(self._worker.device)]

        def recognize(clips: Sequence[Clip]) -> list[Hypothesis]:
            heard = model.recognize(clips)
            give_back_memory()
            return heard

        for run in batch:
            start = time.monotonic()
            stages.transcribe_unit(self._worker.output, run.unit, self._worker.roots, recognize, cut, pool_seconds)
            yield run.timed("transcribe", start)

    def get_metrics_namespace(self) -> str:
        return "lanser_transcribe"


class LateScorer:
    """A classifier that is loaded for the first texts that it is to score, which it takes by turns.

    Shards may bring along all there is to score; and two processes that score on one GPU at once could take
    more of its memory than there is.
    """

    def __init__(self, load: Callable[[], Scorer]):
        self._load, self._lock = cache(load), threading.Lock()

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """What `lanser_ops.entailment.score` gives with the classifier."""
        with self._lock:
            return score(self._load(), premises, hypotheses)


class ScoreHandler(ModelHandler[UnitRun, UnitRun, LateScorer]):
    """Units to entailment scores on disk, with an NLI cross-encoder.

    ``null_unit`` is the index of the unit with which the empty premise is scored, None where it is not wanted.
    """

    def __init__(
        self, worker: Worker, model_name: str, spec: LabelSpec, sets: tuple[ScoreSet, ...], null_unit: int | None
    ):
        super().__init__(max_batch_size=1)
        self._worker, self._model_name, self._spec = worker, model_name, spec
        self._sets, self._null_unit = sets, null_unit

    def load_model(self) -> LateScorer:
        return LateScorer(self._load)

    def _load(self) -> Scorer:
        model = same_model(models.resolve_nli(self._model_name), self._spec.nli_model)
        settle()
        disable_progress_bar()  # a bar for loading weights would write over the job's own
        return load_scorer(model.path, nli_device(self._worker.device), self._worker.threads, self._spec.against)

    def share_model_across_processes(self) -> bool:
        """As the recogniser: on a GPU the workers of a machine use one model."""
        return nli_device(self._worker.device) == "cuda"

    def run_inference(
        self, batch: Sequence[UnitRun], model: LateScorer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[UnitRun]:
        return list(self._score(batch, model))

    def _score(self, batch: Sequence[UnitRun], model: LateScorer) -> Iterator[UnitRun]:
        for run in batch:
            start = time.monotonic()
            pairs = stages.score_unit(self._worker.output, run.unit, self._sets, model.score)
            if run.unit.index == self._null_unit:
                pairs += stages.score_null(self._worker.output, self._sets, model.score)
            give_back_memory()
            yield replace(run.timed("score", start), pairs_scored=pairs)

    def get_metrics_namespace(self) -> str:
        return "lanser_score"


def settle() -> None:
    """Set a worker's process up for a long job.

    What is imported stays, so the garbage collector need not look through it again: with torch in it, a process ended
    a second later. And glibc is kept from giving every thread a heap of its own: decoding runs in a thread beside the
    models, each unit starts a new one, and with a heap each, freed audio stays with the process and a long job grows.
    Measured by benchmarks/memory.py.
    """
    gc.freeze()
    with contextlib.suppress(AttributeError):  # no glibc, no mallopt
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Return freed memory to the system, so that what one pool of audio left in pieces is not held for the next."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def same_model(found: ModelRef, wanted: ModelRef) -> ModelRef:
    """``found``, if it has the content that the launching machine saw; InputError if not."""
    if found.sha256 != wanted.sha256:
        raise InputError(
            f"model {wanted.id}: the worker found other weights (sha256 {found.sha256[:8]}) than the launching "
            f"machine ({wanted.sha256[:8]}); install the same version on both"
        )
    return found
