"""Beam model handlers: one element of RunInference is one work unit.

Beam loads, shares and counts the models; what is done with them is in `lanser_ops.asr` and `lanser_ops.labelling`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from lanser_ops.asr.base import Clip, Hypothesis, Recognizer
from lanser_ops.asr.transcribe import transcribe_unit
from lanser_ops.backends import ASR, LABELLERS, SPEECH, backend_of, resolve_same
from lanser_ops.beam_compat import ModelHandler
from lanser_ops.beam_metrics import record
from lanser_ops.common.device import DEALT_GPU
from lanser_ops.labelling.base import Labeller, Scores
from lanser_ops.labelling.label import score_null, score_unit
from lanser_ops.output.directory import OutputDir
from lanser_ops.process import release_memory, tune_process
from lanser_ops.speech_labelling.base import SpeechLabeller
from lanser_ops.speech_labelling.score import score_audio
from schemas.specs import CutSpec, LabelSpec, ScoreSet, SpeechSpec, TranscribeSpec
from schemas.units import StageCounts, UnitRun


@dataclass(frozen=True)
class Worker:
    """Where and on what a stage runs; none of it changes an output (but see Workers in docs/usage.md).

    ``alone`` says that no other process of the machine computes for the job.
    """

    out: OutputDir
    roots: tuple[str, ...]
    device: str
    threads: int
    alone: bool = False


class AudioModel:
    """A recogniser or speech labeller as Beam shares it: of a model in another process its proxy has methods alone.

    It computes for one caller at a time: two processes that computed on one GPU at once could take more of its memory
    than there is.
    """

    def __init__(self, compute: Callable[[Sequence[Any]], Any], pool_seconds: float):
        self._compute, self._pool_seconds, self._lock = compute, pool_seconds, threading.Lock()

    def compute(self, clips: Sequence[Any]) -> Any:
        """What the recogniser's ``recognize`` or the speech labeller's ``score`` gives."""
        with self._lock:
            return self._compute(clips)

    def seconds(self) -> float:
        """The model's ``pool_seconds``."""
        return self._pool_seconds


@dataclass(frozen=True)
class SharedRecognizer:
    """A `Recognizer` whose model may be in another process."""

    recognize: Callable[[Sequence[Clip]], list[Hypothesis]]
    pool_seconds: float


@dataclass(frozen=True)
class SharedSpeechLabeller:
    """A `SpeechLabeller` whose model may be in another process."""

    score: Callable[[Sequence[np.ndarray]], np.ndarray]
    pool_seconds: float


class TranscribeHandler(ModelHandler[UnitRun, UnitRun, AudioModel]):
    """Units to transcripts on disk, with a speech recognition backend."""

    def __init__(self, worker: Worker, model_name: str, spec: TranscribeSpec):
        super().__init__(max_batch_size=1)
        self._worker, self._model_name, self._spec = worker, model_name, spec

    def load_model(self) -> AudioModel:
        tune_process()
        model = resolve_same(ASR, self._model_name, self._spec.asr_model)
        spec = replace(self._spec, asr_model=model)
        backend = backend_of(ASR, self._model_name)
        recognizer: Recognizer = backend.load(spec, self._worker.device, self._worker.threads)
        return AudioModel(recognizer.recognize, recognizer.pool_seconds)

    def share_model_across_processes(self) -> bool:
        """On one GPU the workers of a machine take turns with one model; otherwise each has its own."""
        return _share_gpu(ASR, self._model_name, self._worker)

    def run_inference(
        self, batch: Sequence[UnitRun], model: AudioModel, inference_args: dict[str, Any] | None = None
    ) -> Iterable[UnitRun]:
        return list(self._transcribe(batch, SharedRecognizer(model.compute, model.seconds())))

    def _transcribe(self, batch: Sequence[UnitRun], recognizer: Recognizer) -> Iterator[UnitRun]:
        cut = CutSpec(self._spec.min_duration_s, self._spec.max_duration_s)
        for run in batch:
            start = time.monotonic()
            counts = transcribe_unit(self._worker.out, run.unit, self._worker.roots, recognizer, cut)
            yield record(run, "transcribe", start, counts)

    def get_metrics_namespace(self) -> str:
        return "lanser_transcribe"


