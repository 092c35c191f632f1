"""The stages of a job on a sample, in a temporary folder: what they take and what they write.

For `lanser build --dry-run`: a rate that is given takes the place of a model, which is then not loaded; everything else
is the code of the job itself.
"""

from __future__ import annotations

import contextlib
import posixpath
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain, pairwise

import numpy as np
import pyarrow as pa

from lanser_ops.asr.base import Clip, Hypothesis, Recognizer
from lanser_ops.asr.transcribe import transcribe_unit
from lanser_ops.audio.decode import SAMPLE_RATE
from lanser_ops.audio.lengths import evenly
from lanser_ops.backends import ASR, LABELLERS, SPEECH, backend_of
from lanser_ops.common.label_scores import mean_log_scores
from lanser_ops.corpus.plan import encode_plan
from lanser_ops.labelling.base import Labeller, Scores
from lanser_ops.labelling.label import corpus_sums, label_unit, null_sums, score_null, score_unit
from lanser_ops.labelling.label_file import import_scores
from lanser_ops.labelling.score_store import add_set, needed_sets
from lanser_ops.output.directory import PLAN, SENTENCES, OutputDir
from lanser_ops.shards import relabel
from lanser_ops.shards.write import shard_unit
from lanser_ops.speech_labelling.base import SpeechLabeller
from lanser_ops.speech_labelling.score import score_audio
from pipelines.job_spec import JobSpec
from schemas.records import SOURCE_SCHEMA, SourceRow, to_table
from schemas.specs import CORPUS_PRIOR, NULL_PRIOR, CutSpec, ScoreSet, ScoringKey
from schemas.units import ShardTar, Unit

# Rows of the sample that run before the measurement: what a stage does only once in a process then lies outside of it.
WARM_UP = 2
# The samples of a shard that a trial of relabelling scores.
TAR_SAMPLES = 200
# What a stand-in for a recogniser makes of a second of speech: 150 words a minute.
WORDS_PER_S = 2.5
PASSAGE = "the weather was so lovely that nobody wanted to go home before it rained"


