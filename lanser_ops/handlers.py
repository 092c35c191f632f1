"""Beam model handlers: one element of RunInference is one work unit.

Beam loads, shares and counts the models; what is done with them is in `lanser_ops.stages`.
"""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from apache_beam.ml.inference.base import ModelHandler
from transformers.utils.logging import disable_progress_bar

from lanser_ops import models, stages
from lanser_ops.asr import AsrOptions, Recognizer, load_recognizer, resolve_device
from lanser_ops.dataset import TranscribeSpec
from lanser_ops.entailment import Scorer, load_scorer, score
from lanser_ops.errors import InputError
from lanser_ops.models import ModelRef
from lanser_ops.plan import Unit
from lanser_ops.transcribe import POOL_SECONDS, CutOptions

M_ARENA_MAX = -8  # malloc.h


@dataclass(frozen=True)
class UnitRun:
    """A unit on its way through the stages, with the seconds that each took in this run."""

    unit: Unit
    seconds: tuple[tuple[str, float], ...] = ()

    def timed(self, stage: str, start: float) -> UnitRun:
        return replace(self, seconds=(*self.seconds, (stage, time.monotonic() - start)))


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
        bound_arenas()
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

    def run_inference(
        self, batch: Sequence[UnitRun], model: Recognizer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[UnitRun]:
        cut = CutOptions(self._spec.min_duration_s, self._spec.max_duration_s)
        return list(self._transcribe(batch, model, cut))

    def _transcribe(self, batch: Sequence[UnitRun], model: Recognizer, cut: CutOptions) -> Iterator[UnitRun]:
        pool_seconds = POOL_SECONDS[resolve_device(self._worker.device)]
        for run in batch:
            start = time.monotonic()
            stages.transcribe_unit(
                self._worker.output, run.unit, self._worker.roots, model.recognize, cut, pool_seconds
            )
            give_back_memory()
            yield run.timed("transcribe", start)

    def get_metrics_namespace(self) -> str:
        return "lanser_transcribe"


class ScoreHandler(ModelHandler[UnitRun, UnitRun, Scorer]):
    """Units to entailment scores on disk, with an NLI cross-encoder."""

    def __init__(self, worker: Worker, model_name: str, model: ModelRef, sets: tuple[stages.ScoreSet, ...]):
        super().__init__(max_batch_size=1)
        self._worker, self._model_name, self._model, self._sets = worker, model_name, model, sets

    def load_model(self) -> Scorer:
        model = same_model(models.resolve_nli(self._model_name), self._model)
        bound_arenas()
        disable_progress_bar()  # a bar for loading weights would write over the job's own
        device = self._worker.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        return load_scorer(model.path, device, self._worker.threads)

    def run_inference(
        self, batch: Sequence[UnitRun], model: Scorer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[UnitRun]:
        return list(self._score(batch, model))

    def _score(self, batch: Sequence[UnitRun], model: Scorer) -> Iterator[UnitRun]:
        def scores(premises: Sequence[str], hypotheses: Sequence[str]):
            found = score(model, premises, hypotheses)
            return found.entailment, found.truncated

        for run in batch:
            start = time.monotonic()
            stages.score_unit(self._worker.output, run.unit, self._sets, scores)
            give_back_memory()
            yield run.timed("score", start)

    def get_metrics_namespace(self) -> str:
        return "lanser_score"


def bound_arenas() -> None:
    """Keep glibc from giving every thread a heap of its own.

    Decoding runs in a thread beside the models, and each unit starts a new one: with an arena each, freed
    audio stays with the process and a long job grows. Measured by benchmarks/memory.py.
    """
    with contextlib.suppress(AttributeError):  # no glibc, no mallopt
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


def give_back_memory() -> None:
    """Return freed memory to the system, so that what one unit left in pieces is not held for the next."""
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