class LazyScorer:
    """A labeller that is loaded when the first texts are to be scored, and scores for one caller at a time.

    Shards may bring along all the scores that are needed; and two processes that score on one GPU at once could take
    more of its memory than there is.
    """

    def __init__(self, load: Callable[[], Labeller]):
        self._load, self._lock = cache(load), threading.Lock()

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        """What the labeller's own ``score`` gives."""
        with self._lock:
            return self._load().score(premises, hypotheses)


class ScoreHandler(ModelHandler[UnitRun, UnitRun, LazyScorer]):
    """Units to entailment scores on disk, with a labeller backend.

    ``null_unit`` is the index of the unit with which the empty premise is scored, None if it is not needed.
    """

    def __init__(
        self, worker: Worker, model_name: str, spec: LabelSpec, sets: tuple[ScoreSet, ...], null_unit: int | None
    ):
        super().__init__(max_batch_size=1)
        self._worker, self._model_name, self._spec = worker, model_name, spec
        self._sets, self._null_unit = sets, null_unit

    def load_model(self) -> LazyScorer:
        return LazyScorer(self._load)

    def _load(self) -> Labeller:
        model = resolve_same(LABELLERS, self._model_name, self._spec.nli_model)
        tune_process()
        spec = replace(self._spec, nli_model=model)
        return backend_of(LABELLERS, self._model_name).load(spec, self._worker.device, self._worker.threads)

    def share_model_across_processes(self) -> bool:
        """As with the recogniser."""
        return _share_gpu(LABELLERS, self._model_name, self._worker)

    def run_inference(
        self, batch: Sequence[UnitRun], model: LazyScorer, inference_args: dict[str, Any] | None = None
    ) -> Iterable[UnitRun]:
        return list(self._score(batch, model))

    def _score(self, batch: Sequence[UnitRun], model: LazyScorer) -> Iterator[UnitRun]:
        for run in batch:
            start = time.monotonic()
            pairs = score_unit(self._worker.out, run.unit, self._sets, model.score, self._spec.context)
            if run.unit.index == self._null_unit:
                pairs += score_null(self._worker.out, self._sets, model.score)
            release_memory()
            yield replace(record(run, "score", start, StageCounts(pairs=pairs)), pairs_scored=run.pairs_scored + pairs)

    def get_metrics_namespace(self) -> str:
        return "lanser_score"


class SpeechHandler(ModelHandler[UnitRun, UnitRun, AudioModel]):
    """Units to the scores of a speech model on disk, with a speech labeller backend."""

    def __init__(self, worker: Worker, model_name: str, spec: SpeechSpec):
        super().__init__(max_batch_size=1)
        self._worker, self._model_name, self._spec = worker, model_name, spec

    def load_model(self) -> AudioModel:
        tune_process()
        model = resolve_same(SPEECH, self._model_name, self._spec.model)
        backend = backend_of(SPEECH, self._model_name)
        labeller: SpeechLabeller = backend.load(model, self._worker.device, self._worker.threads)
        return AudioModel(labeller.score, labeller.pool_seconds)

    def share_model_across_processes(self) -> bool:
        """As with the recogniser."""
        return _share_gpu(SPEECH, self._model_name, self._worker)

    def run_inference(
        self, batch: Sequence[UnitRun], model: AudioModel, inference_args: dict[str, Any] | None = None
    ) -> Iterable[UnitRun]:
        return list(self._score(batch, SharedSpeechLabeller(model.compute, model.seconds())))

    def _score(self, batch: Sequence[UnitRun], labeller: SpeechLabeller) -> Iterator[UnitRun]:
        for run in batch:
            start = time.monotonic()
            score_audio(self._worker.out, run.unit, self._worker.roots, self._spec, labeller)
            release_memory()
            yield record(run, "speech", start, StageCounts())

    def get_metrics_namespace(self) -> str:
        return "lanser_speech"


def _share_gpu(group: str, model_name: str, worker: Worker) -> bool:
    """Whether ``worker`` computes on a GPU that other workers of the machine use too."""
    if worker.alone or DEALT_GPU in os.environ:
        return False
    return worker.device == "cuda" or (worker.device == "auto" and backend_of(group, model_name).has_gpu())