@dataclass(frozen=True)
class Trial:
    """What the stages did to the ``pieces`` of a sample, which were taken from ``whole`` pieces of a shard.

    ``seconds`` and ``loading_s`` (models, and what else happens once in a process) are by stage, ``sizes`` in bytes by
    folder. ``transcripts`` counts transcripts, ``texts`` the different ones among them and ``single`` those that occur
    once. ``pairs`` were scored in ``seconds["score"]``, for ``scored`` texts. ``stored`` are the score sets that came
    with a shard.
    """

    pieces: int
    whole: int
    audio_s: float
    transcripts: int
    texts: int
    single: int
    scored: int
    pairs: int
    seconds: Mapping[str, float]
    loading_s: Mapping[str, float]
    sizes: Mapping[str, int]
    stored: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Sample:
    """What a trial runs on: rows of the plan, whose paths lie below ``roots``, or one of the shards to relabel.

    The rows are taken ``per_unit`` at a time, as many as a unit of the job has: small units batch less well.
    ``stored`` are the scores that come with the shards, as in `ShardSource`.
    """

    rows: Sequence[SourceRow] = ()
    roots: tuple[str, ...] = ()
    per_unit: float = 1.0
    tar: ShardTar | None = None
    stored: tuple[tuple[ScoringKey, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Models:
    """Functions that give the models of a job, each loaded when it is first called."""

    recognizer: Callable[[], Recognizer]
    labeller: Callable[[], Labeller]
    speech: Callable[[], SpeechLabeller]


class SpokenWords:
    """Stands in for a recogniser whose rate is given: as many words as may have been said, different for each clip."""

    pool_seconds = 120.0

    def __init__(self) -> None:
        self._clips, self._words = 0, PASSAGE.split()

    def recognize(self, clips: Sequence[Clip]) -> list[Hypothesis]:
        hypotheses = []
        for clip in clips:
            self._clips += 1
            count = max(1, round(len(clip.samples) / SAMPLE_RATE * WORDS_PER_S))
            words = [self._words[position % len(self._words)] for position in range(self._clips, self._clips + count)]
            hypotheses.append(Hypothesis(f"{' '.join(words)} {self._clips}", avg_logprob=-0.1))
        return hypotheses


class EvenScores:
    """Stands in for a labeller whose rate is given: one half for every pair."""

    def score(self, premises: Sequence[str], hypotheses: Sequence[str]) -> Scores:
        shape = len(premises), len(hypotheses)
        return Scores(np.full(shape, 0.5, np.float32), np.zeros(shape[0], bool), len(set(premises)) * shape[1])


def run_trial(
    job: JobSpec, sample: Sample, out: OutputDir, device: str, threads: int, given: Collection[str]
) -> tuple[Trial, tuple[ScoreSet, ...]]:
    """Run the stages of ``job`` on ``sample``, which has a row or a tar, as a worker would; nothing is written to
    ``out``.

    ``given`` are the stages whose rates are known (``transcribe``, ``score``). Returns the score sets of the job, too.
    """
    models = _models(job, device, threads, given)
    few = [sample.rows[index] for index in evenly(len(sample.rows), WARM_UP)]
    count = max(1, round(len(sample.rows) / sample.per_unit))
    edges = [len(sample.rows) * number // count for number in range(count + 1)]
    parts = [replace(sample, rows=sample.rows[first:last]) for first, last in pairwise(edges)]
    with tempfile.TemporaryDirectory(prefix="lanser-") as folder:
        warm = _run(job, replace(sample, rows=few), out, OutputDir(f"{folder}/warm"), models)
        outs = [OutputDir(f"{folder}/{number}") for number in range(count)]
        runs = [_run(job, part, out, trial_out, models) for part, trial_out in zip(parts, outs, strict=True)]
        sizes: Counter[str] = Counter()
        for name, size in chain(*(trial_out.names().items() for trial_out in outs)):
            sizes[name.split("/")[0]] += size * (name != PLAN)
    pieces = len(sample.rows) or runs[0].utterances
    seconds = {stage: sum(run.seconds[stage] for run in runs) for stage in warm.seconds}
    texts = Counter(chain(*(run.texts for run in runs)))
    warm_share = (len(few) or pieces) / max(1, pieces)
    trial = Trial(
        pieces=pieces,
        whole=sum(run.whole for run in runs),
        audio_s=sum(run.audio_s for run in runs),
        transcripts=texts.total(),
        texts=len(texts),
        single=sum(occurrences == 1 for occurrences in texts.values()),
        scored=sum(len(set(run.texts)) for run in runs),
        pairs=sum(run.pairs for run in runs),
        seconds=seconds,
        loading_s={stage: max(0.0, spent - seconds[stage] * warm_share) for stage, spent in warm.seconds.items()},
        sizes=sizes,
        stored=runs[0].stored,
    )
    return trial, runs[0].sets


@dataclass(frozen=True)
class _Run:
    seconds: dict[str, float]
    texts: list[str]
    utterances: int
    whole: int
    audio_s: float
    pairs: int
    sets: tuple[ScoreSet, ...]
    stored: frozenset[str]


def _models(job: JobSpec, device: str, threads: int, given: Collection[str]) -> Models:
    @cache
    def recognizer() -> Recognizer:
        if "transcribe" in given:
            return SpokenWords()
        return backend_of(ASR, job.asr_name).load(job.transcribe, device, threads)

    @cache
    def labeller() -> Labeller:
        if "score" in given:
            return EvenScores()
        return backend_of(LABELLERS, job.nli_name).load(job.label, device, threads)

    @cache
    def speech() -> SpeechLabeller:
        assert job.speech and job.speech_name  # the stage has both
        return backend_of(SPEECH, job.speech_name).load(job.speech.model, device, threads)

    return Models(recognizer, labeller, speech)


def _run(job: JobSpec, sample: Sample, out: OutputDir, trial: OutputDir, models: Models) -> _Run:
    """Run the stages on ``sample``, with ``trial`` as their output directory."""
    sets = _score_sets(job, sample, out, trial)
    seconds: dict[str, float] = {}
    pairs = 0

    @contextlib.contextmanager
    def timed(stage: str) -> Iterator[None]:
        start = time.monotonic()
        yield
        seconds[stage] = time.monotonic() - start

    if sample.tar:
        unit = sample.tar.unit
        with timed("unpack"):
            counts = relabel.unpack_unit(trial, sample.tar)
        whole, share = counts.utterances, _shorten(trial, unit, sets)
        seconds["unpack"] *= share
        counts = replace(counts, utterances=round(counts.utterances * share), audio_s=counts.audio_s * share)
    else:
        rows = list(sample.rows)
        unit = Unit(0, 1, "train", len(rows), sum(row.bytes for row in rows))
        trial.write_bytes(PLAN, encode_plan(to_table(rows, SOURCE_SCHEMA), [unit]))
        assert job.transcribe  # a job that reads rows begins with it
        cut = CutSpec(job.transcribe.min_duration_s, job.transcribe.max_duration_s)
        with timed("transcribe"):
            counts = transcribe_unit(trial, unit, sample.roots, models.recognizer(), cut)
        whole = len(rows)
    stored = frozenset(each.name for each in sets if trial.exists(trial.scores(each, unit)))
    texts = trial.read_table(trial.transcripts(unit), ["text"]).column("text").to_pylist()
    if job.speech and job.speech_name:
        with timed("speech"):
            score_audio(trial, unit, sample.roots, job.speech, models.speech())
    if job.label and job.score:
        with timed("score"):
            if job.labels_from:
                import_scores(trial, unit, sample.roots, job.labels_from, job.label, sets)
            else:
                score = models.labeller().score
                pairs = score_unit(trial, unit, sets, score, job.label.context)
                if job.label.prior == NULL_PRIOR:
                    score_null(trial, sets, score)
        with timed("label"):
            prior = None
            if job.label.prior == CORPUS_PRIOR:
                prior = mean_log_scores([(0, *corpus_sums(trial, unit, sets, job.label))])
            elif job.label.prior == NULL_PRIOR:
                prior = mean_log_scores([(0, *null_sums(trial, sets, job.label))])
            label_unit(trial, unit, sets, job.label, prior)
    if job.label and job.shard:
        with timed("shard"):
            if sample.tar:
                relabel.rewrite_unit(trial, sample.tar, job.label, job.shard)
            elif job.transcribe:
                shard_unit(trial, unit, sample.roots, job.label, job.shard, job.transcribe.asr_model.id)
    return _Run(seconds, texts, counts.utterances, whole, counts.audio_s, pairs, sets, stored)


def _shorten(trial: OutputDir, unit: Unit, sets: tuple[ScoreSet, ...]) -> float:
    """Leave at most TAR_SAMPLES of what was unpacked from a shard, and return their share."""
    names = [trial.transcripts(unit), *(trial.scores(each, unit) for each in sets)]
    count = len(trial.read_table(names[0], ["key"]))
    if count <= TAR_SAMPLES:
        return 1.0
    rows = pa.array(evenly(count, TAR_SAMPLES))
    for name in filter(trial.exists, names):
        trial.write_table(name, trial.read_table(name).take(rows))
    return TAR_SAMPLES / count


def _score_sets(job: JobSpec, sample: Sample, out: OutputDir, trial: OutputDir) -> tuple[ScoreSet, ...]:
    """The score sets that the job uses: those that ``out`` and the shards have, and the one that is new."""
    if not (job.label and job.score):
        return ()
    for name in out.names("scores"):
        if posixpath.basename(name) == SENTENCES:
            trial.write_bytes(name, out.read_bytes(name))
    for key, sentences in sample.stored:
        add_set(trial, key, sentences)
    return needed_sets(trial, job.label)
